"""Write a small synthetic archive in the layout of ``clinic``: python -m pneumo_clinic.sample FOLDER."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

_PATIENTS = 60
_SIDE = 96  # pixels


def write_sample(folder: Path, patients: int = _PATIENTS, seed: int = 0) -> Path:
    """Write noisy films of which those with pneumonia have a bright spot; two per patient. Returns the folder."""
    (folder / "films").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        finding = ("none", "pneumonia", "fracture")[patient % 3]
        for study in range(2):
            film = rng.normal(100, 20, (_SIDE, _SIDE))
            if finding == "pneumonia":
                top, left = rng.integers(8, _SIDE - 32, 2)
                film[top : top + 24, left : left + 24] += 80
            name = f"F{patient:03}-{study}.png"
            Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(folder / "films" / name)
            rows.append((name, f"P{patient:03}", 2023 + patient % 4, finding))
    with (folder / "studies.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("film", "patient", "year", "finding"), *rows])
    return folder


if __name__ == "__main__":
    print(write_sample(Path(sys.argv[1])))
