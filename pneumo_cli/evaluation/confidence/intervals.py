"""How sure metrics are: 95 % intervals from a bootstrap over patients.

Images of one patient are not independent, so patients are drawn with replacement, each with all its images (Field
& Welsh 2007). A drawn sample is a vector of weights, and every metric is computed from weights for all samples at
once (:mod:`pneumo_cli.evaluation.confidence.bootstrap`).

How the ends come from the samples is told in :mod:`pneumo_cli.evaluation.confidence.bounds`; how often such
intervals cover the truth is measured by ``examples/measure_intervals.py``.

The intervals are about the value for all patients like these. They know nothing of another training
seed, of another hospital, or of a choice that was made on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers, checked, logit_threshold_of
from pneumo_cli.evaluation.confidence.bootstrap import Sample, draws, patient_codes
from pneumo_cli.evaluation.confidence.bounds import (
    accelerated_ends,
    calibration_ends,
    difference_ends,
    mean_ends,
    score_ends,
)

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

    Patients: TypeAlias = Sequence[str] | NDArray[np.generic]
    """Whose image each is, [N]; equal means the same patient."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """The first classifier's value less the second one's, its 95 % interval, and the two-sided p of being 0."""

    value: float
    low: float
    high: float
    p: float


class Band(NamedTuple):
    """A pointwise 95 % band around a curve: at each x [K], rising from 0 to 1, the interval low [K] to high [K]."""

    x: Floats
    low: Floats
    high: Floats


def metric_intervals(
    logits: Values,
    labels: Values,
    patients: Patients,
    *,
    logit_threshold: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """The interval of every metric of :func:`~pneumo_cli.evaluation.binary.binary_metrics`.

    For a subtype, call it with the images of the subtype and all negatives: of the result, ``recall`` and ``auc``
    are about the subtype.

    That of ``ece`` is about the true error, of which the value is an overestimate: it need not hold the value, and
    its lower end is 0 where a model that is calibrated perfectly would show as much.

    ``examples/measure_intervals.py`` finds a coverage of about 95 % for 300 to 1,000 images, but of up to 99 % for
    ``ece`` where patients have several images and a handful of errors make it up. With few patients of a class
    (150 images of which 30 are sick) most intervals are too wide, up to 99.6 %. Sensitivity and specificity are
    covered less often, 91 to 94 %, where some 50 patients of the class have up to 12 images each that are nearly
    all right or all wrong.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1.
        patients: whose image each is, [N].
        logit_threshold: the logit from which on an image is called positive, finite.
        resamples: how many samples are drawn, at least 2.
        seed: of the draws.

    Returns:
        metric to interval. A metric that is not defined on this split (its class or its calls are missing) is
        absent; with a single patient the dict is empty, because nothing is known of other patients.

    Raises:
        ValueError: as ``binary_metrics``, or an argument is out of bounds.
    """
    scores, truth = checked(logits, labels)
    codes = patient_codes(patients, truth.size)
    sample = _sample(scores, truth, codes, logit_threshold)
    _check_resamples(resamples)
    if sample.patients < 2:
        return {}
    parts, residuals = [], []
    for times in draws(sample.patients, truth.size, resamples, seed):
        parts.append(sample.metrics(times))
        residuals.append(sample.bin_residuals(times))
    values = sample.metrics(_once(sample))
    drawn_values = {name: np.concatenate([part[name] for part in parts]) for name in values}
    behind, influences = _patients_behind(sample), sample.influences()
    found: dict[str, Interval] = {}
    for name, value in values.items():
        drawn = drawn_values[name]
        if not np.isfinite(value[0]) or np.isfinite(drawn).sum() < 2:
            continue
        at, share, n = float(value[0]), _share(name, drawn), behind[name]
        if name == "ece":
            low, high = calibration_ends(
                sample.bin_residuals(_once(sample))[0],
                np.concatenate(residuals),
                sample.scatter / truth.size**2,
                sample.expected_scatter / truth.size**2,
                n,
            )
        elif name in influences:
            low, high = accelerated_ends(at, drawn, influences[name], n)
        else:
            low, high = (float(end[0]) for end in score_ends(_share(name, value), share[:, None], n))
        found[name] = Interval(_metric(name, low), _metric(name, high))
    if "balanced_accuracy" in found:
        # Where one of the two is 1 in all resamples, their mean's resamples hide how unsure that one is.
        shares = ("recall", "specificity")
        ends = mean_ends(
            [float(values[name][0]) for name in shares],
            [found[name] for name in shares],
            [drawn_values[name] for name in shares],
        )
        found["balanced_accuracy"] = Interval(*ends)
    return found


def share_interval(
    hits: ArrayLike, patients: Patients, *, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """The interval of a mean over images: of any 0 or 1 per image, or a number between.

    Args:
        hits: [N], 0 to 1: whether each sick image was found gives the sensitivity.
        patients: whose image each is, [N].
        resamples, seed: as for :func:`metric_intervals`.

    Returns:
        None where all images are of one patient.

    Raises:
        ValueError: there is no image, the shapes differ, or a value is out of bounds.
    """
    values = np.asarray(hits, dtype=np.float64)
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("hits have to be numbers between 0 and 1, one for each of at least one image")
    codes = patient_codes(patients, values.size)
    _check_resamples(resamples)
    count = int(codes.max()) + 1
    if count < 2:
        return None
    sums = np.stack([np.bincount(codes, weights=values), np.bincount(codes)], axis=1).astype(np.float64)
    drawn = []
    for times in draws(count, values.size, resamples, seed):
        total, images = (times @ sums).T
        drawn.append(total / images)
    behind = _effective(np.bincount(codes).astype(np.float64))
    low, high = score_ends(values.mean(keepdims=True), np.concatenate(drawn)[:, None], behind)
    return Interval(float(low[0]), float(high[0]))


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
    """How two classifiers differ on the same images, in every metric; both see the same draws of patients.

    The interval is the difference with t times its standard error on either side, and p belongs to it: it is below
    0.05 where the interval is without 0. Where all resamples agree, the error is that of as many images as there
    are patients (an error of 0 would make one patient's luck a proof).

    Args:
        first, second: logits of the two, [N], finite.
        labels: [N], each 0 or 1.
        patients: whose image each is, [N].
        logit_thresholds: of the first and the second one, as for :func:`metric_intervals`.
        resamples, seed: as for :func:`metric_intervals`.

    Returns:
        metric to difference, first less second; metrics as in :func:`metric_intervals`. Equal predictions differ by
        0, from 0 to 0, with p = 1. That of ``ece`` compares two overestimates.

    Raises:
        ValueError: as :func:`metric_intervals`.
    """
    one, truth = checked(first, labels)
    two, _ = checked(second, labels)
    codes = patient_codes(patients, truth.size)
    samples = (
        _sample(one, truth, codes, logit_thresholds[0]),
        _sample(two, truth, codes, logit_thresholds[1]),
    )
    _check_resamples(resamples)
    count = samples[0].patients
    if count < 2:
        return {}
    equal = np.array_equal(one, two) and logit_thresholds[0] == logit_thresholds[1]
    parts = [
        [sample.metrics(times) for sample in samples] for times in draws(count, truth.size, resamples, seed)
    ]
    values = [sample.metrics(_once(sample)) for sample in samples]
    behind = [_patients_behind(sample) for sample in samples]
    found = {}
    for name in values[0]:
        value = float(values[0][name][0] - values[1][name][0])
        drawn = np.concatenate([part[0][name] - part[1][name] for part in parts])
        if not math.isfinite(value) or np.isfinite(drawn).sum() < 2:
            continue
        if equal:
            found[name] = Difference(0.0, 0.0, 0.0, 1.0)
            continue
        span = _SPAN.get(name, 1.0)
        low, high, p = difference_ends(value / span, drawn / span, min(each[name] for each in behind))
        found[name] = Difference(value, span * low, span * high, p)
    return found


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
        logits, labels, patients, resamples, seed: as for :func:`metric_intervals`; both classes have to occur.
        points: K, at least 2.

    Raises:
        ValueError: a class is missing, there is one patient only, or as :func:`metric_intervals`.
    """
    band = _band(_sensitivity_at, logits, labels, patients, points, resamples, seed)
    # A sensitivity never falls with the false positive rate; a band that wavers is widened until it does not.
    low = np.minimum.accumulate(band.low[::-1])[::-1]
    high = np.maximum.accumulate(band.high)
    low[-1] = high[-1] = 1.0  # whoever calls everybody sick finds all the sick: nothing is unsure there
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

    The precision at a recall is that of the highest threshold which reaches the recall, as in average
    precision.

    Args:
        logits, labels, patients, points, resamples, seed: as for :func:`roc_band`.

    Raises:
        ValueError: as :func:`roc_band`.
    """
    return _band(_precision_at, logits, labels, patients, points, resamples, seed)


_SPAN = {"mcc": 2.0}  # from the least to the largest value, where that is not 1


def _share(name: str, values: Floats) -> Floats:
    """A metric's place between its least and its largest value."""
    return (values + 1) / 2 if name == "mcc" else values


def _metric(name: str, share: float) -> float:
    """The inverse of :func:`_share`."""
    return 2 * share - 1 if name == "mcc" else share


def _sample(scores: Floats, truth: Integers, codes: Integers, logit_threshold: float) -> Sample:
    return Sample(scores, truth, codes, logit_threshold=logit_threshold_of(0.5, logit_threshold))


def _check_resamples(resamples: int) -> None:
    if resamples < 2:
        raise ValueError(f"a bootstrap needs at least 2 resamples, not {resamples}")


def _once(sample: Sample) -> Floats:
    """The split itself: each patient once."""
    return np.ones((1, sample.patients))


def _effective(images: Floats) -> float:
    """How many equally large patients tell as much as patients with so many images each, [P] (Kish 1965).

    At least 1.5, so that an error that rests on a single one is far too large, and not infinite.
    """
    return max(1.5, float(images.sum() ** 2 / (images**2).sum())) if images.any() else 1.5


def _patients_behind(sample: Sample) -> dict[str, float]:
    """How many patients a metric rests on: those of the class, or of the smaller one, that it is about."""
    images, sick, called = sample.sums[:, 0], sample.sums[:, 1], sample.sums[:, 2]
    everyone, ill, well, found = (_effective(each) for each in (images, sick, images - sick, called))
    smaller = min(ill, well)
    return {
        "accuracy": everyone,
        "precision": found,
        "recall": ill,
        "specificity": well,
        "f1": ill,
        "mcc": smaller,
        "brier": everyone,
        "ece": everyone,
        "balanced_accuracy": smaller,
        "auc": smaller,
        "average_precision": smaller,
    }


def _band(
    curve: Callable[[Floats, Floats, Floats], Floats],
    logits: Values,
    labels: Values,
    patients: Patients,
    points: int,
    resamples: int,
    seed: int,
) -> Band:
    scores, truth = checked(logits, labels)
    sample = Sample(scores, truth, patient_codes(patients, truth.size))
    _check_resamples(resamples)
    if points < 2:
        raise ValueError(f"a band needs at least 2 points, not {points}")
    if not 0 < truth.sum() < truth.size:
        raise ValueError(f"a band needs both classes; all {truth.size} labels are {truth[0]}")
    if sample.patients < 2:
        raise ValueError("a band needs more than one patient")
    x = np.linspace(0.0, 1.0, points)

    def rows(times: Floats) -> list[Floats]:
        positives, negatives = sample.curves(times)
        both = (positives[:, -1] > 0) & (negatives[:, -1] > 0)
        return [curve(x, *counts) for counts in zip(positives[both], negatives[both], strict=True)]

    drawn = [row for times in draws(sample.patients, truth.size, resamples, seed) for row in rows(times)]
    if len(drawn) < 2:
        raise ValueError("a band needs more patients: hardly any resample has both classes")
    value, resampled = rows(_once(sample))[0], np.stack(drawn)
    low, high = score_ends(value, resampled, _patients_behind(sample)["recall"])
    # Of a value of 0 or 1 that is another in some resamples, the score interval knows the number of patients alone.
    edge = (value <= 0) | (value >= 1)
    seen = np.quantile(resampled[:, edge], (0.025, 0.975), axis=0)
    low[edge], high[edge] = np.minimum(low[edge], seen[0]), np.maximum(high[edge], seen[1])
    return Band(x, low, high)


def _sensitivity_at(x: Floats, positives: Floats, negatives: Floats) -> Floats:
    """Linear between the corners, as the area under the curve is."""
    corners = np.append(0.0, negatives / negatives[-1]), np.append(0.0, positives / positives[-1])
    sensitivity: Floats = np.interp(x, *corners)
    return sensitivity


def _precision_at(x: Floats, positives: Floats, negatives: Floats) -> Floats:
    called = positives + negatives
    there = positives > 0  # below the first sick image that was drawn no recall is reached
    positives, called = positives[there], called[there]
    # The slack keeps a recall of 7/10 at x = 0.7 whatever the rounding.
    place = np.searchsorted(positives / positives[-1], x - 1e-12, side="left")
    return positives[place] / called[place]
