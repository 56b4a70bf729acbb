"""The settings of the trainer ``feature-extraction``: those of every transfer trainer, at the report's values."""

from __future__ import annotations

from pneumo_cli.settings import TransferSettings


class FeatureExtractionSettings(TransferSettings):
    """Task 2. Of the learning rates 0.005, 0.0005 and 0.0001 the report took 0.005 (SOURCE 5)."""
