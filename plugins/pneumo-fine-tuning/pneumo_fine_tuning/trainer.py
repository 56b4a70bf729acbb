"""The trainer ``fine-tuning``: the first layers of a pre-trained network are frozen, the others trained.

:class:`FineTuningTrainer` only states the share that is frozen. It inherits the three task hooks:

- ``build_model`` from ``pneumo_cli.trainers.TransferTrainer`` (``pneumo_cli/trainers/transfer.py``): the
  registered classifier that ``--model`` names, with a new head and the share frozen. The runner then loads the
  weights that ``--weights`` names;
- ``train_step`` and ``evaluate`` from ``pneumo_cli.trainers.ClassificationTrainer`` (``classification.py``).
  Where the settings allow it, a batch holds the output of the frozen stages, computed once per image.
"""

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
        """The setting ``freeze``."""
        return self.settings.freeze
