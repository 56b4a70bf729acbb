"""The metrics of K classes in bootstrap samples of patients, which all classes share.

Computes no intervals: :mod:`pneumo_cli.evaluation.multi.intervals` does, from these values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.confidence.bootstrap import Sample, effective
from pneumo_cli.evaluation.multi.metrics import class_correlation, exact_matches
from pneumo_cli.evaluation.multi.scores import OneVsRest

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

_NUMBERS = 2**18  # in one array of weights, 2 MiB


class Resamples:
    """One binary problem in all bootstrap samples: a class against the rest, or the pooled pairs.

    Args:
        split: [n] each.
        codes: the patient of each, [n] of 0 to P - 1.
        patients: P.
        areas: whether ``auc`` and ``average_precision`` are computed, which take nearly all of the time.
    """

    def __init__(self, split: OneVsRest, codes: Integers, *, patients: int, areas: bool) -> None:
        scores, truth, decided = split
        self.sample = Sample(scores, truth, codes, decided=decided, patients=patients)
        self._areas = areas
        self._metrics: list[dict[str, Floats]] = []
        self._residuals: list[Floats] = []

    def add(self, times: Floats) -> None:
        """Compute further samples: how often each patient was drawn, [b, P]."""
        compute = self.sample.metrics if self._areas else self.sample.metrics_without_areas
        for part in np.array_split(times, -(-len(times) * self.sample.images // _NUMBERS)):
            self._metrics.append(compute(part))
        self._residuals.append(self.sample.bin_residuals(times))

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
        areas: as for :class:`Resamples`.
        pooled: whether the pairs of an image and a class are also pooled.

    Attributes:
        classes: the resamples of each class by its place, without labels that no image knows.
        pooled: those of the pooled pairs; None unless wanted.
        whole: the effective number of patients with a known class or label.
    """

    def __init__(
        self, split: OneVsRest, task: Task, codes: Integers, *, areas: bool = True, pooled: bool = False
    ) -> None:
        self._task = task
        patients, known = int(codes.max()) + 1, split.truth >= 0
        pairs = np.nonzero(known)[0]
        self.classes = {
            place: Resamples(split.of_class(place), codes[column], patients=patients, areas=areas)
            for place, column in enumerate(known.T)
            if column.any()
        }
        self.pooled = (
            Resamples(split.pooled(), codes[pairs], patients=patients, areas=areas)
            if pooled and pairs.size
            else None
        )
        some = np.asarray(known.any(axis=1))
        right = exact_matches(split) & some
        self._hits = np.stack(
            [np.bincount(codes, weights=each, minlength=patients) for each in (right, some)],
            axis=1,
            dtype=np.float64,
        )
        self.whole = effective(self._hits[:, 1])
        self._right: list[Floats] = []
        self._correlations: list[Floats] = []

    def add(self, times: Floats) -> None:
        """Compute further samples: how often each patient was drawn, [b, P]."""
        for each in (*self.classes.values(), *([self.pooled] if self.pooled else [])):
            each.add(times)
        right, known = (times @ self._hits).T
        with np.errstate(invalid="ignore"):
            self._right.append(right / known)
        if self._task == "multiclass":
            counts = np.stack([times @ each.sample.sums[:, 1:4] for each in self.classes.values()], axis=1)
            true, predicted, hits = np.moveaxis(counts, 2, 0)
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
