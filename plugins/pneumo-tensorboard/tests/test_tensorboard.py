"""TensorBoard: what its own reader finds in the event files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pneumo_cli.testing import Invocation


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_metrics_settings_figures_and_digests_are_in_the_run_folder(
    pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    ended = pneumo("run", "fake", "--epochs", 2, "--with", "tensorboard", "--output", "runs")
    assert ended.code == 0, ended.stderr
    (folder,) = (fakes / "runs").glob("*/*")
    found = events(folder / "tensorboard")
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    points = found.Scalars("validation/loss")
    assert [point.step for point in points] == [0, 1, 2]
    assert [point.value for point in points] == pytest.approx([row["validation"]["loss"] for row in history])
    report = json.loads((folder / "report.json").read_text())
    (best,) = found.Scalars("best/test/loss")
    assert best.value == pytest.approx(report["evaluations"]["test"]["loss"])
    assert found.Tags()["images"]
    assert {"settings/text_summary", "checkpoints/best.pt/text_summary"} <= set(found.Tags()["tensors"])


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(
    pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    first = pneumo("run", "fake", "--epochs", 1, "--with", "tensorboard", "--tensorboard-folder", "events")
    assert first.code == 0, first.stderr
    (folder,) = (fakes / "runs").glob("*/*")
    again = pneumo("resume", folder, "--epochs", 3)
    assert again.code == 0, again.stderr
    (written,) = (fakes / "events").glob("*/*")
    assert written.name == folder.name
    assert [point.step for point in events(written).Scalars("train/loss")] == [0, 1, 2, 3]


def test_it_is_off_unless_it_is_asked_for(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    assert pneumo("run", "fake", "--epochs", 1).code == 0
    assert not list(fakes.rglob("*tfevents*"))


def test_a_folder_that_cannot_be_written_costs_a_warning_and_not_the_run(
    pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    (fakes / "taken").write_text("a file")
    flags = ("--with", "tensorboard", "--tensorboard-folder", "taken")
    ended = pneumo("run", "fake", "--epochs", 1, *flags)
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("TensorBoard fails and records nothing more of this run") == 1
    assert list((fakes / "runs").glob("*/*/report.json"))
