"""Evaluation: metrics with intervals, calibration, operating points, Grad-CAM, generated images. Knows no runs."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
