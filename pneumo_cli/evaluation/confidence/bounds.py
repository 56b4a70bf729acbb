"""The ends of a 95 % interval, from a value and its bootstrap resamples.

Percentile intervals are too narrow for few patients and for values near 0 or 1, and have no width where no error
was seen. The constructions here take the standard error from the resamples and a t quantile for the number of
patients. Where all resamples agree the error is unknown, not 0, and the number of patients is used as the number of
observations. Which construction suits which metric was measured by ``examples/measure_intervals.py``.

Knows no metric by name: :mod:`pneumo_cli.evaluation.confidence.intervals` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pneumo_cli.evaluation.arrays import Floats

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""
_ZERO_VARIANCE = 1e-12  # of values between 0 and 1: mere rounding
_MOST_TIMES = 64  # the search for the largest true error ends at this multiple of the observed one
_BISECTIONS = 14
_MOST_SKEWED = 0.3  # how far skewness may shorten one side; the other is then at most 1 / 0.7 times as long


def wilson(share: ArrayLike, count: ArrayLike, z: float = Z) -> tuple[Floats, Floats]:
    """The score interval of a proportion (Wilson 1927); it has a width even where the proportion is 0 or 1.

    Args:
        share: 0 to 1; any shape.
        count: the (effective) number of independent observations, > 0.
        z: the normal quantile; 1.96 gives 95 %.
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding must not put 0 or 1 outside its own interval.
    return np.minimum(p, np.maximum(0.0, middle - half)), np.maximum(p, np.minimum(1.0, middle + half))


def score_ends(value: Floats, drawn: Floats, patients: float) -> tuple[Floats, Floats]:
    """Wilson's interval of proportions, for the effective sample size that their resampling variance implies.

    For proportions of images and ratios of few images: it is well-behaved at 0 and 1 and near them.

    Args:
        value: [K], 0 to 1.
        drawn: its resamples, [B, K]; NaN (undefined in a resample) is ignored.
        patients: the number of patients behind it.
    """
    variance = _variance(drawn, patients)
    binomial = value * (1 - value)
    usable = (variance > _ZERO_VARIANCE) & (binomial > _ZERO_VARIANCE)
    effective = np.full(value.shape, float(patients))
    effective[usable] = binomial[usable] / variance[usable]
    return wilson(value, effective, t_quantile(patients - 1))


def accelerated_ends(value: float, drawn: Floats, influence: Floats, patients: float) -> tuple[float, float]:
    """A t interval on the logit of the value, accelerated: asymmetric by its skewness (Efron 1987).

    For continuous values: an area near 1 is less certain downwards than upwards, by more than its logit reflects.
    The error is that of the resamples' logits, because near 1 that of the resamples themselves is too small. The
    acceleration is the influences' skewness; the resamples' own would count the logit's curvature twice.

    Args:
        value: 0 to 1.
        drawn: its resamples, [B]; NaN (undefined in a resample) is ignored.
        influence: derivative of the value with respect to each patient's weight, [P].
        patients: the number of patients behind it.
    """
    variance = float(_variance(drawn[:, None], patients)[0])
    t = t_quantile(patients - 1)
    binomial = value * (1 - value)
    squares = float((influence**2).sum())
    if min(variance, binomial, squares) <= _ZERO_VARIANCE:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    inside = drawn[(drawn > 0) & (drawn < 1)]  # others have no logit
    logits = np.log(inside / (1 - inside)) if inside.size else np.zeros(1)
    error = math.sqrt(max(variance / binomial**2, float(_variance(logits[:, None], patients)[0])))
    logit, skew = math.log(value / (1 - value)), t * float((influence**3).sum()) / (6 * squares**1.5)
    skew = min(max(skew, -_MOST_SKEWED), _MOST_SKEWED)  # far from normal the formula has a pole
    low, high = np.exp(-np.logaddexp(0.0, -(logit + error * t * np.array([-1 / (1 + skew), 1 / (1 - skew)]))))
    return float(low), float(high)


