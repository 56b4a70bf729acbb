"""What the outputs of a classifier mean: their logits, losses and metrics.

Two classes: one logit, or one score per subtype of class 1. K exclusive classes, or K labels at once: K logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.records import Dataset, Task
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.trainers.class_weights import ClassWeights

Array: TypeAlias = NDArray[np.generic]


class Targets(ABC):
    """The loss of a classifier's outputs, and the metrics of its logits.

    Args:
        weights: of the classes in the loss.
        smoothing: share of each label that is spread evenly over the classes (label smoothing).

    Attributes:
        outputs: the network's number of outputs.
    """

    outputs: int

    def __init__(self, weights: ClassWeights, smoothing: float) -> None:
        self.weights = weights
        self.smoothing = smoothing

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """The mean loss, 0-d, of outputs [B, outputs], for labels [B] or [B, K] and positions [B]."""

    @abstractmethod
    def metrics(self, logits: Array, labels: Array) -> dict[str, float]:
        """The metrics of every epoch, at the threshold 0.5 or the largest logit."""


class _TwoClasses(Targets):
    """Of two classes, evaluated on one logit per image, that of class 1."""

    def metrics(self, logits: Array, labels: Array) -> dict[str, float]:
        return binary_metrics(logits, labels)

    def weighted_mean(self, losses: Tensor, labels: Tensor) -> Tensor:
        """The mean, 0-d, of losses [B], each weighted as its class."""
        negative, positive = self.weights.present.tolist()
        if (negative, positive) != (1.0, 1.0):
            losses = losses * torch.where(labels == 1, positive, negative)
        return losses.mean()


class BinaryTargets(_TwoClasses):
    """One logit; weighted binary cross-entropy (SOURCE 4)."""

    outputs = 1

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        targets = labels.float()
        if self.smoothing:
            targets = targets * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(positive_logits(outputs), targets, reduction="none")
        return self.weighted_mean(losses, labels)


class SubtypeTargets(_TwoClasses):
    """Cross-entropy over class 0 and the subtypes of class 1 in the dataset's records.

    Raises:
        UsageError: as :func:`subtypes`.
    """

    def __init__(self, dataset: Dataset, weights: ClassWeights, smoothing: float) -> None:
        super().__init__(weights, smoothing)
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


class MultiTargets(Targets):
    """A logit for each of K exclusive classes, or of K labels at once.

    Exclusive classes: softmax cross-entropy, each image weighted as its class. Labels: binary cross-entropy,
    averaged over the known labels (-1: unknown).

    Args:
        task: ``multiclass`` or ``multilabel``.
    """

    def __init__(self, task: Task, weights: ClassWeights, smoothing: float) -> None:
        super().__init__(weights, smoothing)
        self.task = task
        self.outputs = len(weights.present)
        self._present, self._absent = (torch.from_numpy(each).float() for each in weights)

    def metrics(self, logits: Array, labels: Array) -> dict[str, float]:
        return multi_metrics(logits, labels, self.task)

    def loss(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        return self.mean_loss(outputs.float(), labels, self.smoothing)

    def mean_loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean loss, 0-d, of logits float32 [B, K]; NaN never, as without a known label it is 0."""
        if self._present.device != logits.device:  # else each step would wait for the device
            self._present, self._absent = (one.to(logits.device) for one in (self._present, self._absent))
        present, absent = self._present, self._absent
        if self.task == "multiclass":
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
            return (losses * present[labels]).mean()
        known = labels >= 0
        targets = labels.clamp(min=0).float() * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        weights = torch.where(labels == 1, present, absent) * known
        return (losses * weights).sum() / known.sum().clamp(min=1)


def task_logits(outputs: Tensor, task: Task) -> Tensor:
    """The logits, float32 [B] (``binary``) or [B, K], of a classifier's outputs [B, outputs]."""
    return positive_logits(outputs) if task == "binary" else outputs.float()


def class_scores(outputs: Tensor, task: Task) -> Tensor:
    """One-vs-rest scores, float32 [B, K], of outputs [B, K]: their sigmoid is the probability of each class.

    Differentiable, for saliency maps; :func:`pneumo_cli.evaluation.multi.scores.one_vs_rest` is it in NumPy.
    """
    logits = outputs.float()
    if task == "multilabel":
        return logits
    eye = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    rest = logits[:, None, :].masked_fill(eye, -torch.inf).logsumexp(2)
    return logits - rest


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
