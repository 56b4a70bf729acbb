"""The metrics of many bootstrap samples at once. A sample is how often each patient was drawn.

Computes no intervals: :mod:`pneumo_cli.evaluation.confidence.intervals` does, from these values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers, checked, logit_threshold_of, sigmoid
from pneumo_cli.evaluation.calibration import bin_of
from pneumo_cli.evaluation.confidence.draws import Counts, PatientSums, draws, effective, patient_codes
from pneumo_cli.evaluation.confidence.ranking import Ranking

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

ECE_BINS = 15


class Sample:
    """One split's predictions, ready to be weighted.

    Args:
        scores: logits [N], finite.
        truth: [N] of 0 and 1.
        codes: the patient of each image, [N] of 0 to P - 1.
        logit_threshold: the logit at and above which an image is classified as positive.
        decided: what is predicted instead, [N] of 0 and 1.
        patients: P, where several samples share their draws and not each patient has an image in this one; None:
            each patient has one.

    Attributes:
        sums: of each patient, the number of its images, of positive ones, predicted ones and true positives, and
            the sum of squared errors of the probability: [5, P].
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
        self._scores, self._truth, self._codes = scores, truth, codes
        self.patients = int(codes.max()) + 1 if patients is None else patients
        self.images = scores.size
        predicted = scores >= logit_threshold if decided is None else decided == 1
        probabilities = sigmoid(scores)
        error = probabilities - truth
        summed = (np.ones_like(scores), truth, predicted, predicted & (truth == 1), error**2)
        self.sums = np.stack([self._per_patient(values) for values in summed])
        # Residuals per bin: the calibration error is the sum of their absolute values.
        bins = bin_of(probabilities, ECE_BINS)
        cells = bins * self.patients + codes
        residuals = np.bincount(cells, weights=error, minlength=self.patients * ECE_BINS)
        self._totals = PatientSums(np.concatenate([self.sums, residuals.reshape(ECE_BINS, -1)]))
        # Variance of each bin's sum [bins] for independent images: as observed, and as the probabilities imply.
        self.scatter, self.expected_scatter = (
            np.bincount(bins, weights=values, minlength=ECE_BINS).astype(np.float64)
            for values in (error**2, probabilities * (1 - probabilities))
        )

    @cached_property
    def ranking(self) -> Ranking:
        """The images in the order of their logits."""
        return Ranking(self._scores, self._truth, self._codes)

    def _per_patient(self, values: NDArray[np.generic]) -> Floats:
        return np.bincount(self._codes, weights=values, minlength=self.patients).astype(np.float64)

    def resampled(self, counts: Counts, *, areas: bool = True) -> tuple[dict[str, Floats], Floats]:
        """All metrics of bootstrap samples, and the residuals behind the calibration error.

        Args:
            counts: how often each patient occurs, [P, b].
            areas: whether ``auc`` and ``average_precision`` are wanted, which need the order of the images.

        Returns:
            the metrics of :func:`~pneumo_cli.evaluation.binary.binary_metrics`, each [b]; NaN where a metric has a
            denominator of 0 or needs a class that the sample lacks. By how much each bin's probabilities are too
            high, as a share of all images, [b, bins]: their absolute values add up to the calibration error.
        """
        totals = self._totals.of(counts)
        images, positives, predicted, tp, squares = totals[: len(self.sums)]
        negatives, fp = images - positives, predicted - tp
        tn, fn = negatives - fp, positives - tp
        both = np.where((positives > 0) & (negatives > 0), 1.0, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity, specificity = tp / positives, tn / negatives
            margins = np.sqrt(predicted * (images - predicted)) * np.sqrt(positives * negatives)
            residuals = totals[len(self.sums) :] / images
            metrics = {
                "accuracy": (tp + tn) / images,
                "precision": tp / predicted,
                "recall": sensitivity,
                "specificity": specificity,
                "f1": np.where(positives > 0, 2 * tp / (predicted + positives), np.nan),
                # With one predicted class there is no correlation: 0, as in scikit-learn.
                "mcc": np.where(margins > 0, (tp * tn - fp * fn) / margins, 0.0) * both,
                "brier": squares / images,
                "ece": np.abs(residuals).sum(axis=0),
                "balanced_accuracy": (sensitivity + specificity) / 2,
            }
            if areas:
                metrics["auc"], metrics["average_precision"] = (
                    both * area for area in self.ranking.areas(counts)
                )
        return metrics, np.asarray(residuals.T)

    def once(self) -> Counts:
        """The split itself: each patient once, [P, 1]."""
        return np.ones((self.patients, 1), np.uint8)

    def patients_behind(self) -> dict[str, float]:
        """The effective number of patients behind each metric: those of its class, or of the smaller class."""
        images, positive, predicted, *_ = self.sums
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

    def influences(self, *, areas: bool = True) -> dict[str, Floats]:
        """Derivatives of metrics by the weight of each patient: the infinitesimal jackknife (Efron 1987).

        Args:
            areas: whether those of the areas are wanted.

        Returns:
            the derivatives at the split itself, [P] each, whose sum is 0, of ``brier``, and where both classes
            occur of ``auc`` and ``average_precision``.
        """
        images, squares = self.sums[0], self.sums[4]
        influences = {"brier": (squares - images * squares.sum() / images.sum()) / images.sum()}
        if not areas or not 0 < self._truth.sum() < self.images:
            return influences
        tp, fp = (counts.astype(np.float64) for counts in (self.ranking.positives, self.ranking.negatives))
        tp_steps, fp_steps, tp, fp = np.diff(tp), np.diff(fp), tp[1:], fp[1:]
        positives, negatives = tp[-1], fp[-1]
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
        distinct = self.ranking.place - 1
        for name, (positive, negative) in by_class.items():
            values = np.where(self._truth == 1, positive[distinct], negative[distinct])
            influences[name] = self._per_patient(values)
        return influences


class Classifier(NamedTuple):
    """What is evaluated.

    Attributes:
        logits: [N], finite.
        logit_threshold: the logit at and above which an image is classified as positive, finite.
        areas: whether ``auc`` and ``average_precision`` are wanted.
    """

    logits: Values
    logit_threshold: float = 0.0
    areas: bool = True


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


class Resampled(NamedTuple):
    """The bootstrap of one classifier, with what its intervals need. Hundreds of bytes per image: not to be kept.

    Attributes:
        metrics: in the resamples.
        sample: the split.
        residuals: those behind the calibration error, [B, bins]; without resamples [0, bins].
    """

    metrics: ResampledMetrics
    sample: Sample
    residuals: Floats


def resampled_metrics(
    classifiers: Sequence[Classifier],
    labels: Values,
    patients: Sequence[str] | NDArray[np.generic],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Resampled]:
    """The metrics of classifiers of the same images, in the same resamples of patients whichever they are.

    Args:
        labels, patients, resamples, seed: as for
            :func:`~pneumo_cli.evaluation.confidence.intervals.metric_intervals`.

    Raises:
        ValueError: as :func:`~pneumo_cli.evaluation.confidence.intervals.metric_intervals`.
    """
    inputs = [checked(each.logits, labels) for each in classifiers]
    codes = patient_codes(patients, len(inputs[0][1]))
    samples = [
        Sample(scores, truth, codes, logit_threshold=logit_threshold_of(0.5, each.logit_threshold))
        for each, (scores, truth) in zip(classifiers, inputs, strict=True)
    ]
    check_resamples(resamples)
    count = int(codes.max()) + 1
    chunks: list[list[tuple[dict[str, Floats], Floats]]] = [[] for _ in samples]
    for counts in draws(count, resamples, seed) if count >= 2 else ():
        for each, sample, found in zip(classifiers, samples, chunks, strict=True):
            found.append(sample.resampled(counts, areas=each.areas))
    results = []
    for each, sample, found, (scores, _) in zip(classifiers, samples, chunks, inputs, strict=True):
        values, of_bins = sample.resampled(sample.once(), areas=each.areas)
        metrics = ResampledMetrics(
            scores,
            each.logit_threshold,
            {name: float(value[0]) for name, value in values.items()},
            {name: np.concatenate([one[name] for one, _ in found]) for name in values} if found else {},
            sample.patients_behind(),
        )
        residuals = np.concatenate([of_bins[:0], *(residuals for _, residuals in found)])
        results.append(Resampled(metrics, sample, residuals))
    return results


def check_resamples(resamples: int) -> None:
    """Raise ValueError for fewer than two resamples."""
    if resamples < 2:
        raise ValueError(f"a bootstrap needs at least 2 resamples, not {resamples}")
