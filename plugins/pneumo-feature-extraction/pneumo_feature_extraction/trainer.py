"""The trainer ``feature-extraction``: everything but the head is frozen."""

from __future__ import annotations

from pneumo_cli.trainers import TransferTrainer


class FeatureExtractionTrainer(TransferTrainer):
    """Task 2 of the report (SOURCE 5)."""

    @property
    def frozen_share(self) -> float:
        """All of it; the head is never frozen."""
        return 1.0
