"""Writes an archive of the size of NIH ChestX-ray14, with tiny images: ``python many_images.py FOLDER [IMAGES]``.

To measure: ``pneumo data check --dataset nih-chestxray14 --data-root FOLDER`` and :mod:`test_size`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from image_trees import PIXEL, write_table

LABELS = (
    "No Finding", "Infiltration", "Atelectasis", "Effusion|Mass", "Nodule", "Pneumothorax|Edema", "Consolidation",
    "Pleural_Thickening", "Cardiomegaly|Emphysema", "Fibrosis", "Pneumonia", "Hernia",
)  # fmt: skip


def write_many(root: Path, images: int = 112_120) -> Path:
    """Four images per patient, a fifth of the patients in the test list."""
    rows: list[tuple[object, ...]] = [("Image Index", "Finding Labels", "Patient ID", "View Position")]
    lists: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for part in range(1, 13):
        (root / f"images_{part:03}" / "images").mkdir(parents=True)
    for number in range(images):
        patient, follow = divmod(number, 4)
        name = f"{patient:08}_{follow:03}.png"
        part = 1 + number * 12 // images
        (root / f"images_{part:03}" / "images" / name).write_bytes(PIXEL + name.encode())
        rows.append((name, LABELS[number * 7 % 12], patient, ("PA", "AP")[number % 2]))
        lists["test_list.txt" if patient % 5 == 0 else "train_val_list.txt"].append(name)
    write_table(root / "Data_Entry_2017_v2020.csv", rows)
    for name, names in lists.items():
        (root / name).write_text("\n".join(names) + "\n")
    return root


if __name__ == "__main__":
    write_many(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
