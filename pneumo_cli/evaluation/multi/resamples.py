"""The metrics of K classes in bootstrap samples of patients, which all classes share.

Computes no intervals: :mod:`pneumo_cli.evaluation.multi.intervals` does, from these values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.confidence.bootstrap import Sample
from pneumo_cli.evaluation.confidence.draws import Counts, PatientSums, effective
from pneumo_cli.evaluation.multi.metrics import class_correlation, exact_matches
from pneumo_cli.evaluation.multi.scores import OneVsRest

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task


class Resamples:
    """One binary problem in all bootstrap samples: a class against the rest, or the pooled pairs.

    Args:
        split: [n] each.
        codes: the patient of each, [n] of 0 to P - 1.
        patients: P.
        probabilities: whether only ``brier`` and ``ece`` are computed.
    """

    def __init__(self, split: OneVsRest, codes: Integers, *, patients: int, probabilities: bool) -> None:
        scores, truth, decided = split
        self.sample = Sample(scores, truth, codes, decided=decided, patients=patients)
        self._probabilities = probabilities
        self._metrics: list[dict[str, Floats]] = []
        self._residuals: list[Floats] = []

    def add(self, counts: Counts) -> None:
        """Compute further samples: how often each patient was drawn, [P, b]."""
        metrics, residuals = self.sample.resampled(counts, areas=not self._probabilities)
        if self._probabilities:
            metrics = {name: metrics[name] for name in ("brier", "ece")}
        self._metrics.append(metrics)
        self._residuals.append(residuals)

    @property
    def metrics(self) -> dict[str, Floats]:
        """Metric to its resamples, [B]."""
        return {name: np.concatenate([each[name] for each in self._metrics]) for name in self._metrics[0]}

    @property
    def residuals(self) -> Floats:
        """The resamples of the bins' residuals, [B, bins]."""
        return np.concatenate(self._residuals)


class ClassResamples:
    """One classifier's predictions of a split in all bootstrap samples.

    Args:
        split: [N, K] each.
        codes: the patient of each image, [N] of 0 to P - 1.
        probabilities: as for :class:`Resamples`.
        pooled: whether the pairs of an image and a class are also pooled.

    Attributes:
        classes: the resamples of each class by its place, without labels that no image knows.
        pooled: those of the pooled pairs; None unless wanted.
        whole: the effective number of patients with a known class or label.
    """

    def __init__(
        self,
        split: OneVsRest,
        task: Task,
        codes: Integers,
        *,
        probabilities: bool = False,
        pooled: bool = False,
    ) -> None:
        self._task = task
        patients, known = int(codes.max()) + 1, split.truth >= 0
        pairs = np.nonzero(known)[0]
        self.classes = {
            place: Resamples(
                split.of_class(place), codes[column], patients=patients, probabilities=probabilities
            )
            for place, column in enumerate(known.T)
            if column.any()
        }
        self.pooled = (
            Resamples(split.pooled(), codes[pairs], patients=patients, probabilities=probabilities)
            if pooled and pairs.size
            else None
        )
        some = np.asarray(known.any(axis=1))
        right = exact_matches(split) & some
        hits = np.stack([np.bincount(codes, weights=each, minlength=patients) for each in (right, some)])
        of_classes = [each.sample.sums[1:4] for each in self.classes.values()] if task == "multiclass" else []
        self._totals = PatientSums(np.concatenate([hits, *of_classes]))
        self.whole = effective(hits[1])
        self._right: list[Floats] = []
        self._correlations: list[Floats] = []

    def add(self, counts: Counts) -> None:
        """Compute further samples: how often each patient was drawn, [P, b]."""
        for each in (*self.classes.values(), *([self.pooled] if self.pooled else [])):
            each.add(counts)
        (right, known), of_classes = np.split(self._totals.of(counts), [2])
        with np.errstate(invalid="ignore"):
            self._right.append(right / known)
        if self._task == "multiclass":
            true, predicted, hits = of_classes.reshape(len(self.classes), 3, -1).transpose(1, 2, 0)
            several = np.where((true > 0).sum(axis=1) > 1, 1.0, np.nan)
            self._correlations.append(several * class_correlation(true, predicted, hits.sum(axis=1)))

    @property
    def right(self) -> Floats:
        """The share of images whose class is, or whose known labels are all, right: [B]."""
        return np.concatenate(self._right)

    @property
    def correlations(self) -> Floats:
        """The correlation of the K classes, [B]; NaN where a sample has images of one class only."""
        return np.concatenate(self._correlations)
