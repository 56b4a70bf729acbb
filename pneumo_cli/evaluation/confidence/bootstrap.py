"""The metrics of many bootstrap samples at once. A sample is how often each patient was drawn.

Knows nothing of intervals: :mod:`pneumo_cli.evaluation.confidence.intervals` makes them of what is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers, sigmoid
from pneumo_cli.evaluation.calibration import bin_of

ECE_BINS = 15
_CHUNK = (
    2**18
)  # numbers in one array of weights: some arrays of 2 MiB at a time, whatever the number of images


def patient_codes(patients: Sequence[str] | NDArray[np.generic], images: int) -> Integers:
    """Number the patients: [N] of 0 to P - 1.

    Raises:
        ValueError: there are not as many as images.
    """
    names = np.asarray(patients)
    if names.shape != (images,):
        raise ValueError(f"patients have the shape {names.shape}; {images} images have one patient each")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def draws(patients: int, images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw patients with replacement, as many as there are; how often each was drawn, in chunks [b, P].

    The same arguments give the same draws: comparisons of two classifiers are paired by that.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(patients, size=(rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * patients)
        yield times.reshape(rows, patients).astype(np.float64)


class Curves(NamedTuple):
    """Cumulated weights at each distinct logit, falling: [b, K] of positives and of negatives at or above it."""

    positives: Floats
    negatives: Floats


class Sample:
    """One split's predictions, sorted once, ready to be weighted.

    Args:
        scores: logits [N], finite.
        truth: [N] of 0 and 1.
        codes: whose image each is, [N] of 0 to P - 1, each of them at least once.
        logit_threshold: the logit from which on an image is called positive.
    """

    def __init__(
        self, scores: Floats, truth: Integers, codes: Integers, *, logit_threshold: float = 0.0
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        scores, self._truth, self._codes = scores[order], truth[order].astype(np.float64), codes[order]
        self._last_of_tie = np.flatnonzero(np.append(np.diff(scores) != 0, True))
        self._tied = self._last_of_tie.size < scores.size
        self.patients = int(codes.max()) + 1
        called = (scores >= logit_threshold).astype(np.float64)
        probabilities = sigmoid(scores)
        error = probabilities - self._truth
        self.sums = np.stack(
            [
                self._per_patient(values)
                for values in (
                    np.ones_like(scores),
                    self._truth,
                    called,
                    self._truth * called,
                    error**2,
                )
            ],
            axis=1,
        )
        # Residuals per bin [P, bins]: the calibration error is the sum of their absolute values.
        bins = bin_of(probabilities, ECE_BINS)
        place = self._codes * ECE_BINS + bins
        self.residuals = np.bincount(place, weights=error, minlength=self.patients * ECE_BINS).reshape(
            -1, ECE_BINS
        )
        # Variance of each bin's sum [bins], were the images independent: as seen, and as the probabilities say.
        self.scatter, self.expected_scatter = (
            np.bincount(bins, weights=values, minlength=ECE_BINS).astype(np.float64)
            for values in (error**2, probabilities * (1 - probabilities))
        )

    def _per_patient(self, values: Floats) -> Floats:
        return np.bincount(self._codes, weights=values, minlength=self.patients).astype(np.float64)

    def metrics(self, times: Floats) -> dict[str, Floats]:
        """All metrics of samples in which the patients occur so many times.

        Args:
            times: [b, P], whole numbers from 0.

        Returns:
            those of :func:`~pneumo_cli.evaluation.binary.binary_metrics`, each [b]; NaN where a metric has a
            denominator of 0 or needs a class that the sample has not.
        """
        images, sick, called, hits, squares = (times @ self.sums).T
        healthy, alarms = images - sick, called - hits
        rest, misses = healthy - alarms, sick - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity, specificity = hits / sick, rest / healthy
            both = np.where((sick > 0) & (healthy > 0), 1.0, np.nan)
            margins = np.sqrt(called * (images - called)) * np.sqrt(sick * healthy)
            metrics = {
                "accuracy": (hits + rest) / images,
                "precision": hits / called,
                "recall": sensitivity,
                "specificity": specificity,
                "f1": np.where(sick > 0, 2 * hits / (called + sick), np.nan),
                # Where all are called alike there is no correlation: 0, as in scikit-learn.
                "mcc": np.where(margins > 0, (hits * rest - alarms * misses) / margins, 0.0) * both,
                "brier": squares / images,
                "ece": np.abs(times @ self.residuals).sum(axis=1) / images,
                "balanced_accuracy": (sensitivity + specificity) / 2,
            }
            metrics["auc"], metrics["average_precision"] = (both * area for area in self._areas(times))
        return metrics

    def bin_residuals(self, times: Floats) -> Floats:
        """By how much each bin's probabilities are too high in samples, as a share of all images: [b, bins].

        The absolute values add up to the calibration error.

        Args:
            times: [b, P], as for :meth:`metrics`.
        """
        residuals: Floats = times @ self.residuals / (times @ self.sums[:, :1])
        return residuals

    def influences(self) -> dict[str, Floats]:
        """How metrics change with the weight of each patient: the infinitesimal jackknife (Efron 1987).

        Returns:
            the derivatives at the split itself, [P] each, whose sum is 0, of ``brier``, and where both classes
            occur of ``auc`` and ``average_precision``.
        """
        images, squares = self.sums[:, 0], self.sums[:, 4]
        found = {"brier": (squares - images * squares.sum() / images.sum()) / images.sum()}
        positives, negatives = (counts[0] for counts in self.curves(np.ones((1, self.patients))))
        sick, healthy = positives[-1], negatives[-1]
        if not (sick and healthy):
            return found
        gained, alarms = np.diff(positives, prepend=0.0), np.diff(negatives, prepend=0.0)
        # For each distinct logit: the share of the other class that it is on the right side of; ties count half.
        below, above = 1 - (negatives - alarms / 2) / healthy, (positives - gained / 2) / sick
        area = gained @ below / sick
        # One image more at a logit changes the precision there and at all lower ones.
        called = positives + negatives
        diluted = np.cumsum((gained * positives / called**2)[::-1])[::-1]
        raised = np.cumsum((gained / called)[::-1])[::-1]
        precision = positives / called
        mean = gained @ precision / sick
        of_classes = {
            "auc": ((below - area) / sick, (above - area) / healthy),
            "average_precision": ((precision - mean + raised - diluted) / sick, -diluted / sick),
        }
        distinct = np.repeat(np.arange(called.size), np.diff(self._last_of_tie, prepend=-1))
        for name, (of_sick, of_healthy) in of_classes.items():
            found[name] = self._per_patient(
                np.where(self._truth > 0, of_sick[distinct], of_healthy[distinct])
            )
        return found

    def curves(self, times: Floats) -> Curves:
        """The counts behind the two curves of samples in which the patients occur so many times, [b, P]."""
        weights = times[:, self._codes]
        positives = np.cumsum(weights * self._truth, axis=1)
        weights.cumsum(axis=1, out=weights)
        weights -= positives
        if self._tied:
            positives, weights = positives[:, self._last_of_tie], weights[:, self._last_of_tie]
        return Curves(positives, weights)

    def _areas(self, times: Floats) -> tuple[Floats, Floats]:
        """AUC (equal logits count half), and average precision as scikit-learn defines it; [b] each."""
        positives, negatives = self.curves(times)
        gained = np.diff(positives, axis=1, prepend=0.0)
        sick, healthy = positives[:, -1], negatives[:, -1]
        # Area right of the curve, over positives: each negative above a positive is lost.
        lost = np.einsum("bk,bk->b", gained, negatives)
        if self._tied:
            lost -= np.einsum("bk,bk->b", gained, np.diff(negatives, axis=1, prepend=0.0)) / 2
        area = 1 - lost / (sick * healthy)
        negatives += positives  # all images at or above
        precision = np.divide(positives, negatives, out=np.zeros_like(positives), where=negatives > 0)
        return area, np.einsum("bk,bk->b", gained, precision) / sick
