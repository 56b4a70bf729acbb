"""Are a split's patients a random sample, or blocks of consecutive patient numbers?

Hospitals number patients as they come, so a split by number divides by time, and by whatever changed with time: the
X-ray unit, the protocol, the season. All patients are ordered by number, and the number of blocks that the split's
patients form is compared with that of a random sample (the runs test of Wald and Wolfowitz 1940).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.prepare import PreparedData

_NUMBER = re.compile(r"(\d+)(?!.*\d)", re.ASCII)
_UNLIKELY = -4.0  # standard deviations below the expected number of blocks
_FEWER = 0.7  # share of the expected number of blocks
_USUAL = 3.0  # standard deviations: about one in a hundred of a few random splits with two classes is beyond


@dataclass(frozen=True)
class Blocks:
    """The blocks that the patients of one split and class form among all patients of that class.

    Attributes:
        split, title: names of the split and the class.
        patients: number of the class's numbered patients with images in the split.
        blocks: number of their runs in the order of numbers, counted in each series of numbers.
        expected, deviation: mean and standard deviation of the number of blocks of a random sample of this size.
        order: uint8 [n], 1 if a patient is in the split, in the order of series and numbers.
    """

    split: str
    title: str
    patients: int
    blocks: int
    expected: float
    deviation: float
    order: NDArray[np.uint8]

    @property
    def z(self) -> float:
        """Standard deviations above (negative: below) the expected number of blocks; 0 if there was no choice."""
        return (self.blocks - self.expected) / self.deviation if self.deviation > 0 else 0.0

    @property
    def contiguous(self) -> bool:
        """True if there are far fewer blocks than by chance."""
        return self.z < _UNLIKELY and self.blocks < _FEWER * self.expected

    @property
    def verdict(self) -> str:
        """How the patients were chosen, according to the number of blocks, in words."""
        if self.contiguous:
            return "they were chosen by number, so whatever changed with time may differ between the splits"
        if abs(self.z) <= _USUAL:
            return "consistent with a random sample"
        if self.z < 0:
            return "fewer than in a random sample, but not chosen by number"
        return "more than in a random sample: they are spread evenly over the numbers"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "split": self.split,
            "class": self.title,
            "patients": self.patients,
            "blocks": self.blocks,
            "expected": self.expected,
            "z": self.z,
            "contiguous": self.contiguous,
            "verdict": self.verdict,
        }


def patient_number(key: str) -> tuple[str, int] | None:
    """The series of a patient key, and the patient's number in it; None if the key has no number.

    >>> patient_number("person23-bacteria")
    ('person#-bacteria', 23)
    >>> patient_number("NORMAL2-IM-27")
    ('NORMAL2-IM-#', 27)
    """
    match = _NUMBER.search(key)
    return (f"{key[: match.start()]}#{key[match.end() :]}", int(match[1])) if match else None


def find_blocks(data: PreparedData) -> tuple[Blocks, ...]:
    """Count the blocks of validation and test patients, for each class with numbered patients on either side.

    Validation patients are compared with training and validation patients only: they were sampled from these, and
    counting the test patients, too, would give too many expected blocks.
    """
    records = data.dataset.records
    parts = data.split.parts()
    sampled_from = {
        "validation": (parts["train"], parts["validation"]),
        "test": (*parts.values(), data.split.excluded),
    }
    found = []
    for name, splits in sampled_from.items():
        inside = {records[position].patient for position in parts[name]}
        positions = np.concatenate(splits)
        for label, title in enumerate(data.dataset.classes):
            patients = {
                records[position].patient for position in positions if label in records[position].present
            }
            series = defaultdict(list)
            for key in patients:
                numbered = patient_number(key)
                if numbered is not None:
                    series[numbered[0]].append((numbered[1], key))
            flags = [
                np.array([key in inside for _, key in sorted(series[name])], np.uint8)
                for name in sorted(series)
            ]
            blocks = count_blocks(name, title, flags)
            if 0 < blocks.patients < len(blocks.order):
                found.append(blocks)
    return tuple(found)


def count_blocks(split: str, title: str, series: Sequence[NDArray[np.uint8]]) -> Blocks:
    """Count blocks in several series of patients, each in the order of its numbers: uint8 [n], 1 in the split."""
    blocks, expected, variance = 0, 0.0, 0.0
    for flags in series:
        total, inside = len(flags), int(flags.sum())
        outside = total - inside
        blocks += int((np.diff(flags.astype(np.int8), prepend=0) == 1).sum())
        # The number of runs of one kind is hypergeometric: a block can begin at outside + 1 places.
        expected += inside * (outside + 1) / total if total else 0.0
        if total > 1:
            variance += inside * (inside - 1) * outside * (outside + 1) / (total**2 * (total - 1))
    order = np.concatenate(series) if series else np.zeros(0, np.uint8)
    return Blocks(split, title, int(order.sum()), blocks, expected, math.sqrt(variance), order)
