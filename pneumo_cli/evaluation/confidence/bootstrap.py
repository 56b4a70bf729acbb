"""The metrics of many bootstrap samples at once. A sample is how often each patient was drawn.

Computes no intervals: :mod:`pneumo_cli.evaluation.confidence.intervals` does, from these values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers, checked, logit_threshold_of, sigmoid
from pneumo_cli.evaluation.calibration import bin_of

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

ECE_BINS = 15
_CHUNK = 2**18  # numbers in one array of weights: a few arrays of 2 MiB at a time


def patient_codes(patients: Sequence[str] | NDArray[np.generic], images: int) -> Integers:
    """Number the patients: [N] of 0 to P - 1.

    Raises:
        ValueError: there is not one patient per image.
    """
    names = np.asarray(patients)
    if names.shape != (images,):
        raise ValueError(f"patients have the shape {names.shape}; {images} images have one patient each")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def draws(patients: int, images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw P patients with replacement; how often each was drawn, in chunks [b, P].

    The same arguments give the same draws, so comparisons of two classifiers are paired.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(patients, size=(rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * patients)
        yield times.reshape(rows, patients).astype(np.float64)


def effective(images: Floats) -> float:
    """The effective number of equally large patients, for patients with these numbers of images [P] (Kish 1965).

    At least 1.5, so that an error based on a single patient is very large but finite.
    """
    return max(1.5, float(images.sum() ** 2 / (images**2).sum())) if images.any() else 1.5


class Curves(NamedTuple):
    """Cumulative weights of positives and of negatives at or above each distinct logit, falling: [b, K]."""

    positives: Floats
    negatives: Floats


class Sample:
    """One split's predictions, sorted once, ready to be weighted.

    Args:
        scores: logits [N], finite.
        truth: [N] of 0 and 1.
        codes: the patient of each image, [N] of 0 to P - 1.
        logit_threshold: the logit at and above which an image is classified as positive.
        decided: what is predicted instead, [N] of 0 and 1.
        patients: P, where several samples share their draws and not each patient has an image in this one; None:
            each patient has one.
    """

    def __init__(
        self,
        scores: Floats,
        truth: Integers,
        codes: Integers,
        *,
        logit_threshold: float = 0.0,
        decided: Integers | None = None,
        patients: int | None = None,
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        scores, self._truth, self._codes = scores[order], truth[order].astype(np.float64), codes[order]
        self._last_of_tie = np.flatnonzero(np.append(np.diff(scores) != 0, True))
        self._tied = self._last_of_tie.size < scores.size
        self.patients = int(codes.max()) + 1 if patients is None else patients
        self.images = scores.size
        predicted = (scores >= logit_threshold if decided is None else decided[order]).astype(np.float64)
        probabilities = sigmoid(scores)
        error = probabilities - self._truth
        summed = (np.ones_like(scores), self._truth, predicted, self._truth * predicted, error**2)
        self.sums = np.stack([self._per_patient(values) for values in summed], axis=1)
        # Residuals per bin [P, bins]: the calibration error is the sum of their absolute values.
        bins = bin_of(probabilities, ECE_BINS)
        cells = self._codes * ECE_BINS + bins
        residuals = np.bincount(cells, weights=error, minlength=self.patients * ECE_BINS)
        self.residuals = residuals.reshape(-1, ECE_BINS)
        # Variance of each bin's sum [bins] for independent images: as observed, and as the probabilities imply.
        self.scatter, self.expected_scatter = (
            np.bincount(bins, weights=values, minlength=ECE_BINS).astype(np.float64)
            for values in (error**2, probabilities * (1 - probabilities))
        )

    def _per_patient(self, values: Floats) -> Floats:
        return np.bincount(self._codes, weights=values, minlength=self.patients).astype(np.float64)

    def metrics(self, times: Floats) -> dict[str, Floats]:
        """All metrics of bootstrap samples.

        Args:
            times: how often each patient occurs, [b, P], whole numbers from 0.

        Returns:
            those of :func:`~pneumo_cli.evaluation.binary.binary_metrics`, each [b]; NaN where a metric has a
            denominator of 0 or needs a class that the sample lacks.
        """
        metrics = self.metrics_without_areas(times)
        both = np.where(np.isfinite(metrics["mcc"]), 1.0, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            metrics["auc"], metrics["average_precision"] = (both * area for area in self._areas(times))
        return metrics

    def metrics_without_areas(self, times: Floats) -> dict[str, Floats]:
        """As :meth:`metrics`, without ``auc`` and ``average_precision``, which take nearly all of its time."""
        images, positives, predicted, tp, squares = (times @ self.sums).T
        negatives, fp = images - positives, predicted - tp
        tn, fn = negatives - fp, positives - tp
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity, specificity = tp / positives, tn / negatives
            both = np.where((positives > 0) & (negatives > 0), 1.0, np.nan)
            margins = np.sqrt(predicted * (images - predicted)) * np.sqrt(positives * negatives)
            return {
                "accuracy": (tp + tn) / images,
                "precision": tp / predicted,
                "recall": sensitivity,
                "specificity": specificity,
                "f1": np.where(positives > 0, 2 * tp / (predicted + positives), np.nan),
                # With one predicted class there is no correlation: 0, as in scikit-learn.
                "mcc": np.where(margins > 0, (tp * tn - fp * fn) / margins, 0.0) * both,
                "brier": squares / images,
                "ece": np.abs(times @ self.residuals).sum(axis=1) / images,
                "balanced_accuracy": (sensitivity + specificity) / 2,
            }

    def bin_residuals(self, times: Floats) -> Floats:
        """By how much each bin's probabilities are too high, as a share of all images: [b, bins].

        Their absolute values add up to the calibration error. Argument as for :meth:`metrics`.
        """
        with np.errstate(invalid="ignore"):  # a sample without any image
            residuals: Floats = times @ self.residuals / (times @ self.sums[:, :1])
        return residuals

    def once(self) -> Floats:
        """The split itself: each patient once."""
        return np.ones((1, self.patients))

    def patients_behind(self) -> dict[str, float]:
        """The effective number of patients behind each metric: those of its class, or of the smaller class."""
        images, positive, predicted, *_ = self.sums.T
        everyone, positives, negatives, predicted_positives = (
            effective(each) for each in (images, positive, images - positive, predicted)
        )
        smaller = min(positives, negatives)
        return {
            "accuracy": everyone,
            "precision": predicted_positives,
            "recall": positives,
            "specificity": negatives,
            "f1": positives,
            "mcc": smaller,
            "brier": everyone,
            "ece": everyone,
            "balanced_accuracy": smaller,
            "auc": smaller,
            "average_precision": smaller,
        }

    def influences(self) -> dict[str, Floats]:
        """Derivatives of metrics by the weight of each patient: the infinitesimal jackknife (Efron 1987).

        Returns:
            the derivatives at the split itself, [P] each, whose sum is 0, of ``brier``, and where both classes
            occur of ``auc`` and ``average_precision``.
        """
        images, squares = self.sums[:, 0], self.sums[:, 4]
        influences = {"brier": (squares - images * squares.sum() / images.sum()) / images.sum()}
        tp, fp = (counts[0] for counts in self.curves(np.ones((1, self.patients))))
        positives, negatives = tp[-1], fp[-1]
        if not (positives and negatives):
            return influences
        tp_steps, fp_steps = np.diff(tp, prepend=0.0), np.diff(fp, prepend=0.0)
        # For each distinct logit the share of the other class that it is ranked correctly against; ties count half.
        below, above = 1 - (fp - fp_steps / 2) / negatives, (tp - tp_steps / 2) / positives
        area = tp_steps @ below / positives
        # One more image at a logit changes the precision there and at all lower ones.
        predicted = tp + fp
        diluted = np.cumsum((tp_steps * tp / predicted**2)[::-1])[::-1]
        raised = np.cumsum((tp_steps / predicted)[::-1])[::-1]
        precision = tp / predicted
        mean = tp_steps @ precision / positives
        by_class = {
            "auc": ((below - area) / positives, (above - area) / negatives),
            "average_precision": ((precision - mean + raised - diluted) / positives, -diluted / positives),
        }
        distinct = np.repeat(np.arange(predicted.size), np.diff(self._last_of_tie, prepend=-1))
        for name, (positive, negative) in by_class.items():
            values = np.where(self._truth > 0, positive[distinct], negative[distinct])
            influences[name] = self._per_patient(values)
        return influences

    def curves(self, times: Floats) -> Curves:
        """The counts behind the two curves of bootstrap samples; argument as for :meth:`metrics`."""
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
        steps = np.diff(positives, axis=1, prepend=0.0)
        all_positives, all_negatives = positives[:, -1], negatives[:, -1]
        # The area above the curve: each negative ranked above a positive is lost.
        lost = np.einsum("bk,bk->b", steps, negatives)
        if self._tied:
            lost -= np.einsum("bk,bk->b", steps, np.diff(negatives, axis=1, prepend=0.0)) / 2
        area = 1 - lost / (all_positives * all_negatives)
        negatives += positives  # all images at or above
        precision = np.divide(positives, negatives, out=np.zeros_like(positives), where=negatives > 0)
        return area, np.einsum("bk,bk->b", steps, precision) / all_positives


class ResampledMetrics(NamedTuple):
    """The bootstrap of one classifier, to be paired with that of another one on the same images.

    Attributes:
        logits, logit_threshold: what it was computed from.
        values: metric to its value on the images themselves.
        resampled: metric to its values in the resamples, [B]; empty for a single patient.
        behind: metric to the number of patients behind it.
    """

    logits: Floats
    logit_threshold: float
    values: Mapping[str, float]
    resampled: Mapping[str, Floats]
    behind: Mapping[str, float]


def resampled_metrics(
    logits: Values,
    labels: Values,
    patients: Sequence[str] | NDArray[np.generic],
    *,
    logit_threshold: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> ResampledMetrics:
    """Every metric of a classifier in the same resamples of patients, whichever classifier it is.

    Args:
        logits, labels, patients, logit_threshold, resamples, seed: as for
            :func:`~pneumo_cli.evaluation.confidence.intervals.metric_intervals`.

    Raises:
        ValueError: as :func:`~pneumo_cli.evaluation.confidence.intervals.metric_intervals`.
    """
    scores, truth = checked(logits, labels)
    codes = patient_codes(patients, truth.size)
    sample = sample_at(scores, truth, codes, logit_threshold)
    check_resamples(resamples)
    chunks = []
    if sample.patients >= 2:
        chunks = [sample.metrics(times) for times in draws(sample.patients, truth.size, resamples, seed)]
    resampled = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in (chunks or [{}])[0]}
    values = {name: float(value[0]) for name, value in sample.metrics(sample.once()).items()}
    return ResampledMetrics(scores, logit_threshold, values, resampled, sample.patients_behind())


def sample_at(scores: Floats, truth: Integers, codes: Integers, logit_threshold: float) -> Sample:
    """The sample of a classifier that predicts positive from a logit on."""
    return Sample(scores, truth, codes, logit_threshold=logit_threshold_of(0.5, logit_threshold))


def check_resamples(resamples: int) -> None:
    """Raise ValueError for fewer than two resamples."""
    if resamples < 2:
        raise ValueError(f"a bootstrap needs at least 2 resamples, not {resamples}")
