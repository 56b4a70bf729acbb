"""Which way a metric is better: what "best first" and "B is better" mean. Knows no thresholds and no tests."""

from __future__ import annotations

import re

_LOWER = re.compile(
    r"(.+_)?loss|brier.*|ece.*|kid(_(?!spread_).+)?|frechet(_(?!spread_).+)?|mse|divergence|copies|near_copies"
)
_HIGHER = re.compile(
    r"accuracy|keras_accuracy|auc|recall|specificity|precision|f1|balanced_accuracy|mcc|average_precision"
    r"|psnr(_.+)?|ssim(_.+)?|coverage|density|diversity"
)


def lower_is_better(metric: str) -> bool | None:
    """True where the lowest value is the best, False where the highest is; None where neither is known.

    The losses of adversaries are of the unknown: neither is the better the lower it is.

    >>> lower_is_better("loss"), lower_is_better("auc"), lower_is_better("generator_loss")
    (True, False, None)
    """
    if metric in ("generator_loss", "discriminator_loss"):
        return None
    if _LOWER.fullmatch(metric):
        return True
    return False if _HIGHER.fullmatch(metric) else None
