"""A finished run is computed with on all free cores, whatever number of threads it was trained with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pneumo_cli.runtime.devices import set_threads


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads that were asked for; 0: what the machine allows."""
    numbers: list[int] = []

    def noted(wanted: int) -> None:
        numbers.append(wanted)
        set_threads(wanted)

    monkeypatch.setattr("pneumo_cli.trainers.session.set_threads", noted)
    return numbers


@pytest.fixture
def run(finished_run: Callable[..., Path]) -> Path:
    """A finished run that was trained on one thread."""
    return finished_run("fake", "--split", "patient", "--threads", 1)


def test_predicting_and_evaluating_take_all_cores_unless_told(
    run: Path, library: ModuleType, asked: list[int]
) -> None:
    assert "threads = 1" in (run / "run.toml").read_text()
    blank = np.zeros((32, 32), np.uint8)
    for given, wanted in (({}, 0), ({"threads": 1}, 1)):
        library.load(run, **given).predict(blank)
        library.evaluate(run, on="validation", progress=False, **given)
        assert set(asked) == {wanted}
        asked.clear()


def test_a_resumed_run_keeps_its_own_number(
    run: Path, library: ModuleType, asked: list[int], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    library.resume(copy, epochs=4, progress=False)
    assert set(asked) == {1}
