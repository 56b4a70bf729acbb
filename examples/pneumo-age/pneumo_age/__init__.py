"""Regression: the age of a child from a chest radiograph, on synthetic images."""
