"""Groups of runs: which runs a recipe asks for, and which of them are finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.ensemble import MemberPredictions
from pneumo_cli.runs.folder import GroupFolder, RunFolder
from pneumo_cli.runs.record import reopen_settings

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.evaluation.result import Evaluation
    from pneumo_cli.registry import Registries
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.settings.schema import TrainerSettings

_log = logging.getLogger("pneumo")


def asks_for_group(settings: TrainerSettings) -> bool:
    """Whether settings ask for several runs."""
    return settings.seeds > 1 or bool(settings.folds and not settings.fold)


@dataclass(frozen=True)
class GroupMember:
    """One run of a group.

    Attributes:
        name: of its folder, such as ``fold-2-seed-43``.
        fold: which validates, from 1; 0: there are no folds.
        seed: of weights, order, augmentation and dropout.
    """

    name: str
    fold: int
    seed: int


def members_of(settings: TrainerSettings) -> tuple[GroupMember, ...]:
    """The members that settings ask for, in the order in which they run."""
    folds = [settings.fold] if settings.fold else list(range(1, settings.folds + 1)) or [0]
    found = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for fold in folds:
            words = [f"fold-{fold}"] if fold else []
            words += [f"seed-{seed}"] if settings.seeds > 1 else []
            found.append(GroupMember("-".join(words), fold, seed))
    return tuple(found)


def finished_members(registries: Registries, folder: GroupFolder) -> list[RunFolder]:
    """The folders of a group's members that have a report, in the order in which they ran; a warning names others.

    Raises:
        UsageError: the group's settings are damaged, or no member is finished.
    """
    members = members_of(reopen_settings(registries, folder, {}).trainer)
    found = {member.name: folder.member(member.name) for member in members}
    done = [member for member in found.values() if member.report_json.is_file()]
    if not done:
        raise UsageError(f"no member of {folder.path} is finished: pneumo resume {folder.path}")
    for name, member in found.items():
        if not member.report_json.is_file():
            state = "is not finished" if member.path.is_dir() else "is missing"
            _log.warning(
                "%s of %d %s: %s answers by the other %d; pneumo resume %s runs it",
                *(name, len(members), state, folder.path, len(done), folder.path),
            )
    return done


@dataclass(frozen=True)
class GroupResult:
    """What has become of a group, for its report.

    Attributes:
        folder: of the group.
        resolved: its settings.
        members: all that it asks for.
        done: those that are finished, at least one.
        failures: why a member has no result, by its name.
        averages: whether the members are classifiers, whose mean is evaluated.
        members: what each member says of its images, by split, then by member; empty where there is no mean.
        evaluations: of the mean, by split.
        records: of the dataset.
        test_accesses: how often its test images have been looked at; 0: not by this group, or not known.
    """

    folder: GroupFolder
    resolved: Resolved
    members: tuple[GroupMember, ...]
    done: tuple[GroupMember, ...]
    failures: Mapping[str, str]
    averages: bool
    predictions: Mapping[str, Mapping[str, MemberPredictions]] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    records: Sequence[Record] = ()
    test_accesses: int = 0
