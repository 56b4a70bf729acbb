"""Carrying out a reproduction of the source report: its tasks, one after the other, as ordinary runs.

A folder of its own holds all of it::

    runs/reproduce/2026-11-24-a1b2/
      plan.json  outcomes.json  report.{html,md,json}
      tasks/cnn.toml  tasks/cnn.log  tasks/cnn/2026-11-24-c3d4/ (a run)

Each task is ``pneumo run``, or ``pneumo resume``, in a process of its own: whatever becomes of it, the others
go on. What is done is read from the runs themselves, so a reproduction that was killed anywhere and is called again
goes on where it was: finished runs are kept, an interrupted one is resumed to the same bits, and one that another
process is still at is waited for. What will be run is decided in :mod:`pneumo_reproduce.plan`.
"""

from __future__ import annotations

import json
import os
import re
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
from pneumo_reproduce.plan import PLAN, Plan, planned_again, read_plan, settings_file

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_reproduce.source_report import SourceReport

OUTCOMES = "outcomes.json"
_KIND = "reproduce"  # the folder below the output folder, beside those of the trainers
_KEPT = ("PNEUMO_DEBUG", "PNEUMO_DISABLE_PLUGINS")
"""Variables that a task's process gets; its settings are all in the plan."""
_LOOK = 0.5  # seconds between two looks at a run that another process is at
_TAIL = 20  # lines of a process's output in which its reason is looked for
_EPOCH = re.compile(r"\s*(\d+)/\d+\s")
"""How a line of :mod:`pneumo_cli.plugins.console` about a finished epoch begins."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        state: ``done``, ``failed``, ``stopped`` (by a signal; it will go on) or ``waiting`` (not begun).
        run: its run folder, relative to that of the reproduction; empty where there is none.
        reason: why there is no result, in one line.
    """

    state: str
    run: str = ""
    reason: str = ""


class Reproduction:
    """The folder of one reproduction, locked against other processes while the object is open.

    Args:
        folder: it exists and holds a plan.

    Raises:
        PneumoError: the plan is damaged, or another process is at it.
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
        """Let other processes at the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Reproduction:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def plan_again(self, plugins: Plugins, source: SourceReport, progress: Progress) -> None:
        """Plan the tasks once more that could not be planned: what they lack may have been installed since."""
        if any(task["problem"] for task in self.plan.content["tasks"]):
            self.plan = planned_again(self.plan, plugins, source, progress)
            self.plan.write(self.folder)

    def names(self) -> list[str]:
        """The tasks, in order."""
        return [task["name"] for task in self.plan.content["tasks"]]

    def outcome(self, name: str) -> Outcome:
        """What has become of a task so far, as the disk says."""
        task = self.plan.task(name)
        if task["problem"]:
            return Outcome("failed", reason=task["problem"])
        run = self._run_of(name)
        where = "" if run is None else str(run.path.relative_to(self.folder))
        if run is not None and _finished(run, task):
            return Outcome("done", where)
        if name in self._failed:
            return Outcome("failed", where, self._failed[name])
        if run is not None:
            return Outcome("stopped", where, "it was interrupted and goes on when this is called again")
        return Outcome("waiting", reason="it has not been run yet")

    def carry_out(
        self, names: Sequence[str], told: Callable[[str], None], progress: Progress | None = None
    ) -> Iterator[tuple[str, Outcome]]:
        """Run what is not done, in order; yield each task's outcome as soon as it is known.

        Args:
            names: the tasks that are wanted.
            told: called with a line for a person.
            progress: where the epochs of the task under way are shown.

        Raises:
            Interrupted: a signal came. The task under way has saved itself.
        """
        progress = progress or Progress()
        for number, name in enumerate(names, 1):
            place = f"{number} of {len(names)}, {name}"
            before = self.outcome(name)
            if before.state == "done" or self.plan.task(name)["problem"]:
                yield name, before
                continue
            self._await_others(name, told)
            if self.outcome(name).state != "done":
                self._forget(name)
                told(f"{place}: {'goes on' if before.run else 'begins'}")
                with progress.stage(place, self.plan.task(name)["settings"]["epochs"], "epochs") as advance:
                    code, reason = self._process(name, _epochs_of(advance))
                if self.outcome(name).state != "done":
                    if code in (130, 143, 129):
                        raise Interrupted(
                            f"stopped in {name}; go on with: pneumo reproduce --output {self.folder}", code
                        )
                    self._remember(name, reason or f"its process ended with exit code {code}")
            yield name, self.outcome(name)

    def _run_of(self, name: str) -> RunFolder | None:
        """The run of a task: a finished one, else the newest from which one can go on."""
        found = [RunFolder(path.parent) for path in (self.folder / "tasks" / name).glob("*/run.toml")]
        done = [run for run in found if _finished(run, self.plan.task(name))]
        begun = [run for run in found if (run.checkpoints / "last.pt").is_file()]
        return max(done or begun, key=lambda run: run.settings.stat().st_mtime, default=None)

    def _await_others(self, name: str, told: Callable[[str], None]) -> None:
        """Wait for the process of an earlier call, if it has outlived that."""
        for path in sorted((self.folder / "tasks" / name).glob("*/run.toml")):
            run = RunFolder(path.parent)
            said = False
            while True:
                try:
                    run.lock().close()
                    break
                except PneumoError:
                    if not said:
                        told(f"waiting for the process that is at {run.path}")
                        said = True
                    time.sleep(_LOOK)

    def _process(self, name: str, heard: Callable[[str], None]) -> tuple[int, str]:
        """Run or resume a task; return its exit code and the last thing that it complained of.

        Args:
            heard: called with each line that it says.
        """
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
            heard,
        )

    def _remember(self, name: str, reason: str) -> None:
        self._failed[name] = reason
        atomic.write_json(self.folder / OUTCOMES, self._failed)

    def _forget(self, name: str) -> None:
        if self._failed.pop(name, None) is not None:
            atomic.write_json(self.folder / OUTCOMES, self._failed)


