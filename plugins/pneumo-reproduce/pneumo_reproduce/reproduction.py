"""Carrying out a reproduction of the source report: its tasks as ordinary runs, one after the other.

Everything is in one folder::

    runs/reproduce/2026-11-24-a1b2/
      plan.json  outcomes.json  report.{html,md,json}
      tasks/cnn.toml  tasks/cnn.log  tasks/cnn/2026-11-24-c3d4/ (a run)

Each task is ``pneumo run``, or ``pneumo resume``, in a process of its own, so a task that fails does not stop the
others. Its state and progress are read from the files of its run. A reproduction that was killed therefore
continues when it is called again: finished runs are kept, an interrupted one is resumed to the same bits, and one
that another process is working on is waited for. What is run is decided in :mod:`pneumo_reproduce.plan`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.runs.folder import RunFolder, check_writable
from pneumo_cli.runs.record import finished_epochs
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Advance, Progress
from pneumo_cli.runtime.signals import Interruption, callers_interruption, interruption
from pneumo_cli.runtime.turns import turns
from pneumo_reproduce.plan import PLAN, Plan, planned_again, read_plan, settings_file

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_reproduce.source_report import SourceReport

OUTCOMES = "outcomes.json"
_KIND = "reproduce"  # the folder in the output folder, next to those of the trainers
_KEPT = ("PNEUMO_DEBUG", "PNEUMO_DISABLE_PLUGINS", "PNEUMO_PLUGINS")
"""Variables that a task's process inherits; its settings are all in the plan."""
_POLL = 0.5  # seconds between two reads of a run's files
_TAIL = 20  # lines of a process's output that are searched for its error


@dataclass(frozen=True)
class Outcome:
    """The state of a task.

    Attributes:
        state: ``done``, ``failed``, ``stopped`` (by a signal; it can be resumed) or ``waiting`` (not started).
        run: its run folder, relative to that of the reproduction; empty if there is none.
        reason: why there is no result, in one line.
    """

    state: str
    run: str = ""
    reason: str = ""


class Reproduction:
    """The folder of one reproduction, locked against other processes while the object is open.

    Args:
        folder: an existing folder with a plan.

    Raises:
        PneumoError: the plan is damaged, or another process is working on it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = RunFolder(folder).lock()
        try:
            self.plan = read_plan(folder)
            self._failed = _read_failures(folder)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the folder for other processes."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Reproduction:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def plan_again(self, plugins: Plugins, source: SourceReport, progress: Progress) -> None:
        """Plan the tasks that could not be planned before: what they need may have been installed since."""
        if any(task["problem"] for task in self.plan.content["tasks"]):
            self.plan = planned_again(self.plan, plugins, source, progress)
            self.plan.write(self.folder)

    def names(self) -> list[str]:
        """The tasks, in order."""
        return [task["name"] for task in self.plan.content["tasks"]]

    def outcome(self, name: str) -> Outcome:
        """The state of a task, read from its files."""
        task = self.plan.task(name)
        if task["problem"]:
            return Outcome("failed", reason=task["problem"])
        run = self._run_of(name)
        path = "" if run is None else str(run.path.relative_to(self.folder))
        if run is not None and _finished(run, task):
            return Outcome("done", path)
        if name in self._failed:
            return Outcome("failed", path, self._failed[name])
        if run is not None:
            return Outcome("stopped", path, "it was interrupted and continues when this is called again")
        return Outcome("waiting", reason="it has not been run yet")

    def carry_out(
        self, names: Sequence[str], log: Callable[[str], None], progress: Progress | None = None
    ) -> Iterator[tuple[str, Outcome]]:
        """Run what is not done, in order; yield each task's outcome as soon as it is known.

        Args:
            names: the requested tasks.
            log: called with each message for the user.
            progress: shows the epochs of the running task.

        Raises:
            Interrupted: a signal came. The running task has saved its state.
        """
        progress = progress or Progress()
        for number, name in enumerate(names, 1):
            place = f"{number} of {len(names)}, {name}"
            before = self.outcome(name)
            if before.state == "done" or self.plan.task(name)["problem"]:
                yield name, before
                continue
            self._await_others(name, log)
            if self.outcome(name).state != "done":
                self._forget(name)
                log(f"{place}: {'continues' if before.run else 'starts'}")
                with progress.stage(place, self.plan.task(name)["settings"]["epochs"], "epochs") as advance:
                    code, reason = self._process(name, advance)
                if self.outcome(name).state != "done":
                    if code in (130, 143, 129):
                        raise Interrupted(
                            f"stopped in {name}; go on with: pneumo reproduce --output {self.folder}", code
                        )
                    self._remember(name, reason or f"its process ended with exit code {code}")
            yield name, self.outcome(name)

    def _run_of(self, name: str) -> RunFolder | None:
        """The run of a task: a finished one, else the newest one that can be resumed."""
        runs = [RunFolder(path.parent) for path in (self.folder / "tasks" / name).glob("*/run.toml")]
        done = [run for run in runs if _finished(run, self.plan.task(name))]
        started = [run for run in runs if (run.checkpoints / "last.pt").is_file()]
        return max(done or started, key=lambda run: run.settings.stat().st_mtime, default=None)

    def _await_others(self, name: str, log: Callable[[str], None]) -> None:
        """Wait for the process of an earlier call, if it has outlived that call."""
        for path in sorted((self.folder / "tasks" / name).glob("*/run.toml")):
            run = RunFolder(path.parent)
            logged = False
            while True:
                try:
                    run.lock().close()
                    break
                except PneumoError:
                    if not logged:
                        log(f"waiting for the process that is working on {run.path}")
                        logged = True
                    time.sleep(_POLL)

    def _process(self, name: str, advance: Advance) -> tuple[int, str]:
        """Run or resume a task; return its exit code and its last error message."""
        run = self._run_of(name)
        if run is None:
            trainer = self.plan.task(name)["trainer"]
            arguments = ["run", trainer, "--config", str(settings_file(self.folder, name))]
            arguments += ["--output", str(self.folder / "tasks")]
        else:
            arguments = ["resume", str(run.path)]
        environ = {
            key: value
            for key, value in os.environ.items()
            if not key.upper().startswith("PNEUMO_") or key.upper() in _KEPT
        }
        return _relayed(
            [sys.executable, "-m", "pneumo_cli", *arguments],
            environ,
            self.folder / "tasks" / f"{name}.log",
            _epoch_poll(self.folder / "tasks" / name, run, advance),
        )

    def _remember(self, name: str, reason: str) -> None:
        self._failed[name] = reason
        atomic.write_json(self.folder / OUTCOMES, self._failed)

    def _forget(self, name: str) -> None:
        if self._failed.pop(name, None) is not None:
            atomic.write_json(self.folder / OUTCOMES, self._failed)


def new_folder(output: Path, wanted: Path | None = None) -> Path:
    """Name the folder of a new reproduction, and check that it can be created; nothing is written.

    Args:
        wanted: the requested folder; None: ``output/reproduce/DATE-XXXX``.

    Raises:
        UsageError: it cannot be created.
    """
    if wanted is not None:
        check_writable(wanted.parent, wanted.name)
        return wanted
    check_writable(output, _KIND)
    while True:
        path = output / _KIND / f"{datetime.now():%Y-%m-%d}-{secrets.token_hex(2)}"
        if not path.exists():
            return path


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a reproduction that can be continued.

    Raises:
        UsageError: it holds something else, or is not a folder.
    """
    if (folder / PLAN).is_file():
        return True
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if folder.is_dir() and any(path.name not in (".lock", "tasks") for path in folder.iterdir()):
        raise UsageError(f"the folder {folder} is not empty and holds no reproduction ({PLAN}) to continue")
    return False


