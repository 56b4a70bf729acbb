"""Several kinds of work, timed in turns: what else a machine does meanwhile then slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pneumo_cli.runtime.accelerators import synchronize

_ROUNDS = 5
_FEWEST = 3  # rounds, where a single repetition takes a third of the time or more
_LONGEST = (
    5.0  # seconds of one kind of work in a round: only between them is it seen that the work is to stop
)

Work = Callable[[int], float]
"""Carries out so many repetitions of a piece of work; returns how much that was (images, operations)."""


@dataclass(frozen=True)
class Rate:
    """What was done in a second, by round.

    Attributes:
        values: images or operations per second, or ratios of such, at least one.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.values)

    def per(self, other: Rate, factor: float = 1.0) -> Rate:
        """``factor`` times the ratio to another rate, each round by itself."""
        return Rate(tuple(factor * a / b for a, b in zip(self.values, other.values, strict=True)))

    def content(self, digits: int = 4) -> dict[str, float]:
        """Median, lowest and highest as JSON values, of ``digits`` significant digits."""
        found = {"median": self.median, "low": min(self.values), "high": max(self.values)}
        return {name: significant(value, digits) for name, value in found.items()}


def significant(value: float, digits: int = 4) -> float:
    """A number with so many significant digits.

    >>> significant(1234.567), significant(0.0123456)
    (1235.0, 0.01235)
    """
    return float(f"{value:.{digits}g}")


def measure(
    works: Mapping[str, Work], seconds: float, device: torch.device, check: Callable[[], None]
) -> dict[str, Rate]:
    """The rate of each kind of work, by name.

    Each is carried out once before, to warm up and to learn how often it fits into its share of the time. The order
    is reversed in every second round.

    Args:
        works: by name.
        seconds: for each, over all rounds; more where a repetition takes longer.
        check: called between two kinds of work; may raise to stop.
    """
    taken = {}
    for name, work in works.items():
        check()
        work(1)
        taken[name] = _timed(work, 1, device)[1]
    slowest = max(taken.values(), default=0.0)
    rounds = _ROUNDS if slowest < seconds / _FEWEST else _FEWEST
    rounds = max(rounds, int(seconds / max(slowest, _LONGEST)))
    repetitions = {name: max(1, int(seconds / rounds / took)) for name, took in taken.items()}
    values: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            check()
            done, took = _timed(works[name], repetitions[name], device)
            values[name].append(done / took)
    return {name: Rate(tuple(several)) for name, several in values.items()}


def _timed(work: Work, repetitions: int, device: torch.device) -> tuple[float, float]:
    """How much was done, and the seconds it took."""
    synchronize(device)
    began = time.perf_counter()
    done = work(repetitions)
    synchronize(device)
    return done, max(time.perf_counter() - began, 1e-9)


def ratio_content(ratios: Mapping[str, Rate]) -> dict[str, Any]:
    """Ratios as JSON values."""
    return {name: ratio.content(3) for name, ratio in ratios.items()}


def spread(rate: Mapping[str, float], shown: Callable[[float], str]) -> str:
    """``118 to 124``, the lowest and the highest of all rounds."""
    low, high = shown(rate["low"]), shown(rate["high"])
    return low if low == high else f"{low} to {high}"


def named(rates: Mapping[str, Rate], names: Sequence[str]) -> dict[str, Any]:
    """Some rates as JSON values, those that were measured."""
    return {name: rates[name].content() for name in names if name in rates}
