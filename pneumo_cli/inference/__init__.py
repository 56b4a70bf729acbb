"""Inference: predictions of trained classifiers for image files (predict.py)."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
