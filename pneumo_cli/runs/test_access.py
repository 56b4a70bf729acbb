"""The seal of the test images: who has looked at them, how often, with which checkpoint.

A test set is worth what nobody has chosen by it. pneumo chooses nothing by it, but people do, run after run; so
each look is written down, below the folder of imported datasets, under a fingerprint of the very images, whatever
the dataset is called and wherever it lies. A further look is allowed, and counted where its numbers are shown.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.runs.folder import group_of
from pneumo_cli.runtime import atomic

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Look:
    """One look at test images.

    Attributes:
        when: in UTC, ISO 8601.
        run: the folder of the run, or of the group that looks as one, absolute.
        checkpoint: ``best`` or ``last``.
        epoch: after which it was written.
        by: what looked: ``run``, ``evaluate`` or ``judge``.
    """

    when: str
    run: str
    checkpoint: str
    epoch: int
    by: str


class Looks:
    """All looks at one set of test images, in a file of one line each.

    Args:
        home: the folder of imported datasets.
        fingerprint: of the test images.
    """

    def __init__(self, home: Path, fingerprint: str) -> None:
        self.path = home / "test-looks" / f"{fingerprint[:32]}.jsonl"

    def all(self) -> list[Look]:
        """Return the looks in their order; a line that is damaged is none.

        Raises:
            OSError: the file is there and cannot be read.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [look for line in lines if (look := _parsed(line)) is not None]

    def add(self, look: Look) -> list[Look]:
        """Write a look down, and return all.

        Raises:
            OSError: the file cannot be written; what it holds is as it was.
        """
        with self._alone():
            looks = [*self.all(), look]
            atomic.write_text(self.path, "".join(json.dumps(asdict(one)) + "\n" for one in looks))
        return looks

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let runs that end at the same moment wait for each other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fingerprint_of_test(dataset: Dataset) -> str:
    """SHA-256 over the contents and labels of the test pool, in hexadecimal; names and places do not matter."""
    contents = sorted(
        f"{record.digest} {record.label}" for record in dataset.records if record.pool == "test"
    )
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def open_test(run: Run, checkpoint: str, *, by: str) -> None:
    """Write a look at a run's test images down, and let the run know how many there have been.

    A run that was killed while it wrote its report looks again with the same weights: that is the same look. The
    parts of a group that judge test images each on its own, as those that make images do, are one look together:
    nobody chooses among them, their mean and spread is the result.

    Args:
        checkpoint: that is judged, ``best`` or ``last``.
        by: what looks, see :class:`Look`.
    """
    if not run.ranks.first:
        return
    group = group_of(run.folder.path) if by == "run" else None
    if group is not None:
        look, again = look_now(group, checkpoint, run.settings.epochs, by), True
    else:
        epoch = run.best.epoch if by == "run" else run.epoch
        look = look_now(run.folder.path, checkpoint, epoch or 0, by)
        again = by == "run" and not run.folder.report_json.exists()
    run.looks = write_down(run.machine.data_home, run.data.dataset, look, again=again)
    if not run.looks:
        run.note("this look at the test images could not be written down: how many there were is not known")


def look_now(run: Path, checkpoint: str, epoch: int, by: str) -> Look:
    """A look that happens now.

    Args:
        run: the run's folder.
    """
    return Look(datetime.now(UTC).isoformat(timespec="seconds"), str(run.absolute()), checkpoint, epoch, by)


def write_down(home: Path, dataset: Dataset, look: Look, *, again: bool = False) -> int:
    """Write a look at a dataset's test images down, and warn where it is not the first.

    Args:
        home: the folder of imported datasets.
        again: take an earlier look of the same run with the same checkpoint for this one.

    Returns:
        how many looks there have been; 0 where it could not be written down.
    """
    looks = Looks(home, fingerprint_of_test(dataset))
    try:
        known = looks.all()
        if not (again and any(_same(look, other) for other in known)):
            known = looks.add(look)
    except OSError as error:
        _log.warning("looks at the test images cannot be written down in %s: %s", looks.path, error.strerror)
        return 0
    if len(known) > 1 and not dataset.synthetic:
        _log.warning(
            "these test images have now been looked at %d times (%s): what is chosen by such looks is no longer "
            "tested by them",
            len(known),
            looks.path,
        )
    return len(known)


def _same(look: Look, other: Look) -> bool:
    """Whether two looks differ in nothing but when they were."""
    return replace(look, when=other.when) == other


def _parsed(line: str) -> Look | None:
    try:
        fields: Any = json.loads(line)
        return Look(**{name: kind(fields[name]) for name, kind in _FIELDS.items()})
    except (ValueError, TypeError, KeyError):
        return None


_FIELDS = {"when": str, "run": str, "checkpoint": str, "epoch": int, "by": str}
