"""What a binary classifier is trained to say: one logit, or one score per subtype that are judged as one.

Judging is the same for both, on one logit per image (:mod:`pneumo_cli.trainers.classification`).
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
    """How outputs become logits and losses.

    Args:
        positive_weight: weight of images of class 1 in the loss.
        smoothing: share of each label that is spread evenly over the classes (label smoothing).

    Attributes:
        outputs: how many the network has.
    """

    outputs: int

    def __init__(self, positive_weight: float, smoothing: float) -> None:
        self.positive_weight = positive_weight
        self.smoothing = smoothing

    def weighted_mean(self, losses: Tensor, labels: Tensor) -> Tensor:
        """Return the mean, 0-d, of losses [B], those of class 1 weighted."""
        if self.positive_weight != 1:
            losses = losses * torch.where(labels == 1, self.positive_weight, 1.0)
        return losses.mean()

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return the mean loss, 0-d, of outputs [B, outputs] for labels and positions in the records [B]."""


class BinaryTargets(Targets):
    """One logit; weighted binary cross-entropy (SOURCE 4)."""

    outputs = 1

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        targets = labels.float() * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(positive_logits(outputs), targets, reduction="none")
        return self.weighted_mean(losses, labels)


class SubtypeTargets(Targets):
    """Class 0 and each subtype of class 1, by cross-entropy; the logit is that of any subtype against class 0.

    Args:
        dataset: whose records tell the subtypes of class 1.

    Raises:
        UsageError: the dataset does not tell them, or tells only one.
    """

    def __init__(self, dataset: Dataset, positive_weight: float, smoothing: float) -> None:
        super().__init__(positive_weight, smoothing)
        self.subtypes = subtypes(dataset)
        self.outputs = 1 + len(self.subtypes)
        number = {subtype: 1 + place for place, subtype in enumerate(self.subtypes)}
        self._classes = torch.tensor([number[r.subtype] if r.label else 0 for r in dataset.records])

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        if self._classes.device != index.device:
            self._classes = self._classes.to(index.device)
        losses = F.cross_entropy(
            outputs.float(), self._classes[index], reduction="none", label_smoothing=self.smoothing
        )
        return self.weighted_mean(losses, labels)


def positive_logits(outputs: Tensor) -> Tensor:
    """The logit of class 1 against class 0, float32 [B], of a classifier's outputs [B, K].

    With one output it is that; with more, the first is the score of class 0 and the others are those of the
    subtypes of class 1, any of which counts.
    """
    outputs = outputs.float()
    if outputs.shape[1] == 1:
        return outputs.flatten()
    return outputs[:, 1:].logsumexp(1) - outputs[:, 0]


def subtypes(dataset: Dataset) -> Sequence[str]:
    """The subtypes of class 1, sorted.

    Raises:
        UsageError: some image of class 1 has none, all have the same, or there is no such image.
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
            f"the dataset {dataset.name} tells no subtypes of {dataset.classes[1]} apart ({reason}): use "
            "--no-subtypes"
        )
    return sorted(set(positive))
