"""The trials of a stage of a sweep as an Optuna study, and who works on which of them.

All trials are made when the sweep begins. A worker claims one by writing itself into the trial's attribute
``owner`` in one statement of the database, which succeeds only if the attribute is as the worker has read it. So no
two workers have one trial, with any database and on any machine. (Optuna's own change of state is not atomic in
SQLite.)
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialUserAttributeModel
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from pneumo_cli.errors import UsageError
from pneumo_sweep.plan import TRIALS, Plan, trial_name
from pneumo_sweep.space import Choices, Dimension
from pneumo_sweep.storage import quiet

_OWNER, _SETTINGS, _FOLDER, REASON = "owner", "settings", "folder", "reason"
"""Attributes of a trial."""
_FREE = ""
"""The owner of a trial whose worker has stopped in good order."""
BEAT_SECONDS = 20.0
"""How often a worker says that it is alive."""
SILENT_SECONDS = 120.0
"""After how long a silent worker of another machine is taken for dead."""

FINISHED, FAILED, PRUNED = "finished", "failed", "pruned"
STATES = {TrialState.COMPLETE: FINISHED, TrialState.FAIL: FAILED, TrialState.PRUNED: PRUNED}
_RESULTS = {name: state for state, name in STATES.items()}


class Slot(NamedTuple):
    """What one trial of a stage is to run: settings by name, and its folder in that of the sweep."""

    settings: Mapping[str, Any]
    folder: str


class Stage:
    """One stage: the trials of the sweep, or the repetitions of its best settings.

    Args:
        storage: the database.
        name: of the study.
        plan: of the sweep.
        epochs: of a run.
    """

    def __init__(self, storage: RDBStorage, name: str, plan: Plan, epochs: int) -> None:
        self.storage, self.plan, self.name = storage, plan, name
        with quiet():
            self.study = optuna.load_study(
                study_name=name, storage=storage, sampler=_sampler(plan, 0), pruner=_pruner(plan, epochs)
            )

    @classmethod
    def create(
        cls,
        storage: RDBStorage,
        name: str,
        plan: Plan,
        epochs: int,
        slots: list[Slot],
        facts: Mapping[str, Any],
    ) -> Stage:
        """Make the study of a stage with all its trials, or what is left to make of it.

        Args:
            facts: about the sweep, to recognize the study by.

        Raises:
            UsageError: there is a study of this name that belongs to something else.
        """
        with quiet():
            existing = {
                one.study_name for one in optuna.get_all_study_summaries(storage, include_best_trial=False)
            }
            if name not in existing:
                direction = StudyDirection.MAXIMIZE if plan.mode == "max" else StudyDirection.MINIMIZE
                study = optuna.create_study(storage=storage, study_name=name, direction=direction)
                study.set_user_attr("pneumo", dict(facts))
            stage = cls(storage, name, plan, epochs)
        stage.check(facts)
        for slot in slots[len(stage.trials()) :]:
            stage._add(slot)
        return stage

    def check(self, facts: Mapping[str, Any]) -> None:
        """Check that the study is that of this sweep.

        Raises:
            UsageError: it is not.
        """
        recorded = self.study.user_attrs.get("pneumo")
        if recorded != json.loads(json.dumps(facts)):
            kind = "another sweep" if recorded else "another program"
            raise UsageError(
                f"the storage has a study {self.name!r} of {kind}, with another trainer, search space or metric: "
                "name another storage with --storage"
            )

    def _add(self, slot: Slot) -> None:
        """Add a trial. Settings that are not known before it begins (of TPE) are left out."""
        dimensions = {one.name: one for one in self.plan.space.dimensions}
        known = {name: value for name, value in slot.settings.items() if name in dimensions}
        self.study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=known,
                distributions={name: distribution(dimensions[name]) for name in known},
                user_attrs={_SETTINGS: dict(slot.settings), _FOLDER: slot.folder},
            )
        )

    def trials(self) -> list[FrozenTrial]:
        """All trials as the database has them now, by number."""
        with quiet():
            return self.study.get_trials(deepcopy=False)

    def unfinished(self) -> list[FrozenTrial]:
        """Those without a result."""
        return [one for one in self.trials() if not one.state.is_finished()]

    def swap_owner(self, trial: FrozenTrial, before: str | None, after: str) -> bool:
        """Write the owner of a trial, if it still is ``before``; return whether it was."""
        table = TrialUserAttributeModel.__table__
        with self.storage.engine.begin() as connection:
            if before is None:
                row = {"trial_id": trial._trial_id, "key": _OWNER, "value_json": json.dumps(after)}
                with suppress(IntegrityError):
                    connection.execute(insert(table).values(**row))
                    return True
                return False
            changed = connection.execute(
                update(table)
                .where(table.c.trial_id == trial._trial_id, table.c.key == _OWNER)
                .where(table.c.value_json == json.dumps(before))
                .values(value_json=json.dumps(after))
            )
            return bool(changed.rowcount == 1)

    def begin(self, trial: FrozenTrial) -> Slot:
        """Note that a claimed trial runs; return what it is to run. Draws what TPE is to choose."""
        if trial.state == TrialState.WAITING:
            self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        settings = dict(trial.user_attrs[_SETTINGS])
        if self.plan.sampler == "tpe" and self.name.endswith(f"/{TRIALS}"):
            with quiet():
                settings |= self._chosen(trial)
            self.storage.set_trial_user_attr(trial._trial_id, _SETTINGS, settings)
        return Slot(settings, trial.user_attrs[_FOLDER])

    def _chosen(self, trial: FrozenTrial) -> dict[str, Any]:
        self.study.sampler = _sampler(self.plan, trial.number)
        live = Trial(self.study, trial._trial_id)
        chosen = {}
        for one in self.plan.space.search:
            if isinstance(one, Choices):
                chosen[one.name] = live.suggest_categorical(one.name, list(one.values))
            elif one.whole:
                chosen[one.name] = live.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
            else:
                value = live.suggest_float(one.name, one.low, one.high, log=one.log)
                chosen[one.name] = one.rounded(value)
        return chosen

    def report(self, trial: FrozenTrial, epoch: int, value: float) -> bool:
        """Report the metric after an epoch; return whether the trial is to be pruned."""
        with quiet():
            self.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return self.study.pruner.prune(self.study, self.storage.get_trial(trial._trial_id))

    def finish(self, trial: FrozenTrial, state: str, value: float | None, reason: str = "") -> None:
        """Record a result: ``finished`` or ``pruned`` with its value, or ``failed`` with the reason."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # by one that took this worker for dead
            if reason:
                self.storage.set_trial_user_attr(trial._trial_id, REASON, reason)
            values = None if value is None else [value]
            self.storage.set_trial_state_values(trial._trial_id, _RESULTS[state], values)


