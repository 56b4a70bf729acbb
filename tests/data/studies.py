"""A small dataset in memory with whatever a dataset can give: several channels, 16 bits, masks, numbers, boxes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pneumo_cli.data.records import Dataset, Record, Target

AGE = Target("age", "number", "age in years")
LUNGS = Target("lungs", "mask", "both lungs")
FINDINGS = Target("findings", "boxes", "opacities")
SIDE = 40


class Studies(Dataset):
    """Two images of each of 16 patients, noise; every fourth patient is in the test pool."""

    name = "studies"
    classes: tuple[str, ...] = ()
    synthetic = True
    origin = "Noise, for tests."
    place = "generated in memory"

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)
        self.reads = 0
        kinds = {target.kind for target in self.targets}
        self.records = [
            Record(
                name=f"study-{number:02}",
                label=number // 8 % max(1, len(self.classes)),
                patient=f"patient-{number // 2}",
                pool="test" if number // 2 % 4 == 3 else "train",
                digest=hashlib.sha256(f"{number}".encode()).hexdigest(),
                numbers=(float(number),) if "number" in kinds else (),
                boxes=((0.25, 0.25, 0.5, 0.75),) * (number % 3) if "boxes" in kinds else (),
            )
            for number in range(32)
        ]

    def pixels(self, record: Record) -> np.ndarray:
        """The image at its original size."""
        rng = np.random.default_rng(int(record.digest[:8], 16))
        shape = (SIDE, SIDE) if self.channels == 1 else (self.channels, SIDE, SIDE)
        dtype = np.uint16 if self.bits == 16 else np.uint8
        return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)

    def read(self, record: Record, size: int | None = None) -> np.ndarray:
        self.reads += 1
        return self.pixels(record)

    def read_mask(self, record: Record, target: str, size: int | None = None) -> np.ndarray:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[10:30, 5:18] = 1
        mask[10:30, 22:35] = 2
        mask[0] = 255
        return mask
