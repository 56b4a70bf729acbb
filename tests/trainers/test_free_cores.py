"""The number of threads of a new run beside busy processes: chosen once, said, recorded, and used again."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime import load
from pneumo_cli.settings.resolve import Resolved, resolve
from pneumo_cli.trainers import free_cores
from pneumo_cli.trainers.free_cores import BY_LOAD, beside_others
from tests.training.comparison import assert_same_results, only_run

LINE = "one of 2 cores is busy: 1 thread; --threads 2 takes all"
QUICK = ("--epochs", 1, "--device", "cpu", "--precision", "fp32", "--no-report")


@pytest.fixture
def busy(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``busy(1.0, 0.0)``: what is seen at each look on a machine of two cores, the last one for ever."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(free_cores, "affine_cores", lambda: 2)
    monkeypatch.setattr(free_cores, "usable_cores", lambda: 2)

    def seen(*cores: float) -> None:
        left = list(cores)
        monkeypatch.setattr(load, "busy_cores", lambda **_: left.pop(0) if len(left) > 1 else left[0])

    threads = torch.get_num_threads()
    monkeypatch.setattr("pneumo_cli.runtime.devices.usable_cores", lambda: threads)
    return seen


def settled(**flags: Any) -> Resolved:
    plugins = discover()
    return resolve(plugins, plugins.trainers.get("fake"), {"device": "cpu", **flags})


def threads_of(run: Path) -> tuple[int, str, int]:
    """The setting, its origin, and the number that the run had."""
    recorded = tomllib.loads((run / "run.toml").read_text())
    environment = json.loads((run / "environment.json").read_text())
    return recorded["threads"], recorded["origin"]["threads"], environment["threads"]


def test_a_run_beside_a_busy_process_leaves_it_its_core_and_says_so(
    busy: Any, pneumo: Any, fakes: Path
) -> None:
    busy(1.0)
    ended = pneumo("run", "fake", *QUICK)
    assert ended.code == 0
    assert LINE in ended.stderr
    assert threads_of(only_run(fakes)) == (1, BY_LOAD, 1)


def test_what_was_chosen_is_used_again_however_busy_the_machine_is_then(
    busy: Any, pneumo: Any, fakes: Path
) -> None:
    busy(1.0)
    assert pneumo("run", "fake", *QUICK, "--seed", 3, "--output", "first/runs").code == 0
    first = only_run(fakes / "first")
    busy(0.0)
    again = pneumo("run", "fake", "--config", first / "run.toml", "--output", "again/runs")
    assert again.code == 0
    assert "busy" not in again.stderr
    repeated = only_run(fakes / "again")
    assert threads_of(repeated)[::2] == (1, 1)
    assert_same_results(first, repeated)
    assert pneumo("resume", first, "--epochs", 2).code == 0
    assert threads_of(first) == (1, BY_LOAD, 1)


def test_a_run_that_had_all_cores_has_them_again(busy: Any, pneumo: Any, fakes: Path) -> None:
    busy(0.0)
    assert pneumo("run", "fake", *QUICK, "--output", "first/runs").code == 0
    first = only_run(fakes / "first")
    busy(1.0)
    for command in (
        ("resume", first, "--epochs", 2),
        ("run", "fake", "--config", first / "run.toml", "--output", "x/runs"),
    ):
        ended = pneumo(*command)
        assert ended.code == 0
        assert "busy" not in ended.stderr
    assert threads_of(first)[0] == threads_of(only_run(fakes / "x"))[0] == 0


def test_cores_that_are_free_again_when_the_data_are_ready_are_taken(
    busy: Any, pneumo: Any, fakes: Path
) -> None:
    busy(1.0, 0.1)
    ended = pneumo("run", "fake", *QUICK)
    assert ended.code == 0
    assert "all cores are free again: 2 threads" in ended.stderr
    assert threads_of(only_run(fakes))[:2] == (0, "default")


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({"threads": 2}, {}),
        ({"threads": 0}, {}),
        ({}, {"PNEUMO_THREADS": "2"}),
        ({}, {"OMP_NUM_THREADS": "2"}),
        ({}, {"WORLD_SIZE": "2"}),
        ({"deterministic": True}, {}),
    ],
)
def test_who_names_a_number_gets_it(
    flags: dict[str, Any], environ: dict[str, str], busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(1.0)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    before = settled(**flags)
    assert beside_others(before) is before


def test_processes_of_one_run_share_the_free_cores(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(2.0)
    monkeypatch.setattr(free_cores, "affine_cores", lambda: 8)
    monkeypatch.setattr(free_cores, "usable_cores", lambda: 8)
    assert beside_others(settled(devices=2)).machine.threads == 3
    assert beside_others(settled()).machine.threads == 6
