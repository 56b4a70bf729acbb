"""The test-set access log: who has evaluated on which test images, how often, with which checkpoint.

A test set is worth what nobody has chosen by it. pneumo chooses nothing by it, but people do, run after run; so
each access is recorded, below the folder of imported datasets, under a fingerprint of the very images, whatever
the dataset is called and wherever it lies. A further access is allowed, and counted where its numbers are
shown.
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
class Access:
    """One access to test images.

    Attributes:
        when: in UTC, ISO 8601.
        run: the folder of the run, or of the group that is evaluated as an ensemble, absolute.
        checkpoint: ``best`` or ``last``.
        epoch: after which it was written.
        by: the command: ``run``, ``evaluate``, ``evaluate-images`` or ``tstr``.
    """

    when: str
    run: str
    checkpoint: str
    epoch: int
    by: str


class AccessLog:
    """All accesses to one set of test images, in a file of one line each.

    Args:
        home: the folder of imported datasets.
        fingerprint: of the test images.
    """

    def __init__(self, home: Path, fingerprint: str) -> None:
        name = f"{fingerprint[:32]}.jsonl"
        self.path = home / "test-access" / name
        self._earlier = home / "test-looks" / name  # of versions before 0.2

    def all(self) -> list[Access]:
        """Return the accesses in their order; a line that is damaged is none.

        Raises:
            OSError: the file is there and cannot be read.
        """
        return [*_read(self._earlier), *_read(self.path)]

    def add(self, access: Access) -> list[Access]:
        """Record an access, and return all.

        Raises:
            OSError: the file cannot be written; what it holds is as it was.
        """
        with self._alone():
            own = [*_read(self.path), access]
            atomic.write_text(self.path, "".join(json.dumps(asdict(one)) + "\n" for one in own))
        return [*_read(self._earlier), *own]

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


def record_test_access(run: Run, checkpoint: str, *, by: str) -> None:
    """Record an access to a run's test images, and let the run know how many there have been.

    A run that was killed while it wrote its report evaluates again with the same weights: that is the same
    access. The runs of a group that are evaluated one by one, as those that make images are, are one access
    together: nobody chooses among them, their mean and spread is the result.

    Args:
        checkpoint: that is evaluated, ``best`` or ``last``.
        by: see :class:`Access`.
    """
    if not run.ranks.first:
        return
    group = group_of(run.folder.path) if by == "run" else None
    if group is not None:
        access, again = access_now(group, checkpoint, run.settings.epochs, by), True
    else:
        epoch = run.best.epoch if by == "run" else run.epoch
        access = access_now(run.folder.path, checkpoint, epoch or 0, by)
        again = by == "run" and not run.folder.report_json.exists()
    run.test_accesses = record_access(run.machine.data_home, run.data.dataset, access, again=again)
    if not run.test_accesses:
        run.note("this access to the test images could not be recorded: how many there were is not known")


def access_now(run: Path, checkpoint: str, epoch: int, by: str) -> Access:
    """An access that happens now.

    Args:
        run: the run's folder.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Access(when, str(run.absolute()), checkpoint, epoch, by)


def record_access(home: Path, dataset: Dataset, access: Access, *, again: bool = False) -> int:
    """Record an access to a dataset's test images, and warn where it is not the first.

    Args:
        home: the folder of imported datasets.
        again: take an earlier access of the same run with the same checkpoint for this one.

    Returns:
        how many accesses there have been; 0 where it could not be recorded.
    """
    log = AccessLog(home, fingerprint_of_test(dataset))
    try:
        known = log.all()
        if not (again and any(_same(access, other) for other in known)):
            known = log.add(access)
    except OSError as error:
        _log.warning("accesses to the test images cannot be recorded in %s: %s", log.path, error.strerror)
        return 0
    if len(known) > 1 and not dataset.synthetic:
        _log.warning(
            "this test set has now been evaluated on %d times (%s): what is chosen by such numbers is no longer "
            "tested by them",
            len(known),
            log.path,
        )
    return len(known)


def _same(access: Access, other: Access) -> bool:
    """Whether two accesses differ in nothing but when they were."""
    return replace(access, when=other.when) == other


def _read(file: Path) -> list[Access]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [access for line in lines if (access := _parsed(line)) is not None]


def _parsed(line: str) -> Access | None:
    try:
        fields: Any = json.loads(line)
        return Access(**{name: kind(fields[name]) for name, kind in _FIELDS.items()})
    except (ValueError, TypeError, KeyError):
        return None


_FIELDS = {"when": str, "run": str, "checkpoint": str, "epoch": int, "by": str}
