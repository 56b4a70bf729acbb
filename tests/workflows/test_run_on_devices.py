"""``devices=2`` from Python: processes of their own do the work, and this one has the result, or the reason."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pneumo_cli import Interrupted, PneumoError, UsageError
from tests.training.comparison import assert_same_results, only_run

pytestmark = pytest.mark.slow

TWO: dict[str, Any] = {
    "model": "plain-net",
    "devices": 2,
    "device": "cpu",
    "threads": 1,
    "report": False,
    "progress": False,
}


def test_two_processes_do_what_they_do_for_the_command(
    library: ModuleType, pneumo, fakes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model", "plain-net", "--devices", 2, "--device", "cpu", "--threads", 1, "--no-report")
    ended = pneumo("run", "fake", "--epochs", 1, *flags, "--output", "command")
    assert ended.code == 0
    (command,) = fakes.glob("command/*/*")
    capfd.readouterr()
    result = library.run("fake", epochs=1, **TWO)
    assert result.folder == only_run(fakes)
    assert_same_results(command, result.folder)
    environment = json.loads((result.folder / "environment.json").read_text())
    assert environment["processes"] == 2
    words = ("run", "fake", "--model", "plain-net", "--epochs", "1", "--no-report", "--devices", "2")
    assert set(words) <= set(environment["command"])
    assert capfd.readouterr() == ("", "")

    longer = library.resume(result, epochs=2, progress=False)
    assert longer.folder == result.folder
    assert len(longer.history) == 3


def test_a_registered_plugin_that_only_observes_is_no_hindrance_and_is_said_to_be_left_out(
    library: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    class Listener:
        def epoch_finished(self) -> None:
            pass

    library.register(Listener())
    with pytest.raises(UsageError, match="batch size 1 is below the number of devices, 2"):
        library.run("fake", batch_size=1, **TWO)
    assert "other processes do the work, which the registered plugin listener does not observe" in caplog.text


def test_the_reason_of_a_failure_is_that_of_the_processes(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="batch size 1 is below the number of devices, 2"):
        library.run("fake", batch_size=1, **TWO)
    monkeypatch.setenv("SABOTAGE", "nan@step:1:2")
    with pytest.raises(PneumoError, match="the loss is not finite") as caught:
        library.run("fake", **TWO)
    assert caught.value.exit_code == 1


def test_ctrl_c_lets_the_processes_save(library: ModuleType, fakes: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while not list(fakes.glob("runs/*/*/checkpoints/last.pt")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(
            Interrupted, match=r"stopped and saved in epoch .*pneumo resume runs/fake/"
        ) as caught:
            library.run("fake", epochs=1000, **TWO)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_lets_its_processes_save(number: int, processes, tmp_path: Path) -> None:
    flags = ("--model", "plain-net", "--epochs", 1000, "--devices", 2, "--device", "cpu", "--threads", 1)
    process = processes.start(tmp_path, "run", "fake", *flags)
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.pt")):
        time.sleep(0.05)
    os.kill(process, number)
    ended = processes.wait(process)
    assert ended.code == 128 + number
    assert "pneumo: stopped and saved in epoch " in ended.stderr
