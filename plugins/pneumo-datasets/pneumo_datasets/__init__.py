"""Datasets of any chest radiographs: class folders, tables, and public archives in their published layouts."""
