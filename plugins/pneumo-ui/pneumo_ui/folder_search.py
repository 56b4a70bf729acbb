"""The folders of runs and groups below a folder, found again cheaply."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from pneumo_cli.runs.folder import GROUP_SETTINGS
from pneumo_cli.runs.index import BUNDLE, OWN_FOLDERS, problem_of
from pneumo_ui.files import Refused, contained

RUN, GROUP = "run", "group"
PAGES = ("report.html", "sweep.html", "compare.html", "audit.html")
"""Pages that commands write into folders of their own."""
MOST = 100_000
"""Folders that are searched; the others are not."""

_UNSETTLED = 2 * 10**9  # nanoseconds: a folder changed this recently may change again without a newer time
_FILES = ("run.toml", GROUP_SETTINGS, "report.json", "metrics.jsonl", ".lock", BUNDLE)
"""Files that tell what is listed of a run."""
_LARGEST = 256 * 2**20  # bytes of each


Facts = tuple[tuple[int, int, int] | None, ...]
"""Time, size and inode of each file; None for one that is missing."""


@dataclass(frozen=True)
class Signature:
    """By which a change of a run's files is noticed.

    Attributes:
        facts: of its files.
        problem: a file that is not to be read; empty if there is none.
        members: of a group, those of its runs.
    """

    facts: Facts
    problem: str = ""
    members: tuple[Facts, ...] = ()


def signature(folder: Path, run: Path) -> Signature:
    """The signature of a run or a group that lies in ``folder``."""
    facts: list[tuple[int, int, int] | None] = []
    problem = ""
    for name in _FILES:
        file = f"{run}/{name}"  # pathlib would take longer than the rest
        try:
            found = os.lstat(file)
            if stat.S_ISLNK(found.st_mode):
                found = os.lstat(contained(folder, Path(file)))
            if not stat.S_ISREG(found.st_mode):
                problem = f"{name} is no regular file"
            elif found.st_size > _LARGEST:
                problem = f"{name} is too large to be read: {found.st_size / 2**20:,.0f} MB"
        except Refused as error:
            problem = problem_of(run, error).reason
        except OSError:
            facts.append(None)
            continue
        facts.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return Signature(tuple(facts), problem)


@dataclass(frozen=True)
class _Scanned:
    """What a folder held: its kind (empty: neither), its subfolders to search, its pages if it is neither, and when
    it had changed last."""

    kind: str
    below: tuple[str, ...]
    pages: tuple[str, ...]
    changed: int
    settled: bool


class FolderSearch:
    """Finds runs and groups below a folder. Links and folders whose names begin with a dot are not followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scanned: dict[str, _Scanned] = {}

    def found(self) -> list[tuple[Path, str]]:
        """Each folder of a run or a group, with its kind; those that have changed last come first."""
        waiting, seen = [str(self.folder)], dict[str, _Scanned]()
        while waiting and len(seen) < MOST:
            path = waiting.pop()
            try:
                scanned = self._scan(path)
            except OSError:  # it is gone, or not ours to read
                continue
            seen[path] = scanned
            waiting += [os.path.join(path, name) for name in scanned.below]
        self._scanned = seen
        newest = sorted(seen.items(), key=lambda one: one[1].changed, reverse=True)
        return [(Path(path), scanned.kind) for path, scanned in newest if scanned.kind]

    def pages(self) -> dict[str, Path]:
        """The pages of folders that are neither runs nor groups, by path relative to the folder, as last found."""
        found = {}
        for path, scanned in list(self._scanned.items()):
            for name in scanned.pages:
                file = Path(path, name)
                found[self.identity(file)] = file
        return found

    def name(self, path: Path) -> str:
        """A folder's path relative to the folder that is searched; the name of that folder for itself."""
        return path.name if path == self.folder else path.relative_to(self.folder).as_posix()

    def identity(self, path: Path) -> str:
        """What an address names a folder by: as :meth:`name`, in characters that an address can hold."""
        relative = path.relative_to(self.folder).as_posix()
        return os.fsencode(relative).decode("utf-8", "backslashreplace")

    def _scan(self, path: str) -> _Scanned:
        facts = os.lstat(path)
        if not stat.S_ISDIR(facts.st_mode):
            raise NotADirectoryError
        known = self._scanned.get(path)
        if known is not None and known.settled and known.changed == facts.st_mtime_ns:
            return known
        with os.scandir(path) as entries:
            below = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        if "run.toml" in below:
            kind = RUN
        elif GROUP_SETTINGS in below:
            kind = GROUP
        else:  # a run that is being started, or has lost its settings
            kind = RUN if below.get("checkpoints") or below.get("metrics.jsonl") is False else ""
        inner = tuple(
            name
            for name, is_folder in below.items()
            if is_folder and not name.startswith(".") and not (kind == RUN and name in OWN_FOLDERS)
        )
        settled = time.time_ns() - facts.st_mtime_ns > _UNSETTLED
        pages = tuple(name for name in PAGES if not kind and below.get(name) is False)
        return _Scanned(kind, inner, pages, facts.st_mtime_ns, settled)
