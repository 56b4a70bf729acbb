"""The trainer ``feature-extraction``: a new head on a network that is frozen as a whole.

:class:`FeatureExtractionTrainer` only states the share that is frozen. It inherits the three task hooks:

- ``build_model`` from ``pneumo_cli.trainers.TransferTrainer`` (``pneumo_cli/trainers/transfer.py``): the
  registered classifier that ``--model`` names, with a new head and the share frozen. The runner then loads the
  weights that ``--weights`` names;
- ``train_step`` and ``evaluate`` from ``pneumo_cli.trainers.ClassificationTrainer`` (``classification.py``).
  Where the settings allow it, a batch holds features, computed once per image.
"""

from __future__ import annotations

from pneumo_cli.trainers import TransferTrainer


class FeatureExtractionTrainer(TransferTrainer):
    """Task 2 of the report (SOURCE 5)."""

    @property
    def frozen_share(self) -> float:
        """All parameters; the head is never frozen."""
        return 1.0
