"""A report with all its parts, and a run folder with its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.reports.figures import training
from pneumo_cli.reports.figures.style import save

COUNTS = {"train": (1017, 2907, 2741), "validation": (332, 976, 913), "test": (234, 390, 428)}
VALUES = {"accuracy": 0.809, "precision": 0.774, "recall": 0.982, "f1": 0.866, "auc": 0.951, "loss": 0.3011}


@pytest.fixture
def report() -> dict[str, Any]:
    """The contents of ``report.json`` of a classification run."""
    return {
        "format": 1,
        "title": "cnn on phantom",
        "pneumo": "0.2.0",
        "run": {
            "name": "2026-11-24-a1b2",
            "folder": "runs/cnn/2026-11-24-a1b2",
            "started": "2026-11-24T14:03:11+00:00",
            "finished": "2026-11-24T14:04:44+00:00",
            "seconds": 93.1,
            "resumed": 2,
        },
        "trainer": {"name": "cnn", "summary": "A CNN", "distribution": "pneumo-cnn", "version": "0.2.0"},
        "model": {"name": "cnn", "summary": "Four stages", "parameters": 4689729, "trainable": 4689729},
        "dataset": {
            "name": "phantom",
            "origin": "Simulated anatomy.",
            "place": "rendered on demand",
            "synthetic": True,
            "fingerprint": "3f" * 32,
            "classes": ["NORMAL", "PNEUMONIA"],
            "images": 5856,
            "patients": 4082,
            "split": {
                "policy": "patient",
                "seed": 42,
                "fraction": 0.25,
                "rows": [
                    {
                        "split": name,
                        "counts": {"NORMAL": normal, "PNEUMONIA": positive},
                        "images": normal + positive,
                        "patients": patients,
                        "ratio": positive / normal,
                    }
                    for name, (normal, positive, patients) in COUNTS.items()
                ],
                "shared": [{"between": "train/validation", "patients": 0, "images": 0, "identical": 0}],
                "excluded": 0,
            },
            "unreadable": [],
        },
        "preset": "quick",
        "settings": [
            {"name": "epochs", "value": 3, "preset": 3, "default": 20, "origin": "preset", "help": "Passes"},
            {"name": "lr", "value": 0.002, "preset": 0.01, "default": 0.01, "origin": "flag", "help": "Rate"},
        ],
        "monitor": {"metric": "auc", "mode": "max", "epoch": 1, "value": 0.98},
        "history": [
            {
                "epoch": epoch,
                "train": dict(VALUES),
                "validation": dict(VALUES),
                "learning_rate": 0.01,
                "seconds": 12.3,
                "images_per_second": 61.0,
            }
            for epoch in range(2)
        ],
        "curves": ["accuracy", "loss", "precision", "recall", "f1"],
        "evaluations": {"validation": dict(VALUES), "test": dict(VALUES)},
        "summary": {
            "metrics": {"separation": 0.5},
            "tables": [
                {
                    "title": "Distance to real images",
                    "head": ["Images", "KID × 1000"],
                    "rows": [["generated", "12.3 ± 1.0"], ["noise", "310 ± 9"]],
                    "note": "In features of pixels.",
                }
            ],
            "notes": ["No copies were found."],
        },
        "figures": [
            {"file": "figures/loss.png", "caption": "Loss over epochs", "group": "training"},
            {"file": "samples/train.png", "caption": "A batch", "group": "samples"},
        ],
        "notices": ["Synthetic data: no patient is behind these images."],
        "environment": {
            "python": "3.11.9",
            "plugins": [{"name": "pneumo-cnn", "version": "0.2.0"}],
            "git": {"commit": None},
        },
        "reproduce": ["pneumo run cnn --config runs/cnn/2026-11-24-a1b2/run.toml"],
        "next": ["pneumo evaluate runs/cnn/2026-11-24-a1b2"],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for name in ("figures/loss.png", "samples/train.png"):
        (run / name).parent.mkdir(parents=True)
        save(training.curve([{"epoch": 0, "train": {"loss": 1.0}}], "loss"), run / name)
    return run
