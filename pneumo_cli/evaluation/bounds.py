"""The ends of a 95 % interval, from a value and its bootstrap resamples.

Percentiles of the resamples are too short for few patients and for values near 0 or 1, and have no width at all
where nothing was wrong. What is used instead takes the standard error from the resamples, and a t quantile for the
number of patients. Where all resamples agree the error is unknown, not 0: the number of patients then stands for
the number of observations. Which construction serves which metric was found by ``examples/measure_intervals.py``.

Knows no metric by name: :mod:`pneumo_cli.evaluation.intervals` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""
_NOTHING = 1e-12  # a variance that is rounding alone, of values between 0 and 1
_STEEPEST = 0.3  # of 1: how far skewness may shorten one side; the other one is at most 1 / 0.7 times as long


def wilson(share: ArrayLike, count: ArrayLike, z: float = Z) -> tuple[Floats, Floats]:
    """The score interval of a share (Wilson 1927); it has a width where the share is 0 or 1, too.

    Args:
        share: 0 to 1; any shape.
        count: how many independent observations it is worth, > 0; need not be whole.
        z: the normal quantile; 1.96 gives 95 %.
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding must not put a share of 0 or 1 outside of its own interval.
    return np.minimum(p, np.maximum(0.0, middle - half)), np.maximum(p, np.minimum(1.0, middle + half))


def score_ends(value: Floats, drawn: Floats, patients: float) -> tuple[Floats, Floats]:
    """Wilson's interval of shares, for as many observations as would have the error that the resamples show.

    For shares of images and what is made of few of them: it neither fails at 0 and 1 nor explodes beside them.

    Args:
        value: [K], 0 to 1.
        drawn: resamples of it, [B, K]; NaN where a resample does not define it, and does not count.
        patients: how many it rests on.
    """
    variance, _ = _moments(drawn, patients)
    spread = value * (1 - value)
    known = (variance > _NOTHING) & (spread > _NOTHING)
    worth = np.full(value.shape, float(patients))
    worth[known] = spread[known] / variance[known]
    return wilson(value, worth, t_quantile(patients - 1))


def accelerated_ends(value: float, drawn: Floats, patients: float) -> tuple[float, float]:
    """A t interval on the logit of the value, accelerated by the resamples' skewness (Efron 1987).

    For what varies continuously: an area near 1 is less sure downwards than upwards, more than its logit tells.

    Args:
        value: 0 to 1.
        drawn: resamples of it, [B]; NaN where a resample does not define it, and does not count.
        patients: how many it rests on.
    """
    (variance,), (skewness,) = _moments(drawn[:, None], patients)
    t = t_quantile(patients - 1)
    spread = value * (1 - value)
    if variance <= _NOTHING or spread <= _NOTHING:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    place, error = math.log(value / (1 - value)), math.sqrt(variance) / spread
    # Far from normal the formula has a pole.
    lean = min(max(t * skewness / 6, -_STEEPEST), _STEEPEST)
    low, high = np.exp(-np.logaddexp(0.0, -(place + error * t * np.array([-1 / (1 + lean), 1 / (1 - lean)]))))
    return float(low), float(high)


def calibration_ends(value: float, drawn: Floats, noise: Floats, patients: float) -> tuple[float, float]:
    """The interval of the true calibration error, of which what is seen is an overestimate.

    Noise adds to absolute values and never cancels; resamples scatter around a value that is too large twice over.
    The lower end is what noise alone does not explain: the value less the 95 % quantile of the noise. The upper end
    is the value without its bias, as the resamples show it, and t standard errors.

    Args:
        value: of :func:`~pneumo_cli.evaluation.calibration.expected_calibration_error`.
        drawn: resamples of it, [B].
        noise: how far each resample is from the split itself, as a calibration error, [B].
        patients: how many it rests on.
    """
    (variance,), _ = _moments(drawn[:, None], patients)
    t = t_quantile(patients - 1)
    if variance <= _NOTHING:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    few = math.sqrt(patients / (patients - 1)) * t / Z
    least = max(0.0, value - few * float(np.quantile(noise, 0.95)))
    most = max(0.0, 2 * value - float(drawn.mean())) + t * math.sqrt(variance)
    return least, min(1.0, most)


def mean_ends(
    values: Sequence[float], ends: Sequence[tuple[float, float]], drawn: Sequence[Floats]
) -> tuple[float, float]:
    """The interval of the mean of two values, from the interval of each (Zou & Donner 2008).

    The distances to the ends add up as standard errors do.

    Args:
        values: of the two.
        ends: their intervals.
        drawn: resamples of each, [B], from the same draws: how they vary together.
    """
    both = np.stack(drawn)
    both = both[:, np.isfinite(both).all(axis=0)]
    constant = both.shape[1] < 2 or bool((both.var(axis=1) <= _NOTHING).any())
    together = 0.0 if constant else float(np.corrcoef(both).flat[1])
    mean = sum(values) / 2
    below, above = (
        math.sqrt(max(0.0, first**2 + second**2 + 2 * together * first * second)) / 2
        for first, second in zip(
            *((value - low, high - value) for value, (low, high) in zip(values, ends, strict=True)),
            strict=True,
        )
    )
    return mean - below, mean + above


def difference_ends(value: float, drawn: Floats, patients: float) -> tuple[float, float, float]:
    """The two ends around a difference, t standard errors away, and the two-sided p of no difference.

    Where all resamples agree, the error is the largest that a mean over as many patients can have.

    Args:
        value: -1 to 1.
        drawn: resamples of it, [B]; NaN where a resample does not define it, and does not count.
        patients: how many it rests on.
    """
    (variance,), _ = _moments(drawn[:, None], patients)
    error = math.sqrt(variance) if variance > _NOTHING else 1 / math.sqrt(patients)
    half = t_quantile(patients - 1) * error
    p = math.erfc(_normal(abs(value) / error, patients - 1) / math.sqrt(2))
    return max(-1.0, value - half), min(1.0, value + half), p


def t_quantile(freedom: float) -> float:
    """The t distribution's 97.5 % quantile (Wallace 1959); below 3 degrees of freedom it is some % too large."""
    n = max(freedom, 1.0)
    return math.sqrt(n * math.expm1((Z * (8 * n + 3) / (8 * n + 1)) ** 2 / n))


def _normal(t: float, freedom: float) -> float:
    """The normal quantile that is as far out as a t quantile: the inverse of :func:`t_quantile`."""
    n = max(freedom, 1.0)
    return math.sqrt(n * math.log1p(t * t / n)) * (8 * n + 1) / (8 * n + 3)


def _moments(drawn: Floats, patients: float) -> tuple[Floats, Floats]:
    """Variance of each column [B, K], without the bias of n - 1 patients, and skewness."""
    centred = drawn - np.nanmean(drawn, axis=0)
    variance = np.nanmean(centred**2, axis=0)
    third = np.nanmean(centred**3, axis=0)
    skewness = np.divide(third, variance**1.5, out=np.zeros_like(third), where=variance > _NOTHING)
    return variance * patients / (patients - 1), skewness
