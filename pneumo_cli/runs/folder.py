"""A run's folder: the paths of all its files. It is created once and never overwritten."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from pneumo_cli.errors import PneumoError, UsageError, nearest
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import finite

GROUP_SETTINGS = "group.toml"
"""The settings file of a group of runs (:mod:`pneumo_cli.training.groups`)."""
MEMBERS = ("members", "parts")
"""The folder of a group's runs; the second name is that of versions before 0.2."""


CHECKPOINTS = ("best", "last")
"""The checkpoints that a run can be used with."""


def check_checkpoint(name: str) -> None:
    """Raise UsageError if ``name`` is neither ``best`` nor ``last``."""
    if name not in CHECKPOINTS:
        raise UsageError(f"{name!r} is none of {', '.join(CHECKPOINTS)}; {nearest(name, CHECKPOINTS)}")


def is_group(path: Path) -> bool:
    """Whether a folder is that of a group."""
    return (path / GROUP_SETTINGS).is_file()


def group_of(path: Path) -> Path | None:
    """The absolute folder of the group that a run's folder belongs to; None if it belongs to none."""
    parent = path.absolute().parent
    return parent.parent if parent.name in MEMBERS and is_group(parent.parent) else None


class RunFolder:
    """Paths inside one run's folder.

    Args:
        path: the folder itself, such as ``runs/cnn/2026-11-24-a1b2``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "run.toml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.log = path / "log.txt"
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.samples = path / "samples"
        self.predictions = path / "predictions"
        self.evaluations = path / "evaluations"
        self.report_html = path / "report.html"
        self.report_markdown = path / "report.md"
        self.report_json = path / "report.json"

    def add_evaluation(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the result of a later evaluation into the folder ``evaluations``, and return what is written.

        Args:
            name: of the file, after the time. What cannot be part of a file's name becomes ``-``.

        Raises:
            PneumoError: it cannot be written.
        """
        now = datetime.now(UTC)
        result: dict[str, Any] = finite({"when": now.isoformat(timespec="seconds"), **content})
        # Microseconds, so that a second evaluation within a second does not replace the first.
        path = self.evaluations / f"{now:%Y%m%dT%H%M%S.%f}-{atomic.file_stem(name)}.json"
        try:
            atomic.write_json(path, result)
        except OSError as error:
            raise PneumoError(f"{self.evaluations} cannot be written: {error.strerror}") from error
        return result

    def epoch_images(self, epoch: int) -> Path:
        """The file of the images that a trainer keeps of an epoch."""
        return self.samples / f"epoch-{epoch:03}.png"

    @classmethod
    def create(cls, output: Path, trainer: str, kind: str = "") -> Self:
        """Create a new folder ``output/trainer/DATE-XXXX``, or ``…-KIND``.

        Raises:
            UsageError: the output folder cannot be written.
        """
        parent = output / trainer
        ending = f"-{kind}" if kind else ""
        try:
            parent.mkdir(parents=True, exist_ok=True)
            while True:
                path = parent / f"{datetime.now():%Y-%m-%d}-{secrets.token_hex(2)}{ending}"
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return cls(path)
        except OSError as error:
            raise UsageError(f"the output folder {parent} cannot be written: {error.strerror}") from error

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing folder.

        Raises:
            UsageError: it is not a run folder.
        """
        folder = cls(path)
        if path.is_file():
            raise UsageError(f"{path} is a file: name the run's folder{_above(path)}")
        if not path.is_dir():
            raise UsageError(f"there is no run folder {path}{_existing(path)}")
        if is_group(path):
            raise UsageError(
                f"{path} is a group of runs: name one of its runs{_existing(GroupFolder(path).members)}"
            )
        if not folder.settings.is_file():
            raise UsageError(f"{path} is no run folder: it has no run.toml{_existing(path)}")
        return folder

    def lock(self) -> IO[str]:
        """Keep other processes from writing to this run until the returned file is closed.

        Raises:
            PneumoError: another process holds the lock.
        """
        file = (self.path / ".lock").open("w")
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise PneumoError(f"another process is working on {self.path}") from None
        return file


class GroupFolder(RunFolder):
    """Paths inside a group's folder, such as ``runs/cnn/2026-11-24-a1b2-folds``.

    Its settings are in ``group.toml``, its runs below ``members``; all other paths are as in a run's folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.settings = path / GROUP_SETTINGS

    @property
    def members(self) -> Path:
        """The folder that holds the group's runs."""
        new, old = (self.path / name for name in MEMBERS)
        return old if old.is_dir() else new

    def member(self, name: str) -> RunFolder:
        """The folder of one of the group's runs."""
        return RunFolder(self.members / name)


def read_json(path: Path) -> dict[str, Any]:
    """An optional JSON object in a run's folder: empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_writable(output: Path, trainer: str) -> None:
    """Check, before the long steps and leaving nothing behind, that a run folder can be created.

    Raises:
        UsageError: it cannot.
    """
    try:
        atomic.try_folder(output / trainer)
    except OSError as error:
        raise UsageError(f"the output folder {output} cannot be written: {error.strerror}") from error


def _existing(path: Path) -> str:
    """The newest runs near a path that is not a run."""
    for parent in (path, path.parent):
        runs = [*parent.glob("*/run.toml"), *parent.glob("*/*/run.toml")]
        newest = sorted(runs, key=lambda p: p.stat().st_mtime, reverse=True)[:3]
        if newest:
            return "; the newest runs there: " + ", ".join(str(p.parent) for p in newest)
    return ""


def _above(path: Path) -> str:
    """The run that a file lies in."""
    run = next((parent for parent in path.absolute().parents if (parent / "run.toml").is_file()), None)
    return f", {run}" if run else ""
