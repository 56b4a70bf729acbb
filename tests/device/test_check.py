"""The check of a GPU, tried without one: its bounds, its table, and each of its parts, small, on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.device import installation, measured
from tests.device.check import _SECONDS, check, chosen, table
from tests.device.parts import (
    PARTS,
    Bench,
    Failed,
    Figure,
    Part,
    at_least,
    at_most,
    history,
    median,
    training_figures,
)
from tests.device.parts import ROOT as CHECKOUT

EIGHT_MINUTES = 480


def bench(folder: Path) -> Bench:
    return Bench("cpu", tiny=True, work=folder, out=folder)


def test_a_part_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    def failing(bench: Bench) -> dict[str, Figure]:
        raise ZeroDivisionError("a | b\nc")

    def refused(bench: Bench) -> dict[str, Figure]:
        bench.program("-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)")
        return {}

    def working(bench: Bench) -> dict[str, Figure]:
        return {"answer": at_least(42.0, "%", 40)}

    parts = {"one": Part(failing, 1), "two": Part(refused, 1), "three": Part(working, 1)}
    results = check(parts, bench(tmp_path))
    assert results["one"]["problem"].startswith("ZeroDivisionError: a")
    assert results["two"]["problem"].endswith("the reason")
    assert results["three"]["problem"] == ""
    text = table(results)
    assert "| three | answer | 42 % | >= 40 % | met |" in text
    assert text.count("**failed**") == 2


def gone(pid: int) -> bool:
    """Whether a process ends within 20 s: the kill of one that is not our child may take effect later."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_a_program_is_killed_with_what_it_started_when_its_time_is_over(tmp_path: Path) -> None:
    place = bench(tmp_path)
    place.start_part(2.0)
    script = "import os, time\npid = os.fork()\nopen('pids', 'a').write(f'{os.getpid()} ')\ntime.sleep(60)\n"
    with pytest.raises(Failed, match="not ready after 2 s"):
        place.program("-c", script)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    for pid in pids:
        assert gone(int(pid))


def test_nothing_is_started_when_no_time_is_left(tmp_path: Path) -> None:
    place = Bench("cpu", tiny=False, work=tmp_path, out=tmp_path, ends=0.0)
    results = check({"late": Part(lambda _: {}, 60)}, place)
    assert results["late"]["problem"] == "not run: no time left"


def test_the_bounds_of_all_parts_fit_into_eight_minutes() -> None:
    assert list(PARTS)[:3] == ["suite", "cnn", "gan"]
    assert sum(part.seconds for part in PARTS.values()) <= _SECONDS <= EIGHT_MINUTES


def test_a_figure_that_was_not_measured_neither_meets_nor_misses_its_target() -> None:
    assert at_least(None, "%", 40).met is None
    assert at_most(None, "s", 2) == Figure(None, "s", "<= 2 s", None)
    assert (at_most(2.0, "s", 2).met, at_most(2.1, "s", 2).met) == (True, False)
    row = {"images_per_second": {"epoch": {"median": 10.0}}, "share_of_product": {"epoch": {"median": 0.5}}}
    assert median(row, "images_per_second", "epoch") == 10
    assert median(row, "images_per_second", "bare") is None
    figures = training_figures(row, 0.4)
    assert figures["share of it"] == Figure(50.0, "%", ">= 40 %", True)
    assert figures["memory"].value is None


def test_parts_are_chosen_by_name() -> None:
    assert list(chosen("gan,cnn")) == ["gan", "cnn"]
    assert list(chosen("")) == list(PARTS)
    with pytest.raises(SystemExit, match="no part cnm"):
        chosen("cnm")


def test_the_checkout_is_found_as_if_it_were_installed(tmp_path: Path) -> None:
    every = installation.projects()
    for project in every.values():
        installation.write_metadata(tmp_path, project)
    lister = (
        "import importlib.metadata as m\n"
        f"found = m.distributions(path=[{str(tmp_path)!r}])\n"
        "print(sorted(p.value for d in found for p in d.entry_points if p.group == 'pneumo'))\n"
    )
    ended = subprocess.run([sys.executable, "-c", lister], capture_output=True, text=True, check=True)
    expected = sorted(
        value for one in every.values() for value in one.get("entry-points", {}).get("pneumo", {}).values()
    )
    assert ended.stdout.strip() == str(expected)
    assert "pneumo_cnn.plugin" in expected


def test_what_is_missing_is_named_without_the_repositorys_own() -> None:
    needed = list(installation.needed(installation.projects()))
    names = {installation.name_of(one) for one in needed}
    assert {"torch", "typer", "pluggy", "pytest"} <= names
    assert not any(name.startswith("pneumo-") for name in names)
    assert not installation.is_installed("no-such-distribution")


def test_tensors_are_compared_whatever_holds_them() -> None:
    import torch

    one, two = torch.zeros(1), torch.ones(2)
    state: dict[str, Any] = {
        "model": {"b": two, "a": one},
        "average": {},
        "optimizers": [{"state": {0: one}}],
    }
    assert measured._tensors(state) == [one, two, one]


def test_the_tests_that_need_cuda_have_its_mark() -> None:
    pyproject = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert any(one.startswith("cuda:") for one in pyproject["tool"]["pytest"]["ini_options"]["markers"])
    sources = [*CHECKOUT.glob("tests/**/test_*.py"), *CHECKOUT.glob("plugins/*/tests/test_*.py")]
    condition = "not torch.cuda.is_available()"
    needing = [path for path in sources if condition in path.read_text() and path != Path(__file__)]
    assert needing
    assert all("pytest.mark.cuda" in path.read_text() for path in needing)


@pytest.mark.slow
def test_each_part_finds_its_figures_on_a_cpu(tmp_path: Path) -> None:
    command = [
        str(CHECKOUT / "tests/device/check.sh"),
        "--device",
        "cpu",
        "--tiny",
        "--out",
        str(tmp_path / "out"),
    ]
    environ = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "2"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    assert list(content["parts"]) == list(PARTS)
    for name, result in content["parts"].items():
        values = [figure["value"] for figure in result["figures"].values()]
        assert values, name
        assert any(value is not None for value in values), name
    resumed = content["parts"]["resume"]["figures"]
    assert resumed["tensors that differ"]["value"] == 0
    assert resumed["resumed at step"]["value"] >= 1
    assert (tmp_path / "out" / "check.md").read_text().count("| cnn |") >= 5


def test_the_rows_of_a_run_are_read(tmp_path: Path) -> None:
    (tmp_path / "cnn" / "1").mkdir(parents=True)
    (tmp_path / "cnn" / "1" / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    assert [row["epoch"] for row in history(tmp_path)] == [0, 1]
