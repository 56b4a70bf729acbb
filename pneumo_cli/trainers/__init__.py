"""Trainers: the base classes that plugins derive from, and what takes a trained model up again."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
