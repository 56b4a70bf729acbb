"""The settings of the trainer ``feature-extraction``: those of every transfer trainer, with the report's values."""

from __future__ import annotations

from pneumo_cli.settings import TransferSettings


class FeatureExtractionSettings(TransferSettings):
    """Task 2. Of the learning rates that the report tried, 0.005 was best (SOURCE 5)."""
