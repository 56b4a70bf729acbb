"""Folders of runs and groups of runs, written as the runner writes them, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_run(
    path: Path,
    *,
    epochs: int = 3,
    done: int | None = None,
    auc: float | None = 0.9,
    started: str = "2026-01-02T03:04:05+00:00",
    trainer: str = "fake",
    **settings: Any,
) -> Path:
    """A run's files as the runner writes them; the run is finished if it has an ``auc``."""
    values = {
        "model": "tiny-net",
        "dataset": "tiny",
        "split": "patient",
        "seed": 42,
        **settings,
        "epochs": epochs,
    }
    path.mkdir(parents=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in {"trainer": trainer, **values}.items()]
    facts = {
        "trainer": f"pneumo-fake:{trainer}",
        "model": "pneumo-fake:tiny-net",
        "dataset": "pneumo-fake:tiny",
    }
    lines += ["\n[run]\n", *(f"{name} = {json.dumps(value)}\n" for name, value in facts.items())]
    (path / "run.toml").write_text(
        "".join([*lines, f'started = "{started}"\n', '\n[origin]\nseed = "default"\n'])
    )
    history = [
        {"epoch": epoch, "train": {"loss": 1.0}, "validation": {"loss": 0.5, "auc": 0.5 + epoch / 100}}
        for epoch in range((epochs if done is None else done) + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    if auc is not None:
        report = {
            "run": {"started": started},
            "trainer": {"name": trainer},
            "model": {"name": "tiny-net"},
            "dataset": {"name": "tiny"},
            "settings": [{"name": name, "value": value} for name, value in values.items()],
            "history": history,
            "evaluations": {"validation": {"loss": 0.4, "auc": 0.95}, "test": {"loss": 0.6, "auc": auc}},
            "intervals": {"test": {"auc": [auc - 0.02, auc + 0.02]}},
        }
        (path / "report.json").write_text(json.dumps(report))
    return path


def write_group(
    path: Path,
    aucs: Mapping[str, float | None],
    *,
    folds: int = 3,
    seeds: int = 1,
    epochs: int = 3,
    test: float = 0.93,
    summary: dict[str, float] | None = None,
) -> Path:
    """A group's files as pneumo writes them; a member without an ``auc`` is unfinished.

    Args:
        aucs: of each member, by its name.
        summary: of a task without an ensemble: the metrics of each member's summary.
    """
    path.mkdir(parents=True)
    values = {"model": "", "dataset": "tiny", "split": "patient", "lr": 0.5}
    values |= {"epochs": epochs, "folds": folds, "fold": 0, "seeds": seeds}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in {"trainer": "fake", **values}.items()]
    lines += ['\n[run]\ntrainer = "pneumo-fake:fake"\nstarted = "2026-01-02T03:04:05+00:00"\n']
    (path / "group.toml").write_text("".join(lines))
    for name, auc in aucs.items():
        member = write_run(path / "members" / name, epochs=epochs, auc=auc, done=None if auc else 1, lr=0.5)
        if summary and auc:
            report = json.loads((member / "report.json").read_text())
            report["summary"] = {"metrics": {**summary, "kid_noise_pixels": 9.0}}
            (member / "report.json").write_text(json.dumps(report))
    if all(aucs.values()):
        splits = {"validation": {"auc": (0.95, 0.01)}, "test": {"auc": (0.90, 0.02)}}
        if summary:
            splits = {"whole": {name: (value, 0.001) for name, value in summary.items()}}
        report = {
            "kind": "group",
            "model": {"name": "tiny-net"},
            "members": [{"name": name, "state": "finished", "epochs": epochs} for name in aucs],
            "spread": {
                split: {name: {"mean": mean, "sd": sd} for name, (mean, sd) in metrics.items()}
                for split, metrics in splits.items()
            },
            "evaluations": {} if summary else {"validation": {"auc": 0.94}, "test": {"auc": test}},
            "intervals": {} if summary else {"test": {"auc": [test - 0.02, test + 0.02]}},
        }
        (path / "report.json").write_text(json.dumps(report))
    return path


FOLDS = {f"fold-{number}": 0.9 for number in (1, 2, 3)}
