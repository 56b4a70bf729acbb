"""The settings that a sweep tries: lists of values and ranges, and the settings of each trial.

What a trial tries depends on the sweep's seed and the trial's number alone, whoever carries it out and when.
Checked against a trainer's settings in :mod:`pneumo_sweep.reading`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

MOST_TRIALS = 1000
_PERMUTED = 100_000
"""Combinations of listed values up to which none is drawn twice."""
_DIGITS = 4
"""Significant digits of a drawn number: those of a command that a person copies."""


@dataclass(frozen=True)
class Choices:
    """Values that are tried, at least one. A setting that is a list has JSON texts here."""

    name: str
    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the list."""
        return self.values[int(share * len(self.values))]

    def to_table(self) -> dict[str, Any]:
        """As in ``sweep.toml``."""
        return {"name": self.name, "values": list(self.values)}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``whole``: integers; ``log``: even in the logarithm."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the range."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            low, high = math.log(low), math.log(high)
        value = low + share * (high - low)
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> Any:
        """A value with few digits, within the range."""
        rounded = round(value) if self.whole else float(f"{value:.{_DIGITS}g}")
        inside = min(max(rounded, self.low), self.high)
        return int(inside) if self.whole else inside

    def to_table(self) -> dict[str, Any]:
        """As in ``sweep.toml``."""
        return {
            "name": self.name,
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "whole": self.whole,
        }


Dimension: TypeAlias = Choices | Range


def dimension(table: Mapping[str, Any]) -> Dimension:
    """A dimension from its table."""
    if "values" in table:
        return Choices(str(table["name"]), tuple(table["values"]))
    return Range(**{name: table[name] for name in ("name", "low", "high", "log", "whole")})


@dataclass(frozen=True)
class Space:
    """What is tried: every point of the grid, and with each of them the same draws from the search space.

    Attributes:
        grid: of ``--set``.
        search: of ``--search``.
    """

    grid: tuple[Choices, ...] = ()
    search: tuple[Dimension, ...] = ()

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All of them."""
        return (*self.grid, *self.search)

    @property
    def points(self) -> int:
        """The number of points of the grid; 1 without one."""
        return math.prod(len(one.values) for one in self.grid)

    @property
    def combinations(self) -> float:
        """How many different draws there are; infinite with a range."""
        listed = [len(one.values) for one in self.search if isinstance(one, Choices)]
        return math.prod(listed) if len(listed) == len(self.search) else math.inf

    def grid_settings(self, number: int) -> dict[str, Any]:
        """The grid's part of the settings of a trial; the last setting changes first."""
        place, found = number % self.points, {}
        for one in reversed(self.grid):
            place, own = divmod(place, len(one.values))
            found[one.name] = one.values[own]
        return {one.name: found[one.name] for one in self.grid}

    def drawn_settings(self, seed: int, number: int) -> dict[str, Any]:
        """The drawn part of the settings of a trial: of listed values without repetition, else quasi-random."""
        draw = number // self.points
        if self.combinations <= _PERMUTED:
            place = int(np.random.default_rng(seed).permutation(int(self.combinations))[draw])
            listed = tuple(one for one in self.search if isinstance(one, Choices))
            return Space(grid=listed).grid_settings(place)
        shares = quasi_random(len(self.search), seed, draw)
        return {one.name: one.at(share) for one, share in zip(self.search, shares, strict=True)}

    def settings(self, seed: int, number: int) -> dict[str, Any]:
        """The settings of a trial."""
        return self.grid_settings(number) | self.drawn_settings(seed, number)


def quasi_random(dimensions: int, seed: int, number: int) -> Sequence[float]:
    """A point of a sequence that fills [0, 1)^d evenly: an additive recurrence, shifted at random by the seed.

    Its steps are powers of the generalized golden ratio, as in Roberts, "The unreasonable effectiveness of
    quasirandom sequences", 2018; the shift is that of Cranley and Patterson, SIAM J. Numer. Anal. 13, 1976.
    """
    ratio = 2.0
    for _ in range(64):  # the root of x^(d + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    shift = np.random.default_rng(seed).random(dimensions)
    steps = ratio ** -np.arange(1, dimensions + 1, dtype=np.float64)
    return [float(share) for share in (shift + (number + 1) * steps) % 1.0]
