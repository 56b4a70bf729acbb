"""The test-set access log: which runs have been evaluated on which test images, how often, with which checkpoint.

A test set is unbiased only as long as nothing is selected by its results. pneumo selects nothing by them, but
people may, run after run. So each access is recorded, below the folder of imported datasets, under a fingerprint
of the images themselves. Further accesses are allowed, and their number is shown with the results.

All are recorded; those that may have spoilt a choice are counted. A choice is made between models for the same
task, so evaluations of models of other kinds (a GAN's, for a classifier) do not count, and the runs of one
reproduction are one look, as those of a group are. Nobody is warned about synthetic images.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.runs.folder import GROUP_SETTINGS, group_of
from pneumo_cli.runtime import atomic

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset
    from pneumo_cli.registry import Registries
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
        kind: of the models that were evaluated (``TrainerSpec.kind``); empty: not stated.
        part_of: the folder of the reproduction that the run is a part of; empty: of none.
    """

    when: str
    run: str
    checkpoint: str
    epoch: int
    by: str
    kind: str = ""
    part_of: str = ""


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
        access, again = access_now(group, checkpoint, run.settings.epochs, by, run.spec.kind), True
    else:
        epoch = run.best.epoch if by == "run" else run.epoch
        access = access_now(run.folder.path, checkpoint, epoch or 0, by, run.spec.kind)
        again = by == "run" and not run.folder.report_json.exists()
    run.test_accesses = record_access(
        run.machine.data_home, run.data.dataset, access, run.registries, again=again
    )
    if not run.test_accesses:
        run.note("this access to the test images could not be recorded: their number is not known")


def access_now(run: Path, checkpoint: str, epoch: int, by: str, kind: str) -> Access:
    """An access at this moment, by the run in the folder ``run``."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    path = run.absolute()
    part_of = _reproduction_of(path) if by == "run" else ""
    return Access(when, str(path), checkpoint, epoch, by, kind, part_of)


def record_access(
    home: Path, dataset: Dataset, access: Access, registries: Registries, *, again: bool = False
) -> int:
    """Record an access to a dataset's test images, and warn if it is not the first of models of its kind.

    Args:
        home: the folder of imported datasets.
        registries: of the trainers, whose kinds lines of earlier versions do not state.
        again: do not count an access that equals an earlier one in all but its time.

    Returns:
        the number of evaluations of this kind so far (:func:`count_accesses`); 0 if it could not be recorded.
    """
    log = AccessLog(home, fingerprint_of_test(dataset))
    try:
        accesses = log.all()
        if not (again and any(_same(access, other) for other in accesses)):
            accesses = log.add(access)
    except OSError as error:
        _log.warning("accesses to the test images cannot be recorded in %s: %s", log.path, error.strerror)
        return 0
    kinds = {name: entry.spec.kind for name, entry in registries.trainers.named().items()}
    count = count_accesses(accesses, access.kind, kinds)
    if count > 1 and not dataset.synthetic:
        _log.warning(
            "these test images have now been evaluated on %d times for the same task (%s): results are biased "
            "where models are selected by them",
            *(count, log.path),
        )
    return count


def count_accesses(accesses: Sequence[Access], kind: str, kinds: Mapping[str, str]) -> int:
    """The number of evaluations of models of one kind; the runs of a reproduction are one.

    A line of an earlier version counts unless its run shows that its kind was another: by its settings, or, where
    they are gone, by the trainer's name in its path.

    Args:
        kind: of the models.
        kinds: of the trainers' models, by the trainer's name.
    """
    looks: set[str | int] = set()
    for number, one in enumerate(accesses):
        if (one.kind or _kind_of(one, kinds) or kind) == kind:
            part_of = one.part_of or (_reproduction_of(Path(one.run)) if one.by == "run" else "")
            looks.add(part_of or number)
    return len(looks)


def _same(access: Access, other: Access) -> bool:
    """Whether two accesses are equal in all but their time; an older line has fewer fields."""
    same_time = replace(access, when=other.when)
    return (same_time if other.kind else replace(same_time, kind="", part_of="")) == other


def _kind_of(access: Access, kinds: Mapping[str, str]) -> str:
    """The kind of the models of a line that does not state it; empty where nothing shows it."""
    if access.by == "tstr":
        return "classifier"
    path = Path(access.run)
    for name in ("run.toml", GROUP_SETTINGS):
        try:
            trainer = tomllib.loads((path / name).read_text(encoding="utf-8"))["trainer"]
        except (OSError, ValueError, KeyError):
            continue
        return kinds.get(str(trainer), "")
    return kinds.get(path.parent.name, "")


def _reproduction_of(run: Path) -> str:
    """The folder of the reproduction that a run is a part of (``…/tasks/TRAINER/RUN``); empty: of none."""
    tasks = run.parent.parent
    return str(tasks.parent) if tasks.name == "tasks" and (tasks.parent / "plan.json").is_file() else ""


def _read(file: Path) -> list[Access]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [access for line in lines if (access := _parsed(line)) is not None]


def _parsed(line: str) -> Access | None:
    try:
        values: Any = json.loads(line)
        texts = {name: str(values[name]) for name in ("when", "run", "checkpoint", "by")}
        later = {name: str(values[name]) for name in ("kind", "part_of") if name in values}
        return Access(**texts, **later, epoch=int(values["epoch"]))
    except (ValueError, TypeError, KeyError):
        return None