def begin(folder: Path, plan: Plan) -> None:
    """Create the folder of a new reproduction and write its plan.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plan.write(folder)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be written: {error.strerror}") from error


def _finished(run: RunFolder, task: Mapping[str, Any]) -> bool:
    done = finished_epochs(run)
    return done is not None and done >= task["settings"]["epochs"]


def _read_failures(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / OUTCOMES).read_text(encoding="utf-8"))
        return {str(name): str(reason) for name, reason in content.items()}
    except (OSError, ValueError, AttributeError):  # only notes: these tasks are tried again anyway
        return {}


def _epoch_poll(runs: Path, run: RunFolder | None, advance: Advance) -> Callable[[], None]:
    """A function that advances a bar to the last epoch that a task's run has recorded.

    Args:
        runs: the folder of the task's runs.
        run: the run to resume; None for a new one, whose folder appears later.
    """
    earlier = set(runs.glob("*"))
    shown = 0

    def poll() -> None:
        nonlocal shown
        paths = set(runs.glob("*")) - earlier if run is None else {run.path}
        epoch = max((_last_epoch(RunFolder(path).metrics) for path in paths), default=0)
        if epoch > shown:
            advance(epoch - shown)
            shown = epoch

    return poll


def _last_epoch(metrics: Path) -> int:
    """The last epoch in a ``metrics.jsonl``; 0 if there is none. A line that is only partly written is skipped."""
    try:
        lines = metrics.read_bytes().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["epoch"])
        except (ValueError, TypeError, KeyError):
            continue
    return 0


def _relayed(
    command: list[str], environ: Mapping[str, str], log: Path, poll: Callable[[], None]
) -> tuple[int, str]:
    """Run a process; copy its output to a file and to stderr, and forward signals to it.

    It has a session of its own, so that a Ctrl-C reaches it once and not twice. For a program that called pneumo as
    a library its output is in the file alone, and the program's request to stop is forwarded.

    Args:
        poll: called at intervals while it runs, and once after its end.

    Returns:
        its exit code as a shell has it, and the last line of its errors.
    """
    called = callers_interruption()
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            start_new_session=True,
        )
        tail: list[str] = []

        def relay() -> None:
            for line in process.stdout or ():
                text = line.decode("utf-8", errors="replace")
                if called is None:
                    sys.stderr.write(text)
                    sys.stderr.flush()
                file.write(line)
                file.flush()
                tail.append(text.rstrip())
                del tail[:-_TAIL]

        reader = threading.Thread(target=relay, daemon=True)
        with _forwarded_signals(process) if called is None else interruption() as request:
            reader.start()
            code = None
            forwarded = False
            while code is None:
                if request is not None and request.number and not forwarded:
                    process.send_signal(request.number)
                    forwarded = True
                try:
                    code = process.wait(_POLL)
                except subprocess.TimeoutExpired:
                    poll()
                    turns.pass_on()  # other threads need not wait, too
            reader.join()
        poll()
    errors = [line.removeprefix("pneumo: ") for line in tail if line.startswith("pneumo: ")]
    reason = errors[-1] if errors and code else ""
    if code < 0:
        reason = f"its process was ended by {signal.Signals(-code).name}"
    return (code if code >= 0 else 128 - code), reason


@contextmanager
def _forwarded_signals(process: subprocess.Popen[bytes]) -> Iterator[Interruption | None]:
    def forward(number: int, frame: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before: dict[int, Any] = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, forward)
        yield None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