def slots_of(plan: Plan) -> list[Slot]:
    """The trials of a sweep."""
    draws = plan.space.grid_settings if plan.sampler == "tpe" else None
    return [
        Slot(draws(number) if draws else plan.space.settings(plan.seed, number), trial_name(number))
        for number in range(plan.trials)
    ]


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna knows it."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _sampler(plan: Plan, number: int) -> BaseSampler:
    """TPE draws by the trials that are finished, the seed and the number of the trial."""
    if plan.sampler == "tpe":
        return TPESampler(seed=(plan.seed + 1_000_003 * number) % 2**32, constant_liar=True)
    return RandomSampler(seed=0)  # never asked


def _pruner(plan: Plan, epochs: int) -> BasePruner:
    if plan.prune == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    if plan.prune == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(1, epochs))
    return NopPruner()


class Presence:
    """One worker's name, by which others tell whether it is alive.

    On one machine the lock of its file says so, which ends with the process; a worker elsewhere is alive as long as
    what it writes to the database changes.

    Args:
        folder: of the workers' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._host = folder, "-".join(socket.gethostname().split()) or "unnamed"
        self._token, self._beats = secrets.token_hex(6), 0
        self._seen: dict[int, tuple[str, float]] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Presence:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self._folder / f"{self._token}.lock", "w")
        if self._file is not None:
            print(os.getpid(), file=self._file, flush=True)  # for people who look for the process
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            self._file.close()
        (self._folder / f"{self._token}.lock").unlink(missing_ok=True)

    def signature(self) -> str:
        """The value of the attribute ``owner``; another one at each call."""
        self._beats += 1
        return f"{self._host} {self._token} {self._beats}"

    def is_free(self, trial: FrozenTrial, now: Callable[[], float] = time.monotonic) -> bool:
        """Whether nobody works on an unfinished trial."""
        owner = owner_of(trial)
        if not owner:
            return True
        host, token, _ = owner.split(" ")
        if host == self._host:
            return not is_alive(self._folder / f"{token}.lock")
        seen, since = self._seen.get(trial.number, ("", 0.0))
        if seen != owner:
            self._seen[trial.number] = owner, now()
            return False
        return now() - since > SILENT_SECONDS


def owner_of(trial: FrozenTrial) -> str | None:
    """Who works on a trial: host, worker and a count; empty: nobody any more; None: nobody yet."""
    owner = trial.user_attrs.get(_OWNER)
    return None if owner is None else str(owner)


def is_alive(file: Path) -> bool:
    """Whether the process that made a worker's file still holds its lock."""
    lock = _locked(file, "r")
    if lock is not None:
        lock.close()
        return False
    return file.exists()


def _locked(file: Path, mode: str) -> IO[str] | None:
    """The file, locked until it is closed; None: another process has the lock, or there is no file."""
    try:
        handle: IO[str] = file.open(mode)
    except FileNotFoundError:
        return None
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no such locks on this system
        pass
    except OSError:
        handle.close()
        return None
    return handle
