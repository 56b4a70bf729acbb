"""The test-set access log: which runs have been evaluated on which test images, how often, with which checkpoint.

A test set is unbiased only as long as nothing is selected by its results. pneumo selects nothing by them, but
people may, run after run. So each access is recorded, below the folder of imported datasets, under a fingerprint
of the images themselves. Further accesses are allowed, and their number is shown with the results.
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
        run: the absolute folder of the run, or of the group that is evaluated as an ensemble.
        checkpoint: ``best`` or ``last``.
        epoch: of the checkpoint.
        by: the command: ``run``, ``evaluate``, ``evaluate-images`` or ``tstr``.
    """

    when: str
    run: str
    checkpoint: str
    epoch: int
    by: str


class AccessLog:
    """All accesses to one set of test images, in a file with one line per access.

    Args:
        home: the folder of imported datasets.
        fingerprint: of the test images.
    """

    def __init__(self, home: Path, fingerprint: str) -> None:
        name = f"{fingerprint[:32]}.jsonl"
        self.path = home / "test-access" / name
        self._earlier = home / "test-looks" / name  # of versions before 0.2

    def all(self) -> list[Access]:
        """Return the accesses in their order; damaged lines are ignored.

        Raises:
            OSError: an existing file cannot be read.
        """
        return [*_read(self._earlier), *_read(self.path)]

    def add(self, access: Access) -> list[Access]:
        """Record an access, and return all.

        Raises:
            OSError: the file cannot be written; its content is unchanged.
        """
        with self._locked():
            own = [*_read(self.path), access]
            atomic.write_text(self.path, "".join(json.dumps(asdict(one)) + "\n" for one in own))
        return [*_read(self._earlier), *own]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Serialise the writes of runs that end at the same moment."""
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
    """SHA-256, in hexadecimal, of the contents and labels of the test pool; names and folders do not matter."""
    contents = sorted(
        f"{record.digest} {','.join(map(str, record.labels or (record.label,)))}"
        for record in dataset.records
        if record.pool == "test"
    )
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def record_test_access(run: Run, checkpoint: str, *, by: str) -> None:
    """Record an access to a run's test images, and set the run's number of accesses.

    A run that was killed while it wrote its report evaluates again with the same weights: that is the same
    access. The runs of a group that are evaluated one by one, such as those of generative models, count as one
    access: none of them is selected, the result is their mean and spread.

    Args:
        checkpoint: the one that is evaluated, ``best`` or ``last``.
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
        run.note("this access to the test images could not be recorded: their number is not known")


def access_now(run: Path, checkpoint: str, epoch: int, by: str) -> Access:
    """An access at this moment, by the run in the folder ``run``."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Access(when, str(run.absolute()), checkpoint, epoch, by)


def record_access(home: Path, dataset: Dataset, access: Access, *, again: bool = False) -> int:
    """Record an access to a dataset's test images, and warn if it is not the first.

    Args:
        home: the folder of imported datasets.
        again: do not count an access that equals an earlier one in all but its time.

    Returns:
        the number of accesses so far; 0 if it could not be recorded.
    """
    log = AccessLog(home, fingerprint_of_test(dataset))
    try:
        accesses = log.all()
        if not (again and any(replace(access, when=other.when) == other for other in accesses)):
            accesses = log.add(access)
    except OSError as error:
        _log.warning("accesses to the test images cannot be recorded in %s: %s", log.path, error.strerror)
        return 0
    if len(accesses) > 1 and not dataset.synthetic:
        _log.warning(
            "this test set has now been evaluated on %d times (%s): results are biased where models are selected "
            "by them",
            *(len(accesses), log.path),
        )
    return len(accesses)


def _read(file: Path) -> list[Access]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [access for line in lines if (access := _parsed(line)) is not None]


def _parsed(line: str) -> Access | None:
    try:
        values: Any = json.loads(line)
        texts = {name: str(values[name]) for name in ("when", "run", "checkpoint", "by")}
        return Access(**texts, epoch=int(values["epoch"]))
    except (ValueError, TypeError, KeyError):
        return None
