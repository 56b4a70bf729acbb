"""Runs in threads of one process have the results that they have alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pneumo_cli import Interrupted, PneumoError
from pneumo_cli.api import hookimpl
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.runtime.turns import turns
from pneumo_cli.workflows.background import carried_out
from tests.training.comparison import assert_same_results, report_of

# Both draw from torch's global generator in their steps. Their numbers of threads concern the whole process.
RUNS: Mapping[str, Mapping[str, Any]] = {
    "fake": {"seed": 1, "epochs": 1, "threads": 1, "precision": "fp32"},
    "duel": {"seed": 2, "epochs": 1, "threads": 2, "precision": "fp32"},
}


class Switching:
    """Changes in the middle of an epoch what belongs to the whole process; its run goes on with it."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, int]] = []

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == (1, 1):
            torch.use_deterministic_algorithms(True)
        self.seen.append((torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()))


class Breaking:
    """Makes its run fail."""

    @hookimpl
    def step_finished(self, run: Any) -> None:
        for parameter in run.model.parameters():
            parameter.data.fill_(float("nan"))


def in_threads(works: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each of some functions returns or raises, called in threads at once."""
    results: dict[str, Any] = {}
    together = threading.Barrier(len(works))

    def call(name: str, work: Callable[[], Any]) -> None:
        together.wait()
        try:
            results[name] = work()
        except BaseException as error:
            results[name] = error

    threads = [threading.Thread(target=call, args=one, daemon=True) for one in works.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def train(pneumo: ModuleType, name: str, **more: Any) -> Any:
    return pneumo.run(name, **RUNS[name], report=False, progress=False, **more)


def seed_and_pause(seed: int, *parts: int | str) -> None:
    """Seeds, and lets other threads draw from the generators before the step does."""
    seed_all(seed, *parts)
    time.sleep(0.005)


@pytest.fixture
def alone(finished_run: Callable[..., Path]) -> Callable[[str], Path]:
    """The folder of a run of the command line."""

    def run(name: str) -> Path:
        flags = [word for key, value in RUNS[name].items() for word in (f"--{key}", value)]
        return finished_run(name, *flags, "--no-report")

    return run


def test_runs_in_threads_have_the_results_of_each_alone(
    library: ModuleType, alone: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: alone(name) for name in RUNS}
    monkeypatch.setattr("pneumo_cli.training.runner.seed_all", seed_and_pause)
    switching = Switching()
    works: dict[str, Callable[[], Any]] = {
        "fake": lambda: train(library, "fake", observers=[switching], cache=tmp_path),
        "duel": lambda: train(library, "duel", cache=tmp_path),
        "broken": lambda: library.run("fake", epochs=1, progress=False, observers=[Breaking()]),
    }
    together = in_threads(works)
    assert isinstance(together["broken"], PneumoError)
    assert "the loss is not finite" in str(together["broken"])
    for name in RUNS:
        folder = together[name].folder
        assert_same_results(folders[name], folder)
        lines = (folder / "log.txt").read_text().splitlines()
        assert [line.split(" ", 3)[3].split(":")[0] for line in lines if " INFO " in line] == [
            *("started", "epoch 0", "epoch 1", "finished")
        ]
    assert switching.seen == [(True, 1)] * 5
    assert not torch.are_deterministic_algorithms_enabled()
    assert len(list(tmp_path.glob("decoded/*.u8"))) == 1  # both have decoded the same images, at once


def test_an_observer_may_train_and_evaluate_within_a_run(
    library: ModuleType, alone: Callable[[str], Path]
) -> None:
    class Nesting:
        @hookimpl
        def epoch_finished(self, run: Any, metrics: Mapping[str, Any]) -> None:
            if metrics["epoch"] == 0:
                self.inner = train(library, "duel")
                self.evaluation = library.evaluate(self.inner.folder, on="validation", progress=False)

    nesting = Nesting()
    assert_same_results(alone("fake"), train(library, "fake", observers=[nesting]).folder)
    inner = nesting.inner.folder
    assert_same_results(alone("duel"), inner)
    assert nesting.evaluation.metrics["loss"] == report_of(inner)["evaluations"]["validation"]["loss"]
    assert (inner / "log.txt").read_text().count("started") == 1


def test_a_run_in_a_thread_waits_for_its_turn_and_goes_on(library: ModuleType) -> None:
    order = []

    def step(name: str) -> Callable[[], None]:
        def work() -> None:
            for _ in range(3):
                order.append(name)
                turns.pass_on()

        return work

    with turns.taken():
        threads = [threading.Thread(target=carried_out, args=(step(name),)) for name in "ab"]
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(turns._waiting) < number:
                pass
    for thread in threads:
        thread.join(10)
    assert "".join(order) == "ababab"


def test_the_wait_for_a_turn_ends_when_the_caller_wants_it() -> None:
    def asked() -> bool:
        return True

    with turns.taken():

        def work() -> None:
            with turns.taken(asked) as begun:
                assert not begun
                raise Interrupted("not begun", 130)

        results = in_threads({"waiting": work})
    assert isinstance(results["waiting"], Interrupted)
