"""The trainer ``cnn``: binary classification from random weights.

:class:`CnnTrainer` inherits the three task hooks from ``pneumo_cli.trainers.ClassificationTrainer``
(``pneumo_cli/trainers/classification.py``):

- ``build_model``: the registered classifier that ``--model`` names, by default :func:`pneumo_cnn.model.build_cnn`;
- ``train_step``: weighted binary cross-entropy of one batch, and its update through ``run.optimize``;
- ``evaluate``: the logits of one split, and from them the loss and the metrics at a threshold of 0.5.

Override one of them to change that step, as :mod:`pneumo_gan.trainer` does with ``train_step`` and ``evaluate``.
"""

from __future__ import annotations

from pneumo_cli.trainers import ClassificationTrainer


class CnnTrainer(ClassificationTrainer):
    """Task 1 of the report (SOURCE 4): what all classification tasks share, unchanged."""
