"""Shares and probabilities as texts, in percent with a space as in SI: ``12 %``."""

from __future__ import annotations


def percent(probability: float) -> str:
    """A probability in percent; never 0 or 100 %, of which no model can be sure.

    >>> percent(0.9996), percent(0.314), percent(1e-9)
    ('> 99.9 %', '31.4 %', '< 0.1 %')
    """
    if probability > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"


def share(value: float, decimals: int = 0) -> str:
    """A share in percent, with a space as in SI.

    >>> share(0.123), share(0.123, 1)
    ('12 %', '12.3 %')
    """
    return f"{100 * value:.{decimals}f} %"
