"""Ctrl-C stops and saves what a program calls, and no signal handler is installed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pneumo_cli import Interrupted
from pneumo_cli.api import hookimpl
from pneumo_cli.runtime.signals import callers_interruption
from pneumo_cli.runtime.turns import turns
from pneumo_cli.workflows.background import carried_out
from tests.training.comparison import assert_same_group, assert_same_results

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Handlers:
    """Notes the signal handlers in the middle of a run."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    @hookimpl
    def step_finished(self) -> None:
        self.seen.add(tuple(map(signal.getsignal, SIGNALS)))


@pytest.fixture(autouse=True)
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C is Python's own. One that the work sends itself is noticed before it goes on."""
    before, kill = signal.signal(signal.SIGINT, signal.default_int_handler), os.kill

    def kill_and_wait(process: int, number: int) -> None:
        kill(process, number)
        request = callers_interruption()
        while request is not None and not request.number:
            time.sleep(0.001)

    monkeypatch.setattr(os, "kill", kill_and_wait)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(work: Callable[[], Any]) -> Interrupted:
    """How the work is stopped; its handlers of signals stay."""
    before = tuple(map(signal.getsignal, SIGNALS))
    with pytest.raises(Interrupted) as caught:
        work()
    assert tuple(map(signal.getsignal, SIGNALS)) == before
    assert caught.value.exit_code == 130
    return caught.value


POINTS = {
    "step:1:2": "stopped and saved in epoch 1 after step 2",
    "evaluate:1": "stopped and saved in epoch 1 after step 5",
}
WITH_REPORT = {"report": "stopped after the last epoch, before the report was written"}


