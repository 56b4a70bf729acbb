"""The process of a task: its output is relayed, its progress is read from its run, and signals reach it."""

import json
import os
import signal
import sys
import threading
import time

from pneumo_cli.runs.folder import RunFolder
from pneumo_reproduce import reproduction


def nothing():
    """Is called while a process runs."""


def test_the_last_error_of_a_process_is_its_reason(tmp_path, capfd):
    code = "import sys; print('epoch 1'); print('pneumo: careful\\npneumo: no space', file=sys.stderr); sys.exit(1)"
    ended = reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", nothing)
    assert ended == (1, "no space")
    assert "epoch 1" in capfd.readouterr().err
    assert "careful" in (tmp_path / "log").read_text()


def test_a_signal_reaches_the_process_once_and_its_exit_code_comes_back(tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))\n"
        "print('ready', flush=True); time.sleep(20)"
    )
    log = tmp_path / "log"

    def send_signal():
        while not log.exists() or b"ready" not in log.read_bytes():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send_signal, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    assert reproduction._relayed([sys.executable, "-c", code], os.environ, log, nothing) == (143, "")
    assert log.read_text().count("saved") == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_has_its_own_session_so_that_a_terminal_does_not_interrupt_it_twice(tmp_path):
    code = "import os; print(os.getsid(0) == os.getpid())"
    reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", nothing)
    assert (tmp_path / "log").read_text() == "True\n"


def test_the_reason_of_a_killed_process_names_the_signal(tmp_path):
    code = "import os; os.kill(os.getpid(), 9)"
    ended = reproduction._relayed([sys.executable, "-c", code], os.environ, tmp_path / "log", nothing)
    assert ended == (137, "its process was ended by SIGKILL")


def write_metrics(run, *epochs, end=""):
    """The file that a run appends a line to after each epoch."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps({"epoch": e}) + "\n" for e in epochs) + end)


def test_progress_is_read_from_the_metrics_of_the_running_process_whatever_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "_POLL", 0.02)
    runs, advances = tmp_path / "cnn", []

    def advance(epochs):
        advances.append(epochs)
        (tmp_path / "seen").touch()

    write_metrics(runs / "earlier", 0, 9)
    code = (
        "import pathlib, sys, time\n"
        "print('      7/9  0.5 0.6', flush=True)\n"
        "runs, seen = map(pathlib.Path, sys.argv[1:])\n"
        "(runs / 'new').mkdir()\n"
        "with (runs / 'new' / 'metrics.jsonl').open('w') as file:\n"
        '    print(\'{"epoch": 0}\\n{"epoch": 1}\', file=file, flush=True)\n'
        "    while not seen.exists(): time.sleep(0.01)\n"
        "    print('{\"epoch\": 3}', file=file)\n"
    )
    command = [sys.executable, "-c", code, str(runs), str(tmp_path / "seen")]
    poll = reproduction._epoch_poll(runs, None, advance)
    assert reproduction._relayed(command, os.environ, tmp_path / "log", poll) == (0, "")
    assert advances == [1, 2]


def test_the_progress_of_a_resumed_run_starts_at_its_last_recorded_epoch(tmp_path):
    advances = []
    poll = reproduction._epoch_poll(tmp_path, RunFolder(tmp_path / "run"), advances.append)
    poll()  # no file yet
    for epochs, end in (
        ((0, 1, 2, 3), ""),
        ((0, 1, 2, 3), '{"epo'),
        ((0, 1, 2, 3, 4), '{"epoch": 5}'),
        ((), "[]\n"),
    ):
        write_metrics(tmp_path / "run", *epochs, end=end)
        poll()
    assert advances == [3, 2]