def new_folder(output: Path, wanted: Path | None = None) -> Path:
    """Name the folder of a new reproduction, and find out whether it can be made; nothing is written.

    Args:
        wanted: the folder that somebody asks for; ``output/reproduce/DATE-XXXX``, where None.

    Raises:
        UsageError: it cannot be made.
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
    """Whether a folder holds a reproduction that can be gone on with.

    Raises:
        UsageError: it holds something else, or is no folder.
    """
    if (folder / PLAN).is_file():
        return True
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if folder.is_dir() and any(path.name not in (".lock", "tasks") for path in folder.iterdir()):
        raise UsageError(
            f"the folder {folder} is not empty, and holds no reproduction ({PLAN}) to go on with"
        )
    return False


def begin(folder: Path, plan: Plan) -> None:
    """Make the folder of a new reproduction and write its plan.

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
    except (OSError, ValueError, AttributeError):  # no more than notes on what will be tried again
        return {}


def _epochs_of(advance: Advance) -> Callable[[str], None]:
    """What reads the lines of a run, and moves its progress on to the epoch that they tell of."""
    shown = 0

    def heard(line: str) -> None:
        nonlocal shown
        found = _EPOCH.match(line)
        if found and (epoch := int(found[1])) > shown:
            advance(epoch - shown)
            shown = epoch

    return heard


def _relayed(
    command: list[str], environ: Mapping[str, str], log: Path, heard: Callable[[str], None]
) -> tuple[int, str]:
    """Run a process, pass on what it says to stderr and to a file, and pass on to it the signals that come.

    It is in a session of its own, so that a Ctrl-C reaches it once and not twice.

    Returns:
        its exit code as a shell has it, and the last line of its errors.
    """
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
                said = line.decode("utf-8", errors="replace")
                sys.stderr.write(said)
                sys.stderr.flush()
                file.write(line)
                file.flush()
                tail.append(said.rstrip())
                del tail[:-_TAIL]
                heard(said)

        reader = threading.Thread(target=relay, daemon=True)
        with _passed_on(process):
            reader.start()
            code = process.wait()
            reader.join()
    errors = [line.removeprefix("pneumo: ") for line in tail if line.startswith("pneumo: ")]
    reason = errors[-1] if errors and code else ""
    if code < 0:
        reason = f"its process was ended by {signal.Signals(-code).name}"
    return (code if code >= 0 else 128 - code), reason


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before: dict[int, Any] = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, forward)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