def calibration_ends(
    residuals: Floats, drawn: Floats, scatter: Floats, expected: Floats, patients: float
) -> tuple[float, float]:
    """The interval of the true calibration error, which the observed one overestimates.

    Noise adds to absolute values and never cancels, most of all where the true error is 0, which no resample shows.
    So a test is inverted along one path (Carpenter 1999): if the true residuals were c times the observed ones, how
    large would the observed error be? The ends are the smallest and the largest c at which the observed error is
    not unusual. Two corrections widen intervals that would be too narrow:

    - bins where a few errors were expected and none was seen look free of noise, so the lower end must also hold
      with the noise of perfectly calibrated probabilities, scaled up by the correlation of a patient's images;
    - noise shared by all bins (the number of positive patients) hides an error shared by all bins, so the upper end
      is at least that of the mean residual, which is a lower bound of the calibration error.

    Args:
        residuals: of each bin, [K], as a share of all images: the value is the sum of their absolute values.
        drawn: their resamples, [B, K].
        scatter: their variances for independent images, [K].
        expected: the variances that the probabilities imply, [K].
        patients: the number of patients behind it.
    """
    value, t = float(np.abs(residuals).sum()), t_quantile(patients - 1)
    if _variance(np.abs(drawn).sum(axis=1)[:, None], patients)[0] <= _ZERO_VARIANCE:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    # [K, B], so that the sums over the bins are those of long rows.
    noise = np.ascontiguousarray((drawn - residuals).T) * (math.sqrt(patients / (patients - 1)) * t / Z)
    error = noise.std(axis=1)
    clustering = max(1.0, float((error**2).sum() / scatter.sum()))
    noiseless = error**2 <= _ZERO_VARIANCE**2
    standard = np.where(noiseless, 0.0, 1 / np.where(noiseless, 1.0, error))
    calibrated = noise * (standard * np.sqrt(clustering * expected))[:, None]
    least = min(_extreme_factor(residuals, each, low=True) for each in (noise, calibrated))
    most = _extreme_factor(residuals, noise, low=False)
    shared = abs(float(residuals.sum())) + Z * float(noise.sum(axis=0).std())
    return least * value, min(1.0, max(most * value, shared))


def _extreme_factor(residuals: Floats, noise: Floats, *, low: bool) -> float:
    """The factor of the residuals at which, with noise, the observed error has a tail probability of 2.5 %.

    At 0 no error can be too small, so all 5 % lie in the upper tail; they shift as the truth exceeds the noise.

    Args:
        residuals: of each bin, [K].
        noise: added to the truth, [K, B].
        low: whether to find the smallest factor, at which the observed error is unusually large.
    """
    observed = float(np.abs(residuals).sum())
    pure = np.abs(noise).sum(axis=0)
    mean, deviation = float(pure.mean()), max(float(pure.std()), _ZERO_VARIANCE)
    shifted = np.empty_like(noise)

    def end(times: float) -> float:
        np.add(noise, (times * residuals)[:, None], out=shifted)
        errors = np.abs(shifted, out=shifted).sum(axis=0)
        excess = min(1.0, max(0.0, (float(errors.mean()) - mean) / (2 * deviation)))
        return _quantile(errors, 0.95 + 0.025 * excess if low else 0.025 * excess)

    if end(0.0) >= observed:
        return 0.0
    least, most = 0.0, 1.0
    while end(most) < observed and most < _MOST_TIMES:
        least, most = most, 2 * most
    for _ in range(_BISECTIONS):
        middle = (least + most) / 2
        least, most = (middle, most) if end(middle) < observed else (least, middle)
    return (least + most) / 2