@pytest.mark.parametrize(
    "points",
    [POINTS, pytest.param(POINTS | WITH_REPORT, marks=pytest.mark.slow)],
    ids=["short", "with report"],
)
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bits(
    points: dict[str, str],
    library: ModuleType,
    finished_run: Callable[..., Path],
    fakes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pneumo_fake.data import TinyDataset

    report = "report" in points
    settings = {"seed": 1, "epochs": 1, "threads": 1, "precision": "fp32"}  # those of the tests of threads
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    whole = finished_run("fake", *flags, *([] if report else ["--no-report"]))
    handlers, read = Handlers(), TinyDataset.read
    quick: dict[str, Any] = {"progress": False, "observers": [handlers]}

    def start() -> Any:
        return library.run("fake", **settings, report=report, cache=tmp_path / "cache", **quick)

    def read_once(self: Any, *arguments: Any) -> Any:
        monkeypatch.setattr(TinyDataset, "read", read)
        os.kill(os.getpid(), signal.SIGINT)
        return read(self, *arguments)

    monkeypatch.setenv("SABOTAGE", "")
    monkeypatch.setattr(TinyDataset, "read", read_once)
    assert str(interrupted(start)) == "interrupted"
    assert not (fakes / "runs").exists()
    assert not list((tmp_path / "cache").glob("decoded/*.u8"))

    work = start
    folder = Path()
    for point, line in points.items():
        monkeypatch.setenv("SABOTAGE", f"SIGINT@{point}")
        error = interrupted(work)
        (folder,) = (fakes / "runs").glob("*/*")
        assert str(error) in {
            f"{line}; go on with: pneumo resume {one}" for one in (folder, folder.relative_to(fakes))
        }
        work = lambda folder=folder: library.resume(folder, **quick)  # type: ignore[misc]  # noqa: E731
    monkeypatch.setenv("SABOTAGE", "")
    assert work().folder == folder
    assert_same_results(whole, folder)
    assert handlers.seen == {tuple(map(signal.getsignal, SIGNALS))}

    monkeypatch.setenv("SABOTAGE", "SIGINT@evaluate:1")
    assert str(interrupted(lambda: library.evaluate(folder, progress=False))) == "interrupted"
    assert not list(folder.glob("evaluations/*"))


@pytest.mark.slow
def test_a_group_that_is_stopped_between_and_in_its_members_goes_on_to_the_same_bits(
    library: ModuleType, finished_run: Callable[..., Path], fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_fake import data

    whole = finished_run("duel", "--seeds", 2, "--epochs", 1, "--no-report")
    handlers, open_tiny = Handlers(), data.open_tiny
    quick: dict[str, Any] = {"progress": False, "observers": [handlers]}

    def opened(request: Any) -> Any:
        if len(list((fakes / "runs").glob("*/*/members/*/report.json"))) == 1:
            monkeypatch.setattr(data, "open_tiny", open_tiny)
            os.kill(os.getpid(), signal.SIGINT)
        return open_tiny(request)

    monkeypatch.setenv("SABOTAGE", "")
    monkeypatch.setattr(data, "open_tiny", opened)
    error = interrupted(
        lambda: library.run("duel", seeds=2, epochs=1, precision="fp32", report=False, **quick)
    )
    (group,) = (fakes / "runs").glob("*/*")
    assert str(error).startswith("stopped between two members; go on with: pneumo resume ")
    assert str(error).endswith(group.name)

    monkeypatch.setenv("SABOTAGE", "SIGINT@step:1:2")
    error = interrupted(lambda: library.resume(group, **quick))
    assert str(error).startswith("stopped and saved in epoch 1 after step 2; go on with: pneumo resume ")
    assert str(error).endswith(group.name)  # not the member's

    monkeypatch.setenv("SABOTAGE", "")
    library.resume(group, **quick)
    assert_same_group(whole, group)
    assert handlers.seen == {tuple(map(signal.getsignal, SIGNALS))}


def test_a_second_ctrl_c_ends_the_wait_for_work_that_never_checks(caplog: pytest.LogCaptureFixture) -> None:
    going, end = threading.Event(), threading.Event()

    def work() -> None:
        going.set()
        end.wait()
        raise Interrupted("stopped and saved", 130)

    def press_twice() -> None:
        going.wait()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    pressing = threading.Thread(target=press_twice)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        carried_out(work)
    pressing.join()
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    # The work that was left behind has the turn.
    assert str(interrupted(lambda: carried_out(lambda: None))) == "interrupted"
    end.set()
    assert carried_out(lambda: 7) == 7
    for _ in range(200):
        if "stopped and saved" in caplog.text:
            break
        time.sleep(0.01)
    assert "stopped and saved" in caplog.text


def test_ctrl_c_as_the_work_ends_is_not_lost() -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert str(interrupted(lambda: carried_out(work))).startswith("interrupted when the work was done")
    assert turns._holder is None


SCRIPT = """
import sys

import pneumo_cli as pneumo
from pneumo_cli.api import hookimpl


class Started:
    @hookimpl
    def step_finished(self, run):
        if run.epoch == 2:
            open("going", "w").close()


pneumo.run("duel", epochs=1000, report=False, observers=[Started()])
"""


def test_ctrl_c_ends_a_script_with_a_traceback_of_one_line_about_what_to_do_next(
    processes: Any, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = processes.start(tmp_path, script=script)
    for _ in range(3000):
        if (tmp_path / "going").exists():
            break
        time.sleep(0.02)
    os.kill(process, signal.SIGINT)
    ended = processes.wait(process)
    (run,) = (tmp_path / "runs").glob("*/*")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("pneumo_cli.errors.Interrupted: stopped and saved in epoch ")
    assert last.endswith(f"go on with: pneumo resume {run.relative_to(tmp_path)}")
    assert (run / "checkpoints" / "last.pt").exists()


CELL = """
import pneumo_cli as pneumo
result = pneumo.run("duel", epochs=1000, report=False)
"""


@pytest.mark.slow
def test_the_stop_button_of_a_notebook_stops_and_saves(
    fakes: Path, fake_environ: dict[str, str], fake_site: Path
) -> None:
    manager = pytest.importorskip("jupyter_client").KernelManager(kernel_name="python3")
    manager.start_kernel(env={**fake_environ, "PYTHONPATH": str(fake_site)}, cwd=str(fakes))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        cell = client.execute(CELL)
        for _ in range(6000):
            if any(len(path.read_text().splitlines()) > 2 for path in fakes.glob("runs/*/*/metrics.jsonl")):
                break
            time.sleep(0.01)
        manager.interrupt_kernel()
        while (message := client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != cell:
            pass  # an answer to what was asked before
        reply = message["content"]
        assert reply["ename"] == "Interrupted"
        assert "go on with: pneumo resume" in reply["evalue"]
        (run,) = fakes.glob("runs/*/*")
        done = len((run / "metrics.jsonl").read_text().splitlines())
        text = f"print(len(pneumo.resume({str(run)!r}, epochs={done}).history))"
        answers: list[str] = []
        client.execute_interactive(
            text,
            timeout=60,
            output_hook=lambda message: answers.append(message["content"].get("text", "")),
        )
        assert str(done + 1) in "".join(answers).split()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
