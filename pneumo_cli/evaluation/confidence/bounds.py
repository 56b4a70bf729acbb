"""The ends of a 95 % interval, from a value and its bootstrap resamples.

Percentiles of the resamples are too short for few patients and for values near 0 or 1, and have no width at all
where nothing was wrong. What is used instead takes the standard error from the resamples, and a t quantile for the
number of patients. Where all resamples agree the error is unknown, not 0: the number of patients then stands for
the number of observations. Which construction serves which metric was found by ``examples/measure_intervals.py``.

Knows no metric by name: :mod:`pneumo_cli.evaluation.confidence.intervals` does.
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
_FARTHEST = 64  # times what was seen, where looking for a larger truth ends
_HALVINGS = 14
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
    variance = _variance(drawn, patients)
    spread = value * (1 - value)
    known = (variance > _NOTHING) & (spread > _NOTHING)
    worth = np.full(value.shape, float(patients))
    worth[known] = spread[known] / variance[known]
    return wilson(value, worth, t_quantile(patients - 1))


def accelerated_ends(value: float, drawn: Floats, influence: Floats, patients: float) -> tuple[float, float]:
    """A t interval on the logit of the value, accelerated: one side longer than the other (Efron 1987).

    For what varies continuously: an area near 1 is less sure downwards than upwards, more than its logit tells.
    The error is that of the resamples' logits, because near 1 that of the resamples themselves is too small. The
    acceleration is the influences' skewness; the resamples' own would count the curve of the logit twice.

    Args:
        value: 0 to 1.
        drawn: resamples of it, [B]; NaN where a resample does not define it, and does not count.
        influence: how the value changes with the weight of each patient, [P].
        patients: how many it rests on.
    """
    variance = float(_variance(drawn[:, None], patients)[0])
    t = t_quantile(patients - 1)
    spread = value * (1 - value)
    squares = float((influence**2).sum())
    if variance <= _NOTHING or spread <= _NOTHING or squares <= _NOTHING:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    inside = drawn[(drawn > 0) & (drawn < 1)]  # others have no logit
    places = np.log(inside / (1 - inside)) if inside.size else np.zeros(1)
    error = math.sqrt(max(variance / spread**2, float(_variance(places[:, None], patients)[0])))
    place, lean = math.log(value / (1 - value)), t * float((influence**3).sum()) / (6 * squares**1.5)
    lean = min(max(lean, -_STEEPEST), _STEEPEST)  # far from normal the formula has a pole
    low, high = np.exp(-np.logaddexp(0.0, -(place + error * t * np.array([-1 / (1 + lean), 1 / (1 - lean)]))))
    return float(low), float(high)


def calibration_ends(
    residuals: Floats, drawn: Floats, scatter: Floats, expected: Floats, patients: float
) -> tuple[float, float]:
    """The interval of the true calibration error, of which what is seen is an overestimate.

    Noise adds to absolute values and never cancels, most of all where the truth is 0: no resample of what was seen
    shows that. So the question is turned round (a test inverted along one path, Carpenter 1999): were the true
    residuals c times those seen, how large an error would be seen? The ends are the least and the largest such
    truth for which what was seen is not unusual. Two things are added, each against a way to be too sure:

    - bins in which a few errors were to be expected and none was seen look free of noise, so the lower end has to
      hold with the noise of probabilities that are right, too, made larger by how alike a patient's images are;
    - noise that all bins share (how many patients are sick) hides an error that all bins share, so the upper end is
      at least that of the mean residual, below which no calibration error can be.

    Args:
        residuals: of each bin, [K], as a share of all images: the value is the sum of their absolute values.
        drawn: resamples of them, [B, K].
        scatter: their variances, were images independent, [K].
        expected: the same as the probabilities say, [K].
        patients: how many it rests on.
    """
    value, t = float(np.abs(residuals).sum()), t_quantile(patients - 1)
    if _variance(np.abs(drawn).sum(axis=1)[:, None], patients)[0] <= _NOTHING:
        low, high = wilson(value, patients, t)
        return float(low), float(high)
    noise = (drawn - residuals) * (math.sqrt(patients / (patients - 1)) * t / Z)
    error = noise.std(axis=0)
    alike = max(1.0, float((error**2).sum() / scatter.sum()))
    quiet = error**2 <= _NOTHING**2
    right = np.where(quiet, 0.0, noise / np.where(quiet, 1.0, error)) * np.sqrt(alike * expected)
    least = min(_unusual(residuals, each, low=True) for each in (noise, right))
    most = _unusual(residuals, noise, low=False)
    together = abs(float(residuals.sum())) + Z * float(noise.sum(axis=1).std())
    return least * value, min(1.0, max(most * value, together))


def _unusual(residuals: Floats, noise: Floats, *, low: bool) -> float:
    """By what to multiply the residuals, so that with noise they show as much as is seen in 2.5 % of cases only.

    At 0 nothing can be too small, so all 5 % lie at the upper tail; they move as the truth leaves the noise behind.

    Args:
        residuals: of each bin, [K].
        noise: what adds to the truth, [B, K].
        low: whether the least truth is sought, under which what is seen is unusually large.
    """
    seen = float(np.abs(residuals).sum())
    still = np.abs(noise).sum(axis=1)
    middle, width = float(still.mean()), max(float(still.std()), _NOTHING)

    def end(times: float) -> float:
        made = np.abs(times * residuals + noise).sum(axis=1)
        apart = min(1.0, max(0.0, (float(made.mean()) - middle) / (2 * width)))
        return float(np.quantile(made, 0.95 + 0.025 * apart if low else 0.025 * apart))

    if end(0.0) >= seen:
        return 0.0
    least, most = 0.0, 1.0
    while end(most) < seen and most < _FARTHEST:
        least, most = most, 2 * most
    for _ in range(_HALVINGS):
        middling = (least + most) / 2
        least, most = (middling, most) if end(middling) < seen else (least, middling)
    return (least + most) / 2


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
    variance = float(_variance(drawn[:, None], patients)[0])
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


def _variance(drawn: Floats, patients: float) -> Floats:
    """Variance of each column [B, K], without the bias of n - 1 patients."""
    variance: Floats = np.nanvar(drawn, axis=0) * patients / (patients - 1)
    return variance
