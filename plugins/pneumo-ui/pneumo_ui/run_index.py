"""The runs below a folder, kept up to date while somebody looks.

The folder is searched again every few seconds. Folders that have not changed are not opened again, and runs whose
files have not changed are not read again, so that 5,000 runs cost a fraction of a second. The newest runs are read
first, and pages are shown before all are read.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pneumo_cli.errors import PneumoError, with_type
from pneumo_cli.runs.folder import MEMBERS, group_of
from pneumo_cli.runs.group_index import read_group
from pneumo_cli.runs.index import RUNNING, WHOLE, ListedRun, is_locked, problem_of, read_run
from pneumo_ui.folder_search import RUN, Facts, FolderSearch, Signature, signature

FIRST = 100
"""Runs that the first page waits for."""
_PAUSE = 2.0  # seconds between two searches
_RECENT = 0.5  # seconds for which a search counts as new
_SHARE = 10  # a search of one second is followed by a pause of at least ten
_WATCHED = 15.0  # seconds after the last request during which the folder is searched


@dataclass(frozen=True)
class Entry:
    """A run or a group, or why it cannot be read.

    Attributes:
        id: its path relative to the folder, ``.`` for the folder itself; what addresses name it by.
        path: its folder.
        run: what is listed, with the headline metric alone; None: see ``problem``.
        problem: why it cannot be read; empty if it can.
        group: the ``id`` of the group that it belongs to; empty without one.
        is_group: whether it is a group.
        files: by which changes are noticed.
    """

    id: str
    path: Path
    run: ListedRun | None
    problem: str
    group: str
    is_group: bool
    files: Signature


@dataclass(frozen=True)
class Snapshot:
    """The runs at one moment.

    Attributes:
        entries: by ``id``.
        total: folders of runs that were found; more than entries while they are being read.
        version: changes with every change.
        pages: those of sweeps, comparisons and reproductions, by path relative to the folder.
        gone: whether the folder itself is not there (any more).
    """

    entries: Mapping[str, Entry]
    total: int
    version: int
    pages: Mapping[str, Path]
    gone: bool = False

    def members(self, group: str) -> list[Entry]:
        """The runs of a group, in the order of their names."""
        found = (entry for entry in self.entries.values() if entry.group == group)
        return sorted(found, key=lambda entry: entry.id)


class RunIndex:
    """The runs below a folder.

    Args:
        folder: is searched with all its subfolders; links are not followed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._search = FolderSearch(self.folder)
        self._entries: dict[str, Entry] = {}
        self._pages: dict[str, Path] = {}
        self._places: dict[str, tuple[Path, str]] = {}
        self._sorted: list[tuple[str, int, Path]] = []  # the same folders by path, with their numbers
        self._version = time.time_ns()  # not that of an earlier server
        self._searched = self._gone = False
        self._changed = threading.Condition()
        self._searching = threading.Lock()
        self._asked = threading.Event()
        self._last_request = 0.0
        self._ended_search = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Search in a thread of its own, until :meth:`close`."""
        self._thread = threading.Thread(target=self._watch, name="runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(5)

    def snapshot(self, patience: float = 0.7) -> Snapshot:
        """The runs as they are known.

        Args:
            patience: seconds to wait at most for the first :data:`FIRST` runs after the start.
        """
        self._last_request = time.monotonic()
        self._asked.set()
        with self._changed:
            self._changed.wait_for(self._has_first, patience)
            return Snapshot(dict(self._entries), len(self._places), self._version, self._pages, self._gone)

    def find(self, identity: str) -> Entry | None:
        """One run as it is now, by its ``id``; None: there is no such run.

        Only folders that were found are ever opened: what is asked for is not made into a path.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._searched or self._ended.is_set(), 2)
            place = self._places.get(identity)
        if place is None and time.monotonic() - self._ended_search > _RECENT:  # perhaps a new one
            with self._searching:
                self._find_folders()
            with self._changed:
                place = self._places.get(identity)
        if place is None or not place[0].is_dir():
            return None
        path, kind = place
        known = self._entries.get(identity)
        if kind != RUN and known is not None:
            return known  # kept up to date with its runs
        return self._update(path, kind, signature(self.folder, path))

    def refresh(self) -> None:
        """Search once."""
        with self._searching:
            found = self._find_folders()
        self._read_changed(found)

    def _has_first(self) -> bool:
        return self._ended.is_set() or (
            self._searched and len(self._entries) >= min(FIRST, len(self._places))
        )

    def _watch(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self.refresh()
            took = time.monotonic() - began
            self._asked.clear()
            if time.monotonic() - self._last_request > _WATCHED and not self._ended.is_set():
                self._asked.wait()
            else:
                self._ended.wait(max(_PAUSE, _SHARE * took))

    def _find_folders(self) -> list[tuple[Path, str]]:
        """Search for new folders, and forget those that are gone."""
        found = self._search.found()
        places = {self._search.identity(path): (path, kind) for path, kind in found}
        in_order = sorted((str(path), number, path) for number, (path, _) in enumerate(places.values()))
        pages, lost = self._search.pages(), not self.folder.is_dir()
        with self._changed:
            self._version += lost != self._gone
            self._gone = lost
            gone = self._entries.keys() - places.keys()
            for identity in gone:
                del self._entries[identity]
            self._version += bool(gone) or pages != self._pages or len(places) != len(self._places)
            self._pages, self._places, self._searched = pages, places, True
            self._sorted = in_order
            self._changed.notify_all()
        self._ended_search = time.monotonic()
        return found

    def _read_changed(self, found: Sequence[tuple[Path, str]]) -> None:
        """Read what is new or has changed."""
        members: dict[Path, list[Facts]] = defaultdict(list)
        for path, kind in sorted(found, key=lambda one: one[1] != RUN):  # groups after their runs
            if self._ended.is_set():
                return
            files = signature(self.folder, path)
            if path.parent.name in MEMBERS:
                members[path.parent.parent].append(files.facts)
            if kind != RUN:
                files = replace(files, members=tuple(members[path]))
            self._update(path, kind, files)

    def _update(self, path: Path, kind: str, files: Signature) -> Entry:
        """The entry of a folder, read if it is new or has changed."""
        with self._changed:
            known = self._entries.get(self._search.identity(path))
        if known is not None and known.files == files:
            run = known.run
            if run is None or run.state != RUNNING or is_locked(path):
                return known
        entry = self._read(path, kind != RUN, files)
        with self._changed:
            self._entries[entry.id] = entry
            self._version += 1
            self._changed.notify_all()
        return entry

    def _problem_below(self, group: Path) -> str:
        """A file of a group's runs that is not to be read: reading the group would read it."""
        with self._changed:
            known = self._sorted
        first, last = (bisect_left(known, (f"{group}{end}",)) for end in ("/", "0"))  # "0" follows "/"
        below = sorted(known[first:last], key=lambda one: one[1])  # as they were found, the newest first
        return next(filter(None, (signature(self.folder, path).problem for _, _, path in below)), "")

    def _read(self, path: Path, is_group: bool, files: Signature) -> Entry:
        run, problem = None, files.problem or (self._problem_below(path) if is_group else "")
        if not problem:
            try:
                run = _headline_only(read_group(path) if is_group else read_run(path, self.folder))
            except PneumoError as error:
                problem = problem_of(path, error).reason
            except Exception as error:  # files of any content must not end the search
                problem = with_type(error)
        if problem and not is_group and is_locked(path) and not (path / "run.toml").exists():
            problem = "the run is being started: it has no settings yet"
        if run is not None and is_group:
            run = replace(run, name=self._search.name(path))
        group = group_of(path)  # above the folder, if that is a group's folder of runs
        return Entry(
            id=self._search.identity(path),
            path=path,
            run=run,
            problem=problem,
            group=self._search.identity(group) if group and group.is_relative_to(self.folder) else "",
            is_group=is_group,
            files=files,
        )


def _headline_only(run: ListedRun) -> ListedRun:
    """A run without what lists do not show: of 5,000 runs that is 100 MB."""
    name = run.headline
    return replace(
        run,
        settings={},
        evaluations={
            split: {name: metrics[name]}
            for split, metrics in run.evaluations.items()
            if name in metrics and split in ("validation", "test", WHOLE)
        },
        intervals={split: {name: ends[name]} for split, ends in run.intervals.items() if name in ends},
        spread={split: {name: sds[name]} for split, sds in run.spread.items() if name in sds},
    )
