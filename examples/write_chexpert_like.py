"""Write a synthetic archive in the layout of CheXpert-v1.0-small: phantom pictures with labels, some unknown.

To try several labels at once without the real archive:

    python examples/write_chexpert_like.py OUT --images 2000
    pneumo run cnn --preset quick --dataset chexpert --data-root OUT --classes "No Finding,Consolidation,Pneumonia"

The opacities are those of the phantom (bacteria: consolidation, virus: diffuse); support devices are drawn lines.
Findings that the phantom does not have are never present. A tenth of the labels is uncertain (-1), a fifth empty.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.records import Record
from pneumo_cli.runtime.threads import ordered_map
from pneumo_datasets.archives import CHEXPERT_LABELS
from pneumo_phantom.dataset import PhantomDataset

_SIDE = 160  # pixels
_DEVICES = 0.4  # share of images with a support device
_UNCERTAIN, _EMPTY = 0.1, 0.2  # shares of labels
_HELD_OUT = 8  # every eighth patient is in the published validation split


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    phantom = PhantomDataset(train_images=arguments.images - 8, test_images=8, seed=arguments.seed)
    records = sorted(phantom.records, key=lambda record: record.name)
    rng = np.random.default_rng(arguments.seed)
    devices = rng.random(len(records)) < _DEVICES
    patients = {name: number for number, name in enumerate(sorted({one.patient for one in records}), 1)}
    rows: dict[str, list[list[object]]] = {"train": [], "valid": []}
    seen: dict[str, int] = {}

    def draw(item: tuple[int, Record]) -> NDArray[np.uint8]:
        number, record = item
        return _picture(
            phantom.read(record, _SIDE), bool(devices[number]), np.random.default_rng([7, number])
        )

    for number, (record, picture) in enumerate(
        zip(records, ordered_map(draw, enumerate(records)), strict=True)
    ):
        patient = patients[record.patient]
        part = "valid" if patient % _HELD_OUT == 0 else "train"
        study = seen[record.patient] = seen.get(record.patient, 0) + 1
        path = f"CheXpert-v1.0-small/{part}/patient{patient:05d}/study{study}/view1_frontal.jpg"
        file = arguments.out / path
        file.parent.mkdir(parents=True)
        Image.fromarray(picture).save(file, quality=92)
        truth = _findings(record, bool(devices[number]))
        chances = rng.random(len(truth))
        labels = [
            "" if chance < _EMPTY else "-1.0" if chance < _EMPTY + _UNCERTAIN else f"{value:.1f}"
            for value, chance in zip(truth, chances, strict=True)
        ]
        rows[part].append([path, "Unknown", 0, "Frontal", "AP", *labels])
    for part, own in rows.items():
        with (arguments.out / "CheXpert-v1.0-small" / f"{part}.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS])
            writer.writerows(own)
    print(f"{len(records):,} images of {len(patients):,} patients in {arguments.out}")


def _findings(record: Record, device: bool) -> list[int]:
    """1 or 0 for each of CheXpert's labels."""
    present = {
        "No Finding": not record.label and not device,
        "Lung Opacity": bool(record.label),
        "Consolidation": record.subtype == "bacteria",
        "Pneumonia": bool(record.label),
        "Support Devices": device,
    }
    return [int(present.get(name, False)) for name in CHEXPERT_LABELS]


def _picture(levels: NDArray[np.uint8], device: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image, with a bright curved line over the mediastinum where it has a device."""
    picture = np.asarray(Image.fromarray(levels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)).copy()
    if device:
        rows = np.arange(int(_SIDE * rng.uniform(0.5, 0.8)))
        columns = _SIDE * (rng.uniform(0.4, 0.6) + 0.08 * np.sin(rows / _SIDE * rng.uniform(2, 6)))
        for offset in (0, 1):
            picture[rows, columns.astype(int) + offset] = 235
    return picture


if __name__ == "__main__":
    main()
