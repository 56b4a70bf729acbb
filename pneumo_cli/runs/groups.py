"""Groups of runs: which runs a recipe asks for, and which of them are finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.ensemble import Member
from pneumo_cli.runs.folder import GroupFolder, RunFolder
from pneumo_cli.runs.record import reopen_settings

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.evaluation.result import Evaluation
    from pneumo_cli.registry import Registries
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.settings.schema import TrainerSettings

_log = logging.getLogger("pneumo")


def makes_group(settings: TrainerSettings) -> bool:
    """Whether settings ask for several runs."""
    return settings.seeds > 1 or bool(settings.folds and not settings.fold)


@dataclass(frozen=True)
class Part:
    """One run of a group.

    Attributes:
        name: of its folder, such as ``fold-2-seed-43``.
        fold: which validates, from 1; 0: there are no folds.
        seed: of weights, order, augmentation and dropout.
    """

    name: str
    fold: int
    seed: int


def parts_of(settings: TrainerSettings) -> tuple[Part, ...]:
    """The parts that settings ask for, in the order in which they run."""
    folds = [settings.fold] if settings.fold else list(range(1, settings.folds + 1)) or [0]
    found = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for fold in folds:
            words = [f"fold-{fold}"] if fold else []
            words += [f"seed-{seed}"] if settings.seeds > 1 else []
            found.append(Part("-".join(words), fold, seed))
    return tuple(found)


def finished_parts(registries: Registries, folder: GroupFolder) -> list[RunFolder]:
    """The folders of a group's parts that have a report, in the order in which they ran; a warning names others.

    Raises:
        UsageError: the group's settings are damaged, or no part is finished.
    """
    parts = parts_of(reopen_settings(registries, folder, {}).trainer)
    found = {part.name: folder.part(part.name) for part in parts}
    done = [part for part in found.values() if part.report_json.is_file()]
    if not done:
        raise UsageError(f"no part of {folder.path} is finished: pneumo resume {folder.path}")
    for name, part in found.items():
        if not part.report_json.is_file():
            state = "is not finished" if part.path.is_dir() else "is missing"
            _log.warning(
                "%s of %d %s: %s answers by the other %d; pneumo resume %s runs it",
                *(name, len(parts), state, folder.path, len(done), folder.path),
            )
    return done


@dataclass(frozen=True)
class GroupResult:
    """What has become of a group, for its report.

    Attributes:
        folder: of the group.
        resolved: its settings.
        parts: all that it asks for.
        done: those that are finished, at least one.
        failures: why a part has no result, by its name.
        averages: whether the parts are classifiers, whose mean is evaluated.
        members: what each part says of its images, by split, then by part; empty where there is no mean.
        evaluations: of the mean, by split.
        records: of the dataset.
        looks: how often its test images have been looked at; 0: not by this group, or not known.
    """

    folder: GroupFolder
    resolved: Resolved
    parts: tuple[Part, ...]
    done: tuple[Part, ...]
    failures: Mapping[str, str]
    averages: bool
    members: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    records: Sequence[Record] = ()
    looks: int = 0
