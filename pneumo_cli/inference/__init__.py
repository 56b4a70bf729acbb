"""Inference: trained classifiers that answer for image files: runs, ensembles, what plugins open."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
