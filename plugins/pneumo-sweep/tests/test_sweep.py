"""Sweeps of the fake trainer, by the command and by the function."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli import Interrupted
from pneumo_cli.testing import CommandConformance, Invocation
from pneumo_sweep import seeds
from pneumo_sweep.plan import Plan
from pneumo_sweep.result import SweepResult
from pneumo_sweep.space import Choices, Space

QUICK = ("--preset", "quick", "--precision", "fp32", "--threads", "1")


class TestSweepResume(CommandConformance):
    name = "sweep resume"


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return found


def values(folder: Path) -> list[tuple[Any, ...]]:
    return [(row["trial"], row["settings"], row["value"]) for row in content(folder)["trials"]]


def test_a_trial_has_the_numbers_of_a_run_and_the_function_those_of_the_command(
    swept: Callable[..., Path], pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    from pneumo_sweep.functions import resume_sweep, sweep

    folder = swept("--set", "lr=0.1,0.01")
    result = sweep(
        "fake", set={"lr": [0.1, 0.01]}, preset="quick", precision="fp32", threads=1, progress=False
    )
    assert values(result.folder) == values(folder)
    assert result.test is not None
    assert result.test.metrics == content(folder)["test"]["metrics"]

    winner = content(folder)["winner"]
    assert pneumo(*winner["command"][1:], "--no-report").code == 0
    (run,) = [path for path in fakes.glob("runs/fake/*") if not path.name.endswith("-sweep")]
    report = json.loads((run / "report.json").read_text())
    assert report["evaluations"]["validation"]["accuracy"] == winner["value"]
    assert report["evaluations"]["test"] == content(folder)["test"]["metrics"]

    assert result.best.metrics["validation"]["accuracy"] == winner["value"]
    assert set(result.best.metrics) == {"validation"}
    assert [row["lr"] for row in result.trials] == [0.1, 0.01]
    assert "pneumo run fake" in result._repr_html_()
    before = (folder / "sweep.json").read_bytes()
    assert resume_sweep(folder, progress=False).content == content(folder)
    assert (folder / "sweep.json").read_bytes() == before
    accesses = [content(one)["test"]["test_accesses"] for one in (folder, result.folder)]
    assert accesses[1] == accesses[0] + 1  # of each sweep, one


def test_a_failed_trial_is_recorded_and_the_others_go_on(
    pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    flags = ("--model", "plain-net", "--set", "lr=0.1,10", "--epochs", 3, "--no-evaluate-test", "--json")
    ended = pneumo("sweep", "fake", *QUICK, *flags)
    assert ended.code == 1
    found = json.loads(ended.stdout)
    assert [row["state"] for row in found["trials"]] == ["finished", "failed"]
    assert found["trials"][1]["reason"]
    assert ended.stderr.splitlines()[-1].startswith("pneumo: 1 run of runs/fake/")
    assert found["test"] == {}
    page = (fakes / "runs" / "fake" / found["sweep"] / "sweep.html").read_text()
    assert "1 of 2 trials failed" in page
    assert page.count("<script") == 1  # its own


def test_without_any_result_the_sweep_fails(pneumo: Callable[..., Invocation]) -> None:
    ended = pneumo("sweep", "fake", *QUICK, "--set", "lr=0.1,0.2", "--metric", "psnr")
    assert ended.code == 1
    assert (
        "no trial has the validation metric 'psnr'; those that are measured: loss, accuracy" in ended.stderr
    )


@pytest.mark.slow
def test_further_seeds_say_whether_the_lead_is_chance(swept: Callable[..., Path]) -> None:
    folder = swept("--set", "lr=0.1,0.0001", "--metric", "loss", "--with-seeds", 2, "--no-evaluate-test")
    found = content(folder)
    assert [run["folder"] for run in found["seeds"]["runs"]] == [
        f"seeds/{number:03}-seed-{seed}" for seed in (43, 44) for number in found["ranking"]
    ]
    assert found["mode"] == "min"
    result = SweepResult(folder)
    assert result.seeds["seeds"] == [43, 44]
    assert result.sentences()[-1] == found["seeds"]["text"]
    assert "With 2 further seeds" in (folder / "sweep.html").read_text()


@pytest.mark.parametrize(
    ("winner", "runner_up", "says"),
    [
        ([0.9, 0.92, 0.91], [0.8, 0.83, 0.81], "the lead is more than the chance of a seed"),
        ([0.9, 0.8, 0.85], [0.88, 0.82, 0.84], "this may be chance"),
        ([0.8, 0.81, 0.8], [0.9, 0.91, 0.92], "the winner was lucky"),
        ([0.8], [0.9], "nothing can be said about chance"),
    ],
)
def test_paired_differences_are_tested(winner: list[float], runner_up: list[float], says: str) -> None:
    plan = Plan(Space((Choices("lr", (1, 2)),)), 1, 42, "auc", "max")
    rows = [{"seed": seed, "value": own[seed]} for seed in range(len(winner)) for own in (winner, runner_up)]
    found = seeds.compare(plan, rows)
    assert says in found["text"]
    if len(winner) == 3:
        differences = [a - b for a, b in zip(winner, runner_up, strict=True)]
        mean = sum(differences) / 3
        sd = math.sqrt(sum((one - mean) ** 2 for one in differences) / 2)
        assert found["difference"] == pytest.approx(mean)
        assert found["interval"][1] - mean == pytest.approx(4.303 * sd / math.sqrt(3), rel=0.05)


@pytest.mark.slow
def test_pruned_trials_do_not_win(swept: Callable[..., Path]) -> None:
    folder = swept(
        "--set", "lr=0.2,0.1,0.05,0.15,1e-6,1e-7", "--epochs", 4, "--prune", "median", "--metric", "loss"
    )
    rows = content(folder)["trials"]
    assert [row["state"] for row in rows[-2:]] == ["pruned"] * 2
    assert [row["epochs"] for row in rows] == [4] * 4 + [1] * 2
    assert content(folder)["winner"]["state"] == "finished"


def test_ctrl_c_in_python_saves_and_says_how_to_go_on(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pneumo_cli.runtime.signals import Interruption, interruptible
    from pneumo_sweep.functions import resume_sweep, sweep

    request = Interruption()
    settings = {
        "preset": "quick",
        "precision": "fp32",
        "threads": 1,
        "progress": False,
        "evaluate_test": False,
    }

    def stop(self: object, *arguments: object) -> None:
        request.number = 2

    with monkeypatch.context() as patched, interruptible(request):
        patched.setattr("pneumo_sweep.study.Stage.begin", _after(stop))
        with pytest.raises(Interrupted, match=r"go on with: pneumo sweep resume runs/fake/") as end:
            sweep("fake", set={"lr": [0.1, 0.01]}, **settings)
    assert end.value.exit_code == 130
    (folder,) = fakes.glob("runs/fake/*-sweep")
    assert resume_sweep(folder, progress=False).content["ranking"]


def _after(stop: Callable[..., None]) -> Callable[..., Any]:
    from pneumo_sweep.study import Stage

    begin = Stage.begin

    def begun(self: Stage, trial: Any) -> Any:
        slot = begin(self, trial)
        stop(self)
        return slot

    return begun
