"""95 % intervals of metrics from a bootstrap over patients.

Images of one patient are not independent, so patients are drawn with replacement, each with all its images (Field
& Welsh 2007). A sample is a vector of weights, and every metric is computed from weights for all samples at once
(:mod:`pneumo_cli.evaluation.confidence.bootstrap`). The ends are computed from the samples by
:mod:`pneumo_cli.evaluation.confidence.bounds`; ``examples/measure_intervals.py`` measures their coverage.

The intervals refer to the population of patients like these. They do not cover the variation between training
seeds or hospitals, or the effect of choices made on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.compat import former_keywords
from pneumo_cli.evaluation.arrays import Floats, checked
from pneumo_cli.evaluation.confidence.bootstrap import (
    Classifier,
    ResampledMetrics,
    Sample,
    check_resamples,
    resampled_metrics,
)
from pneumo_cli.evaluation.confidence.bounds import (
    accelerated_ends,
    calibration_ends,
    difference_ends,
    mean_ends,
    score_ends,
)
from pneumo_cli.evaluation.confidence.draws import Counts, PatientSums, draws, effective, patient_codes
from pneumo_cli.evaluation.confidence.ranking import Ranking

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

    Patients: TypeAlias = Sequence[str] | NDArray[np.generic]
    """The patient of each image, [N]; equal means the same patient."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """The first classifier's value minus the second one's, its 95 % interval, and the two-sided p of being 0."""

    value: float
    low: float
    high: float
    p: float


class Band(NamedTuple):
    """A pointwise 95 % band around a curve: at each x [K], rising from 0 to 1, the interval low [K] to high [K]."""

    x: Floats
    low: Floats
    high: Floats


@former_keywords(cut="logit_threshold")
def metric_intervals(
    logits: Values,
    labels: Values,
    patients: Patients,
    *,
    logit_threshold: float = 0.0,
    areas: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """The interval of every metric of :func:`~pneumo_cli.evaluation.binary.binary_metrics`.

    For a subtype, pass the images of the subtype and all negatives; ``recall`` and ``auc`` then refer to it.

    The interval of ``ece`` is that of the true error, which the value overestimates: it need not contain the value,
    and its lower end is 0 where a perfectly calibrated model could show as large an error.

    ``examples/measure_intervals.py`` finds a coverage of about 95 % for 300 to 1,000 images, but of up to 99 % for
    ``ece`` where patients have several images and it consists of a handful of errors. With few patients of a class
    (150 images with 30 positives) most intervals are too wide, with up to 99.6 %. Sensitivity and specificity are
    covered less often, 91 to 94 %, where some 50 patients of the class have up to 12 images each that are nearly
    all right or all wrong.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1.
        patients: the patient of each image, [N].
        logit_threshold: the logit at and above which an image is classified as positive, finite.
        areas: whether the intervals of ``auc`` and ``average_precision`` are wanted.
        resamples: number of bootstrap samples, at least 2.
        seed: of the draws.

    Returns:
        metric to interval, without metrics that are undefined on this split; empty for a single patient.

    Raises:
        ValueError: as ``binary_metrics``, or an argument is out of bounds.
    """
    (found,) = resampled_metrics(
        [Classifier(logits, logit_threshold, areas)], labels, patients, resamples=resamples, seed=seed
    )
    return resampled_intervals(found.sample, found.metrics.resampled, found.residuals)


def resampled_intervals(
    sample: Sample, resampled: Mapping[str, Floats], residuals: Floats
) -> dict[str, Interval]:
    """The intervals of :func:`metric_intervals` from resamples of a split.

    Args:
        sample: the split.
        resampled: metric to its resamples, [B] each; those of ``sample.resampled`` whose intervals are wanted. None
            for a single patient.
        residuals: likewise, [B, bins]; NaN in a resample without any image.
    """
    if not resampled:
        return {}
    areas = not resampled.keys().isdisjoint(("auc", "average_precision"))
    values, of_bins = sample.resampled(sample.once(), areas=areas)
    behind, influences = sample.patients_behind(), sample.influences(areas=areas)
    intervals: dict[str, Interval] = {}
    for name, drawn in resampled.items():
        value, n = values[name], behind[name]
        if not np.isfinite(value[0]) or np.isfinite(drawn).sum() < 2:
            continue
        if name == "ece":
            low, high = calibration_ends(
                of_bins[0],
                residuals[np.isfinite(residuals).all(axis=1)],
                sample.scatter / sample.images**2,
                sample.expected_scatter / sample.images**2,
                n,
            )
        elif name in influences:
            low, high = accelerated_ends(float(value[0]), drawn, influences[name], n)
        elif name == "mcc":  # between -1 and 1; computed between 0 and 1
            ends = score_ends((value + 1) / 2, (drawn[:, None] + 1) / 2, n)
            low, high = (2 * float(end[0]) - 1 for end in ends)
        else:
            low, high = (float(end[0]) for end in score_ends(value, drawn[:, None], n))
        intervals[name] = Interval(low, high)
    if "balanced_accuracy" in intervals:
        # If one of the two is 1 in all resamples, the resamples of their mean hide the uncertainty of that one.
        pair = ("recall", "specificity")
        intervals["balanced_accuracy"] = Interval(
            *mean_ends(
                [float(values[name][0]) for name in pair],
                [intervals[name] for name in pair],
                [resampled[name] for name in pair],
            )
        )
    return intervals


def share_interval(
    hits: ArrayLike, patients: Patients, *, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """The interval of a mean over images of values from 0 to 1.

    Args:
        hits: [N], 0 to 1; for the sensitivity, whether each positive image is a true positive.
        patients: the patient of each image, [N].
        resamples, seed: as for :func:`metric_intervals`.

    Returns:
        None where all images are of one patient.

    Raises:
        ValueError: there is no image, the shapes differ, or a value is out of bounds.
    """
    values = np.asarray(hits, dtype=np.float64)
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("hits must be numbers between 0 and 1, one for each of at least one image")
    codes = patient_codes(patients, values.size)
    check_resamples(resamples)
    count = int(codes.max()) + 1
    if count < 2:
        return None
    sums = np.stack([np.bincount(codes, weights=values), np.bincount(codes)]).astype(np.float64)
    totals = PatientSums(sums)
    drawn = np.concatenate([totals.of(counts) for counts in draws(count, resamples, seed)], axis=1)
    low, high = score_ends(values.mean(keepdims=True), (drawn[0] / drawn[1])[:, None], effective(sums[1]))
    return Interval(float(low[0]), float(high[0]))


@former_keywords(cuts="logit_thresholds")
def difference_intervals(
    first: Values,
    second: Values,
    labels: Values,
    patients: Patients,
    *,
    logit_thresholds: tuple[float, float] = (0.0, 0.0),
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """The difference of two classifiers on the same images in every metric, with the same bootstrap samples.

    The interval is the difference ± t standard errors, and p agrees with it: it is below 0.05 where the interval
    excludes 0. Where all resamples agree, the error is that for as many images as there are patients (an error of 0
    would turn one patient's luck into a proof).

    Args:
        first, second: logits of the two, [N], finite.
        labels: [N], each 0 or 1.
        patients: the patient of each image, [N].
        logit_thresholds: of the first and the second one, as for :func:`metric_intervals`.
        resamples, seed: as for :func:`metric_intervals`.

    Returns:
        metric to difference, first minus second; metrics as in :func:`metric_intervals`. For equal predictions it
        is 0, from 0 to 0, with p = 1. That of ``ece`` compares two overestimates.

    Raises:
        ValueError: as :func:`metric_intervals`.
    """
    both = [
        Classifier(logits, threshold)
        for logits, threshold in zip((first, second), logit_thresholds, strict=True)
    ]
    one, two = resampled_metrics(both, labels, patients, resamples=resamples, seed=seed)
    return resampled_differences(one.metrics, two.metrics)


def resampled_differences(first: ResampledMetrics, second: ResampledMetrics) -> dict[str, Difference]:
    """As :func:`difference_intervals`, from the bootstraps of the two on the same images."""
    equal = np.array_equal(first.logits, second.logits) and first.logit_threshold == second.logit_threshold
    differences = {}
    for name, drawn_first in first.resampled.items():
        value = first.values[name] - second.values[name]
        drawn = drawn_first - second.resampled[name]
        if not math.isfinite(value) or np.isfinite(drawn).sum() < 2:
            continue
        if equal:
            differences[name] = Difference(0.0, 0.0, 0.0, 1.0)
            continue
        span = 2.0 if name == "mcc" else 1.0  # from the least to the largest value
        low, high, p = difference_ends(
            value / span, drawn / span, min(first.behind[name], second.behind[name])
        )
        differences[name] = Difference(value, span * low, span * high, p)
    return differences


def roc_band(
    logits: Values,
    labels: Values,
    patients: Patients,
    *,
    points: int = 101,
    resamples: int = 1000,
    seed: int = 0,
) -> Band:
    """The band of the sensitivity around a ROC curve, at equally spaced false positive rates.

    Args:
        logits, labels, patients, resamples, seed: as for :func:`metric_intervals`; both classes must occur.
        points: K, at least 2.

    Raises:
        ValueError: a class is missing, there is only one patient, or as :func:`metric_intervals`.
    """
    band = _band(Ranking.sensitivity_at, logits, labels, patients, points, resamples, seed)
    # Sensitivity never falls with the false positive rate; the band is widened until it is monotonic.
    low = np.minimum.accumulate(band.low[::-1])[::-1]
    high = np.maximum.accumulate(band.high)
    low[-1] = high[-1] = 1.0  # if all images are predicted positive, the sensitivity is 1
    return Band(band.x, low, high)


def precision_recall_band(
    logits: Values,
    labels: Values,
    patients: Patients,
    *,
    points: int = 101,
    resamples: int = 1000,
    seed: int = 0,
) -> Band:
    """The band of the precision around a precision-recall curve, at equally spaced recalls.

    The precision at a recall is that of the highest threshold with that recall, as in average precision.

    Args:
        logits, labels, patients, points, resamples, seed: as for :func:`roc_band`.

    Raises:
        ValueError: as :func:`roc_band`.
    """
    return _band(Ranking.precision_at, logits, labels, patients, points, resamples, seed)


def _band(
    curve: Callable[[Ranking, Floats, Counts], Floats],
    logits: Values,
    labels: Values,
    patients: Patients,
    points: int,
    resamples: int,
    seed: int,
) -> Band:
    scores, truth = checked(logits, labels)
    codes = patient_codes(patients, truth.size)
    check_resamples(resamples)
    if points < 2:
        raise ValueError(f"a band needs at least 2 points, not {points}")
    if not 0 < truth.sum() < truth.size:
        raise ValueError(f"a band needs both classes; all {truth.size} labels are {truth[0]}")
    count = int(codes.max()) + 1
    if count < 2:
        raise ValueError("a band needs more than one patient")
    x, ranking = np.linspace(0.0, 1.0, points), Ranking(scores, truth, codes)
    resampled = np.concatenate([curve(ranking, x, counts) for counts in draws(count, resamples, seed)])
    if len(resampled) < 2:
        raise ValueError("a band needs more patients: hardly any resample has both classes")
    value = curve(ranking, x, np.ones((count, 1), np.uint8))[0]
    low, high = score_ends(value, resampled, effective(np.bincount(codes[truth == 1]).astype(np.float64)))
    # For a value of 0 or 1 the score interval uses only the number of patients: add the resamples' quantiles.
    edge = (value <= 0) | (value >= 1)
    quantiles = np.quantile(resampled[:, edge], (0.025, 0.975), axis=0)
    low[edge], high[edge] = np.minimum(low[edge], quantiles[0]), np.maximum(high[edge], quantiles[1])
    return Band(x, low, high)
