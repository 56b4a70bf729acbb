"""Evaluation: metrics (binary.py), intervals, calibration, thresholds, Grad-CAM, generated images."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
