"""The outputs and losses of binary classifiers: one logit, or one score per subtype of class 1.

Both are evaluated on one logit per image (:mod:`pneumo_cli.trainers.classification`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import UsageError


class Targets(ABC):
    """The loss of a classifier's outputs.

    Args:
        positive_weight: weight of images of class 1 in the loss.
        smoothing: share of each label that is spread evenly over the classes (label smoothing).

    Attributes:
        outputs: the network's number of outputs.
    """

    outputs: int

    def __init__(self, positive_weight: float, smoothing: float) -> None:
        self.positive_weight = positive_weight
        self.smoothing = smoothing

    def weighted_mean(self, losses: Tensor, labels: Tensor) -> Tensor:
        """The mean, 0-d, of losses [B], with those of class 1 weighted."""
        if self.positive_weight != 1:
            losses = losses * torch.where(labels == 1, self.positive_weight, 1.0)
        return losses.mean()

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """The mean loss, 0-d, of outputs [B, outputs], for labels [B] and positions in the records [B]."""


class BinaryTargets(Targets):
    """One logit; weighted binary cross-entropy (SOURCE 4)."""

    outputs = 1

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        targets = labels.float() * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(positive_logits(outputs), targets, reduction="none")
        return self.weighted_mean(losses, labels)


class SubtypeTargets(Targets):
    """Cross-entropy over class 0 and the subtypes of class 1 in the dataset's records.

    Raises:
        UsageError: as :func:`subtypes`.
    """

    def __init__(self, dataset: Dataset, positive_weight: float, smoothing: float) -> None:
        super().__init__(positive_weight, smoothing)
        self.subtypes = subtypes(dataset)
        self.outputs = 1 + len(self.subtypes)
        number = {subtype: n for n, subtype in enumerate(self.subtypes, 1)}
        self._classes = torch.tensor([number[r.subtype] if r.label else 0 for r in dataset.records])

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        self._classes = self._classes.to(index.device)
        losses = F.cross_entropy(
            outputs.float(), self._classes[index], reduction="none", label_smoothing=self.smoothing
        )
        return self.weighted_mean(losses, labels)


def positive_logits(outputs: Tensor) -> Tensor:
    """The logit of class 1 against class 0, float32 [B], of a classifier's outputs [B, K].

    A single output is that logit. Of several, the first is the score of class 0 and the others are those of the
    subtypes of class 1, which are combined.
    """
    outputs = outputs.float()
    if outputs.shape[1] == 1:
        return outputs.flatten()
    return outputs[:, 1:].logsumexp(1) - outputs[:, 0]


def subtypes(dataset: Dataset) -> Sequence[str]:
    """The subtypes of class 1, sorted.

    Raises:
        UsageError: an image of class 1 has no subtype, all have the same, or there is no such image.
    """
    positive = [record.subtype for record in dataset.records if record.label == 1]
    unknown = sum(not subtype for subtype in positive)
    if unknown or len(set(positive)) < 2:
        if not positive:
            reason = "it has no images of that class"
        elif unknown:
            reason = f"{unknown} of {len(positive)} images have none"
        else:
            reason = f"all are {positive[0]!r}"
        raise UsageError(
            f"the dataset {dataset.name} does not distinguish subtypes of {dataset.classes[1]} ({reason}): use "
            "--no-subtypes"
        )
    return sorted(set(positive))
