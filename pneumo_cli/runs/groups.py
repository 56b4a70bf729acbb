"""Groups of runs: the members that a recipe asks for, and those that are finished."""

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
        fold: the validation fold, from 1; 0 without folds.
        seed: of weights, order, augmentation and dropout.
    """

    name: str
    fold: int
    seed: int


def members_of(settings: TrainerSettings) -> tuple[GroupMember, ...]:
    """The members that settings ask for, in the order in which they run."""
    folds = [settings.fold] if settings.fold else list(range(1, settings.folds + 1)) or [0]
    members = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for fold in folds:
            words = [f"fold-{fold}"] if fold else []
            words += [f"seed-{seed}"] if settings.seeds > 1 else []
            members.append(GroupMember("-".join(words), fold, seed))
    return tuple(members)


def finished_members(registries: Registries, folder: GroupFolder) -> list[RunFolder]:
    """The folders of a group's members that have a report, in their order; a warning names the others.

    Raises:
        UsageError: the group's settings are damaged, or no member is finished.
    """
    members = members_of(reopen_settings(registries, folder, {}).trainer)
    folders = {member.name: folder.member(member.name) for member in members}
    done = [member for member in folders.values() if member.report_json.is_file()]
    if not done:
        raise UsageError(f"no member of {folder.path} is finished: pneumo resume {folder.path}")
    for name, member in folders.items():
        if not member.report_json.is_file():
            state = "is not finished" if member.path.is_dir() else "is missing"
            _log.warning(
                "%s of %d %s: %s predicts with the other %d; pneumo resume %s runs it",
                *(name, len(members), state, folder.path, len(done), folder.path),
            )
    return done


@dataclass(frozen=True)
class GroupResult:
    """The outcome of a group, for its report.

    Attributes:
        members: all that the group asks for.
        done: those that are finished, at least one.
        failures: why a member has no result, by its name.
        averages: whether the members are classifiers, which are evaluated as an ensemble.
        predicts: the numbers and masks that the members predict, if they are no classifiers.
        predictions: of each member, by split, then by member; empty without an ensemble.
        evaluations: of the ensemble, by split.
        records: of the dataset.
        test_accesses: to its test images; 0: none by this group, or not known.
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
    predicts: tuple[str, ...] = ()
