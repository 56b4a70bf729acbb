"""The trainer ``fine-tuning``: a first share of the network is frozen, the rest trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.trainers import TransferTrainer

if TYPE_CHECKING:
    from pneumo_fine_tuning.settings import FineTuningSettings


class FineTuningTrainer(TransferTrainer):
    """Task 3 of the report (SOURCE 6)."""

    settings: FineTuningSettings

    @property
    def frozen_share(self) -> float:
        """As the setting ``freeze`` says."""
        return self.settings.freeze
