"""Comparison of finished runs and groups, bit for bit. They have to come from the same machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from pneumo_cli.runs.checkpoints import Checkpoints

_CLOCK = ("seconds", "images_per_second")
_DIFFERENT = ("started", "resumed", "seconds", "history", "format")


def only_run(folder: Path) -> Path:
    """The only run or group below the folder ``runs`` of a working folder."""
    (path,) = (folder / "runs").glob("*/*")
    return path


def report_of(folder: Path) -> dict[str, Any]:
    """The content of a run's or group's ``report.json``."""
    return dict(json.loads((folder / "report.json").read_text()))


def assert_same(one: Any, other: Any, where: str) -> None:
    """Nested tensors, containers and values are equal."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_training(expected: Path, actual: Path) -> None:
    """Weights, optimizers and metrics of two runs are equal."""
    for name in ("best", "last"):
        one, other = (Checkpoints(run / "checkpoints").load(name) for run in (expected, actual))
        assert_same(_without_clock(one.get("history", [])), _without_clock(other.get("history", [])), name)
        for key in one.keys() - set(_DIFFERENT):
            assert_same(one[key], other[key], f"{name}.{key}")
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (expected, actual)
    ]
    assert _without_clock(rows[0]) == _without_clock(rows[1])


def assert_same_results(expected: Path, actual: Path) -> None:
    """Training, predictions and report of two finished runs are equal."""
    assert_same_training(expected, actual)
    assert report_of(expected)["evaluations"] == report_of(actual)["evaluations"]
    assert (expected / "predictions").is_dir()
    assert_same_predictions(expected, actual)


def assert_same_group(expected: Path, actual: Path) -> None:
    """The weights of all members, and the numbers of both reports, are equal."""
    names = sorted(path.name for path in (expected / "members").iterdir())
    assert names == sorted(path.name for path in (actual / "members").iterdir())
    for name in names:
        folders = [group / "members" / name / "checkpoints" for group in (expected, actual)]
        one, other = (Checkpoints(folder).load("best") for folder in folders)
        assert_same(one["model"], other["model"], name)
    reports = [report_of(group) for group in (expected, actual)]
    for key in ("spread", "evaluations", "intervals", "tables", "details"):
        assert reports[0][key] == reports[1][key], key
    assert_same_predictions(expected, actual)


def assert_same_predictions(expected: Path, actual: Path) -> None:
    """The files of predictions are equal."""
    for path in (expected / "predictions").glob("*"):
        assert path.read_bytes() == (actual / "predictions" / path.name).read_bytes()


def _without_clock(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in _CLOCK} for row in rows]
