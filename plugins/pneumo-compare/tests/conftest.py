"""Runs to compare, written as the runner writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.evaluation.binary import binary_metrics

DATASET = {"name": "tiny", "classes": ["NORMAL", "PNEUMONIA"], "fingerprint": "f" * 64, "synthetic": False}
LABELS = (np.arange(120) % 3 > 0).astype(int)
SIGNAL = np.random.default_rng(0).normal(0, 1, 120) + 2 * LABELS - 1
"""The signal that any network sees in the images; each adds errors of its own."""


def write(
    path: Path,
    network: int,
    *,
    better: float = 0.0,
    seed: int = 42,
    threshold: float = 0.0,
    threshold_key: str = "logit_threshold",
    **changes: Any,
) -> Path:
    """A finished classifier's files.

    Args:
        network: seeds its errors.
        better: added to its signal.
        changes: replace keys of its report.
    """
    errors = np.random.default_rng(network).normal(0, 0.4, 120)
    scores = SIGNAL + errors + better * (2 * LABELS - 1)
    metrics = binary_metrics(scores, LABELS, logit_threshold=threshold)
    details = {
        "operating_point": "own",
        "operating_points": {"own": {threshold_key: threshold}},
        "temperature": 1.5,
    }
    report = {
        "run": {"name": path.name, "started": "2026-01-02T03:04:05+00:00", "seconds": 3.0},
        "trainer": {"name": "fake"},
        "model": {"name": "tiny-net", "parameters": 12},
        "dataset": DATASET,
        "settings": [
            {"name": "epochs", "value": 2},
            {"name": "seed", "value": seed},
            {"name": "output", "value": str(path.parent)},
        ],
        "monitor": {"metric": "auc", "mode": "max", "epoch": 2},
        "history": [
            {"epoch": e, "train": {"auc": 0.4 + e / 10}, "validation": {"auc": 0.5 + e / 10}}
            for e in range(3)
        ],
        "curves": ["auc"],
        "evaluations": {"validation": metrics, "test": metrics},
        "details": {"validation": details, "test": details},
    } | changes
    (path / "predictions").mkdir(parents=True)
    (path / "run.toml").write_text('trainer = "fake"\nepochs = 2\n\n[run]\ntrainer = "pneumo-fake:fake"\n')
    (path / "report.json").write_text(json.dumps(report))
    for split in ("validation", "test"):
        with (path / "predictions" / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "patient", "subtype", "logits", "labels"])
            for i, (score, label) in enumerate(zip(scores, LABELS, strict=True)):
                writer.writerow([f"{split}/{i:03}.png", f"p{i // 2}", "", float(score), int(label)])
    return path


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Writes a finished classifier's folder: ``write_run(path, network, **changes)``."""
    return write


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write(tmp_path / "fake" / "a", 1)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write(tmp_path / "fake" / "b", 2, seed=43)
