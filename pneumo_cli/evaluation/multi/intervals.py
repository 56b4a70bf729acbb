"""95 % intervals over patients of the metrics of K classes, and of the difference of two classifiers.

The bootstrap of :mod:`pneumo_cli.evaluation.confidence.intervals`: all classes share the draws of patients. A class
has the intervals that it would have as a binary problem, and so have the pooled pairs of the micro average. The
interval of a macro or weighted average follows from those of the classes and the correlations of their resamples
(Zou & Donner 2008), so that a class of few patients, or without any error, contributes all its uncertainty. That of
the averaged calibration error is the construction for one class, on the bins of all classes.

The weights of the weighted average are the split's own numbers of images, and count as known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.confidence.bounds import (
    calibration_ends,
    difference_ends,
    score_ends,
    weighted_mean_ends,
)
from pneumo_cli.evaluation.confidence.draws import PatientSums, draws, effective, patient_codes
from pneumo_cli.evaluation.confidence.intervals import Difference, Interval, resampled_intervals
from pneumo_cli.evaluation.multi.metrics import (
    AVERAGES,
    Numbers,
    Thresholds,
    flat_metrics,
    metrics_per_class,
)
from pneumo_cli.evaluation.multi.resamples import ClassResamples, Resamples
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.confidence.intervals import Patients

_MOST, _FEWEST = 1000, 250  # resamples
_PAIRS = 200_000


@dataclass(frozen=True)
class MultiIntervals:
    """The intervals of the metrics of one split; a metric without one is missing.

    Attributes:
        flat: those of :func:`pneumo_cli.evaluation.multi.metrics.multi_metrics`.
        per_class: those of ``metrics_per_class``, K.
        averages: those of ``averaged_metrics``: ``macro``, ``micro`` and ``weighted``.
    """

    flat: dict[str, Interval]
    per_class: list[dict[str, Interval]]
    averages: dict[str, dict[str, Interval]]


def resamples_for(images: int, classes: int) -> int:
    """The number of resamples: 1,000, and fewer beyond 200,000 pairs of an image and a class, but at least 250.

    The standard error from 250 resamples is itself uncertain by 1 / sqrt(2 * 250) = 4.5 %, of intervals that are
    narrow for so many images.
    """
    return max(_FEWEST, min(_MOST, _MOST * _PAIRS // (images * classes)))


def multi_intervals(
    logits: Numbers,
    labels: Numbers,
    patients: Patients,
    task: Task,
    thresholds: Thresholds = None,
    *,
    probabilities: bool = False,
    seed: int = 0,
) -> MultiIntervals:
    """The interval of every metric.

    Args:
        logits, labels, task, thresholds: as for :func:`pneumo_cli.evaluation.multi.metrics.multi_metrics`.
        patients: the patient of each image, [N].
        probabilities: whether only those of ``brier`` and ``ece`` are wanted, and no micro average.
        seed: of the draws.

    Returns:
        no interval for a single patient, or for a metric that is undefined on this split.

    Raises:
        ValueError: as ``multi_metrics``, or there is not one patient per image.
    """
    split = as_one_vs_rest(logits, labels, task, thresholds)
    codes = patient_codes(patients, len(split.truth))
    count, classes = int(codes.max()) + 1, split.truth.shape[1]
    per_class: list[dict[str, Interval]] = [{} for _ in range(classes)]
    found = ClassResamples(split, task, codes, probabilities=probabilities, pooled=not probabilities)
    if count < 2 or not found.classes:
        return MultiIntervals({}, per_class, {name: {} for name in AVERAGES})
    for counts in draws(count, resamples_for(*split.truth.shape), seed):
        found.add(counts)
    values = metrics_per_class(split, task)
    for place, each in found.classes.items():
        per_class[place] = {name: ends for name, ends in _own(each).items() if name in values[place]}
    images = (split.truth == 1).sum(axis=0).astype(np.float64)
    macro, weighted = (_averaged(values, per_class, found, weights) for weights in (np.ones(classes), images))
    micro = _own(found.pooled) if found.pooled else {}
    if task == "multiclass":
        micro.pop("accuracy", None)
    flat = macro if probabilities else _flat(flat_metrics(split, task, values), macro, found, task)
    return MultiIntervals(flat, per_class, dict(zip(AVERAGES, (macro, micro, weighted), strict=True)))


def decision_intervals(
    truth: Integers, decided: Mapping[str, Integers], patients: Patients, *, seed: int = 0
) -> dict[str, list[dict[str, Interval]]]:
    """The intervals of the shares of right decisions per class, at several operating points.

    Args:
        truth: 1, 0 or -1 for unknown, [N, K].
        decided: by operating point, 1 where the class is predicted, else 0, [N, K].
        patients: the patient of each image, [N].
        seed: of the draws, which are those of :func:`multi_intervals`.

    Returns:
        by operating point and class: ``recall``, ``specificity``, ``precision`` and ``npv`` (the share of true
        negatives among all predicted negatives), without those that are undefined on this split.

    Raises:
        ValueError: there is not one patient per image.
    """
    codes = patient_codes(patients, len(truth))
    count, classes = int(codes.max()) + 1, truth.shape[1]
    found: dict[str, list[dict[str, Interval]]] = {name: [{} for _ in range(classes)] for name in decided}
    if count < 2:
        return found
    known, present, absent = truth >= 0, truth == 1, truth == 0
    cells = [present, absent]
    for chosen in decided.values():
        positive, negative = (chosen == 1) & known, (chosen == 0) & known
        cells += [present & positive, absent & negative, positive, negative]
    sums = np.concatenate([_per_patient(each, codes, count) for each in cells])
    resampled, resamples = PatientSums(sums), resamples_for(*truth.shape)
    totals = np.concatenate([resampled.of(counts) for counts in draws(count, resamples, seed)], axis=1)
    # Each [K, P], and each [K, B].
    of_patients, of_samples = (np.split(each, len(cells)) for each in (sums, totals))
    for number, point in enumerate(decided):
        tp, tn, positives, negatives = range(2 + 4 * number, 6 + 4 * number)
        shares = {
            "recall": (tp, 0),
            "specificity": (tn, 1),
            "precision": (tp, positives),
            "npv": (tn, negatives),
        }
        for name, (hits, of) in shares.items():
            with np.errstate(invalid="ignore"):
                drawn = of_samples[hits] / of_samples[of]
            for place in np.flatnonzero(of_patients[of].any(axis=1)).tolist():
                if np.isfinite(drawn[place]).sum() >= 2:
                    images = of_patients[of][place]
                    value = np.array([of_patients[hits][place].sum() / images.sum()])
                    found[point][place][name] = _interval(value, drawn[place], effective(images))
    return found


def multi_difference_intervals(
    first: Numbers,
    second: Numbers,
    labels: Numbers,
    patients: Patients,
    task: Task,
    *,
    thresholds: tuple[Thresholds, Thresholds] = (None, None),
    seed: int = 0,
) -> dict[str, Difference]:
    """The difference of two classifiers on the same images in every flat metric, with the same bootstrap samples.

    As :func:`pneumo_cli.evaluation.confidence.intervals.difference_intervals`. The number of patients behind the
    difference of an average is that behind its classes, each in proportion to its variance (Satterthwaite 1946).

    Args:
        first, second: logits of the two, [N, K], finite.
        labels, task: as for :func:`pneumo_cli.evaluation.multi.metrics.multi_metrics`.
        patients: the patient of each image, [N].
        thresholds: of the first and the second one, [K] each.
        seed: of the draws.

    Returns:
        the flat metric to its difference, first minus second; empty for a single patient. For equal predictions it
        is 0, from 0 to 0, with p = 1.

    Raises:
        ValueError: as :func:`multi_intervals`.
    """
    splits = [
        as_one_vs_rest(logits, labels, task, own)
        for logits, own in zip((first, second), thresholds, strict=True)
    ]
    if splits[0].scores.shape != splits[1].scores.shape:
        raise ValueError("the two classifiers have different numbers of classes")
    codes = patient_codes(patients, len(splits[0].truth))
    count = int(codes.max()) + 1
    found = [ClassResamples(split, task, codes) for split in splits]
    if count < 2 or not found[0].classes:
        return {}
    for counts in draws(count, resamples_for(*splits[0].truth.shape), seed):
        for each in found:
            each.add(counts)
    per_class = [metrics_per_class(split, task) for split in splits]
    ours, theirs = (flat_metrics(split, task, each) for split, each in zip(splits, per_class, strict=True))
    equal = all(np.array_equal(one, other) for one, other in zip(splits[0], splits[1], strict=True))
    resampled = [{place: of.metrics for place, of in each.classes.items()} for each in found]
    differences = {}
    for name in ours:
        drawn, behind = _difference(name, task, per_class[0], found, resampled)
        if np.isfinite(drawn).sum() < 2:
            continue
        if equal:
            differences[name] = Difference(0.0, 0.0, 0.0, 1.0)
            continue
        value, span = ours[name] - theirs[name], 2.0 if name == "mcc" else 1.0
        low, high, p = difference_ends(value / span, drawn / span, behind)
        differences[name] = Difference(value, span * low, span * high, p)
    return differences


def _difference(
    name: str,
    task: Task,
    values: Sequence[Mapping[str, float]],
    found: Sequence[ClassResamples],
    resampled: Sequence[Mapping[int, Mapping[str, Floats]]],
) -> tuple[Floats, float]:
    """The resamples of the difference of a flat metric, [B], and the number of patients behind it."""
    if name == _whole(task):
        return found[0].right - found[1].right, found[0].whole
    if name == "mcc" and task == "multiclass":
        return found[0].correlations - found[1].correlations, _behind_correlation(found[0])
    if name == "balanced_accuracy" and task == "multiclass":
        name = "recall"
    places = [place for place in found[0].classes if name in values[place]]
    columns, behind = [], []
    for place in places:
        first, second = (each[place][name] for each in resampled)
        if name == "precision":  # 0 where nothing is predicted, as in the metric itself
            first, second = np.nan_to_num(first), np.nan_to_num(second)
        columns.append(first - second)
        behind.append(min(each.classes[place].sample.patients_behind()[name] for each in found))
    drawn, counts = np.stack(columns, axis=1), np.array(behind)
    variances = np.nanvar(drawn, axis=0)
    if variances.sum() == 0:
        return drawn.mean(axis=1), float(counts.min())
    freedom = float(variances.sum() ** 2 / (variances**2 / (counts - 1)).sum())
    return drawn.mean(axis=1), min(float(counts.max()), 1 + freedom)


def _flat(
    values: Mapping[str, float], macro: Mapping[str, Interval], found: ClassResamples, task: Task
) -> dict[str, Interval]:
    """The intervals of the flat metrics, from those of the macro average."""
    own = dict(macro)
    name = _whole(task)
    if name in values and np.isfinite(found.right).sum() >= 2:
        own[name] = _interval(np.array([values[name]]), found.right, found.whole)
    if task == "multiclass":
        own.pop("mcc", None)
        own.pop("balanced_accuracy", None)
        if "recall" in macro:
            own["balanced_accuracy"] = macro["recall"]
        if np.isfinite(found.correlations).sum() >= 2:  # between -1 and 1; computed between 0 and 1
            half = np.array([(values["mcc"] + 1) / 2])
            low, high = _interval(half, (found.correlations + 1) / 2, _behind_correlation(found))
            own["mcc"] = Interval(2 * low - 1, 2 * high - 1)
    return {name: own[name] for name in values if name in own}


def _averaged(
    values: Sequence[Mapping[str, float]],
    per_class: Sequence[Mapping[str, Interval]],
    found: ClassResamples,
    weights: Floats,
) -> dict[str, Interval]:
    """The intervals of weighted means over the classes that have the metric, where one of them has an interval."""
    resampled = {place: each.metrics for place, each in found.classes.items()}
    averaged = {}
    for name in dict.fromkeys(name for each in per_class for name in each):
        places = [place for place in resampled if name in values[place] and weights[place] > 0]
        if not any(name in per_class[place] for place in places):
            continue
        own = weights[places]
        if name == "ece":
            averaged[name] = _calibration([found.classes[place] for place in places], own, found.whole)
            continue
        # A class that is never predicted has a precision, 0, but no interval: any value is possible.
        anything = Interval(-1.0 if name == "mcc" else 0.0, 1.0)
        ends = np.array([per_class[place].get(name, anything) for place in places])
        drawn = np.stack([resampled[place][name] for place in places], axis=1)
        low, high = weighted_mean_ends(np.array([values[place][name] for place in places]), ends, drawn, own)
        averaged[name] = Interval(low, high)
    return averaged


def _calibration(classes: Sequence[Resamples], weights: Floats, patients: float) -> Interval:
    """The interval of a weighted mean of calibration errors, as of one error with the bins of all classes."""
    shares = weights / weights.sum()
    samples = [each.sample for each in classes]
    residuals = [
        share * sample.resampled(sample.once(), areas=False)[1][0]
        for share, sample in zip(shares, samples, strict=True)
    ]
    drawn = np.concatenate(
        [share * each.residuals for share, each in zip(shares, classes, strict=True)], axis=1
    )
    squares = [(share / sample.images) ** 2 for share, sample in zip(shares, samples, strict=True)]
    scatter, expected = (
        np.concatenate([square * each for square, each in zip(squares, variances, strict=True)])
        for variances in ([each.scatter for each in samples], [each.expected_scatter for each in samples])
    )
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    return Interval(*calibration_ends(np.concatenate(residuals), drawn, scatter, expected, patients))


def _own(each: Resamples) -> dict[str, Interval]:
    """The intervals of one binary problem; none where fewer than two patients have an image of it."""
    if np.count_nonzero(each.sample.sums[0]) < 2:
        return {}
    return resampled_intervals(each.sample, each.metrics, each.residuals)


def _behind_correlation(found: ClassResamples) -> float:
    """Patients behind the correlation of K classes: of the smaller side, for the class with the most of them."""
    return max(each.sample.patients_behind()["mcc"] for each in found.classes.values())


def _interval(value: Floats, drawn: Floats, patients: float) -> Interval:
    low, high = score_ends(value, drawn[:, None], patients)
    return Interval(float(low[0]), float(high[0]))


def _per_patient(cells: np.ndarray, codes: Integers, patients: int) -> Floats:
    """Counts per patient, [K, P], of cells [N, K]."""
    counts = [np.bincount(codes, weights=column, minlength=patients) for column in cells.T]
    return np.stack(counts).astype(np.float64)


def _whole(task: Task) -> str:
    """The metric that counts images with everything right."""
    return "accuracy" if task == "multiclass" else "exact_match"