def mean_ends(
    values: Sequence[float], ends: Sequence[tuple[float, float]], drawn: Sequence[Floats]
) -> tuple[float, float]:
    """The interval of the mean of two values, from the interval of each (Zou & Donner 2008).

    The distances to the ends add up as standard errors do.

    Args:
        values: the two.
        ends: their intervals.
        drawn: their resamples, [B] each, from the same draws, for their correlation.
    """
    both = np.stack(drawn)
    both = both[:, np.isfinite(both).all(axis=0)]
    constant = both.shape[1] < 2 or bool((both.var(axis=1) <= _ZERO_VARIANCE).any())
    correlation = 0.0 if constant else float(np.corrcoef(both).flat[1])
    mean = sum(values) / 2
    sides = ((value - low, high - value) for value, (low, high) in zip(values, ends, strict=True))
    below, above = (
        math.sqrt(max(0.0, first**2 + second**2 + 2 * correlation * first * second)) / 2
        for first, second in zip(*sides, strict=True)
    )
    return mean - below, mean + above


def weighted_mean_ends(values: Floats, ends: Floats, drawn: Floats, weights: Floats) -> tuple[float, float]:
    """The interval of a weighted mean of K values, from the interval of each (Zou & Donner 2008).

    As :func:`mean_ends`, for more than two: a value that is the same in all resamples, or that few patients
    determine, contributes the uncertainty of its own interval.

    Args:
        values: [K].
        ends: their intervals, [K, 2].
        drawn: their resamples, [B, K], from the same draws, for their correlations; NaN (undefined in a resample)
            is ignored.
        weights: [K], at least 0, with a sum above 0.
    """
    deviation = drawn - np.nanmean(np.where(np.isfinite(drawn).any(axis=0), drawn, 0.0), axis=0)
    squares = np.nansum(deviation**2, axis=0)
    usable = squares / len(drawn) > _ZERO_VARIANCE
    standard = np.where(usable & np.isfinite(deviation), deviation, 0.0) / np.sqrt(
        np.where(usable, squares, 1.0)
    )
    correlations = standard.T @ standard
    np.fill_diagonal(correlations, 1.0)
    shares = weights / weights.sum()
    mean = float(shares @ values)
    below, above = (
        math.sqrt(max(0.0, float(side @ correlations @ side)))
        for side in (shares * (values - ends[:, 0]), shares * (ends[:, 1] - values))
    )
    return mean - below, mean + above


def difference_ends(value: float, drawn: Floats, patients: float) -> tuple[float, float, float]:
    """The ends of a difference's interval, t standard errors away, and the two-sided p of no difference.

    Where all resamples agree, the error is the largest possible for a mean over as many patients.

    Args:
        value: -1 to 1.
        drawn: its resamples, [B]; NaN (undefined in a resample) is ignored.
        patients: the number of patients behind it.
    """
    variance = float(_variance(drawn[:, None], patients)[0])
    error = math.sqrt(variance) if variance > _ZERO_VARIANCE else 1 / math.sqrt(patients)
    half = t_quantile(patients - 1) * error
    p = math.erfc(_normal(abs(value) / error, patients - 1) / math.sqrt(2))
    return max(-1.0, value - half), min(1.0, value + half), p


def t_quantile(freedom: float) -> float:
    """The t distribution's 97.5 % quantile (Wallace 1959); a few % too large below 3 degrees of freedom."""
    n = max(freedom, 1.0)
    return math.sqrt(n * math.expm1((Z * (8 * n + 3) / (8 * n + 1)) ** 2 / n))


def _normal(t: float, freedom: float) -> float:
    """The normal quantile with the tail probability of a t quantile: the inverse of :func:`t_quantile`."""
    n = max(freedom, 1.0)
    return math.sqrt(n * math.log1p(t * t / n)) * (8 * n + 1) / (8 * n + 3)


def _variance(drawn: Floats, patients: float) -> Floats:
    """Variance of each column of [B, K], with the correction n / (n - 1) for n patients."""
    variance = np.nanvar if np.isnan(drawn).any() else np.var  # the same without NaN, in a third of the time
    return np.asarray(variance(drawn, axis=0) * patients / (patients - 1))


def _quantile(values: Floats, share: float) -> float:
    """As ``numpy.quantile``, of values [B] without NaN, in a fraction of its time."""
    place = share * (values.size - 1)
    before = math.floor(place)
    after = min(before + 1, values.size - 1)
    low, high = (float(value) for value in np.partition(values, (before, after))[[before, after]])
    return low + (high - low) * (place - before)
