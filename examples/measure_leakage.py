"""The effect of a leaking split: one recipe, validated on patients of the training images and on others.

    python examples/measure_leakage.py PATH --output FOLDER -- cnn --preset quick --epochs 10

Trains the recipe with each seed under the report's split ``source``, which puts images of a patient on both
sides, and under ``patient``. Prints accuracy and AUC on the validation images; for ``source`` also on those of
patients in training and on those of others; and on the test images, which share no patient with training in
either. Validation metrics are those of the selected epoch. Runs that are in FOLDER already are not trained
again.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import recording

from pneumo_cli.data.records import Record
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.trainers.session import open_dataset

SPLITS = ("source", "patient")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument("recipe", nargs="+", help="trainer and flags, after --")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    recording.add_option(parser)
    arguments = parser.parse_args()
    entry = discover().datasets.get("chest-xray")
    machine = MachineSettings(data_root=arguments.root)
    records = open_dataset(entry, machine, Progress(), root_given=True).records
    rows: dict[str, list[dict[str, float]]] = {}
    for split in SPLITS:
        for seed in range(1, arguments.seeds + 1):
            folder = arguments.output / f"{split}-{seed}"
            if not list(folder.glob("*/*/report.json")):
                train(arguments.recipe, arguments.root, split, seed, folder)
            (run,) = (report.parent for report in folder.glob("*/*/report.json"))
            for name, logits, labels in subsets(run, split, records):
                rows.setdefault(name, []).append(binary_metrics(logits, labels))
                print(f"{split} seed {seed}: {name}: {len(labels)} images", file=sys.stderr)
    print("| validated on | accuracy | AUC |\n| --- | --- | --- |")
    found: list[dict[str, object]] = []
    for name, metrics in rows.items():
        found.append({"recipe": name})
        cells = []
        for metric in ("accuracy", "auc"):
            values = [m[metric] for m in metrics]
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
            cells.append(f"{mean:.4f} ± {spread:.4f}")
            found[-1] |= {metric: round(mean, 5), f"{metric}_spread": round(spread, 5)}
        print(f"| {name} | {' | '.join(cells)} |")
    recording.write(arguments.record, {"rows": found})


def train(recipe: list[str], root: Path, split: str, seed: int, folder: Path) -> None:
    data = ["--dataset", "chest-xray", "--data-root", str(root.absolute()), "--split", split]
    command = [sys.executable, "-m", "pneumo_cli", "run", *recipe, *data]
    subprocess.run([*command, "--seed", str(seed), "--output", str(folder)], check=True)


def subsets(run: Path, split: str, records: Sequence[Record]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The subsets of a run's predictions that are compared: name, logits [n], labels [n]."""
    predictions = {}
    for name in ("validation", "test"):
        with (run / "predictions" / f"{name}.csv").open(newline="") as file:
            predictions[name] = list(csv.DictReader(file))
    rows = [(f"{split}: all validation images", predictions["validation"])]
    if split == "source":
        held_out = {row["name"] for row in predictions["validation"]}
        trained = {r.patient for r in records if r.pool == "train" and r.name not in held_out}
        seen = [row for row in predictions["validation"] if row["patient"] in trained]
        rows.append(("source: of patients in training", seen))
        rows.append(
            (
                "source: of other patients",
                [r for r in predictions["validation"] if r["patient"] not in trained],
            )
        )
    rows.append((f"{split}: test images, no patient shared", predictions["test"]))
    return [
        (name, np.array([float(r["logits"]) for r in chosen]), np.array([int(r["labels"]) for r in chosen]))
        for name, chosen in rows
        if chosen
    ]


if __name__ == "__main__":
    main()
