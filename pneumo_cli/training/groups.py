"""A group: one recipe carried out as several runs (folds, seeds, or both), and what they say together.

The members are ordinary runs in the group's folder, one after the other; the folder's state is theirs, so that a
group that was killed anywhere goes on where it was: finished members are kept, an interrupted one resumes to the
same bits, the others follow. Members that are classifiers leave the test images sealed: these are opened once, when
all members are there, by the mean of the members (:mod:`pneumo_cli.evaluation.ensemble`), which is one access. Of a
task that has no such mean each member is evaluated by itself, one access each. What a reader sees of it is
:mod:`pneumo_cli.reports.group_report`.
"""

from __future__ import annotations

import gc
import logging
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from pneumo_cli.errors import Interrupted, PneumoError
from pneumo_cli.evaluation.ensemble import MemberPredictions
from pneumo_cli.inference.ensemble import evaluate_ensemble
from pneumo_cli.runs.folder import GroupFolder, RunFolder
from pneumo_cli.runs.groups import GroupMember, GroupResult, members_of
from pneumo_cli.runs.record import finished_epochs, recorded_facts
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runs.test_access import access_now, record_access
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.trainers.session import make_trainer, set_up
from pneumo_cli.training.reevaluation import predict_members
from pneumo_cli.training.runner import Runner, open_runner

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.plugins.discovery import Plugins

_log = logging.getLogger("pneumo")
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Group:
    """One group, new or taken up again.

    Args:
        plugins: everything that is installed.
        resolved: the settings of the group.
        progress: where long steps are shown.
        ranks: the processes that share each member.
        command: the command line, for the record.
        folder: of an existing group; None: a new one, which is made when the first member is sure to begin.

    Attributes:
        failures: why a member has no result, by its name; of the latest attempt.
    """

    def __init__(
        self,
        plugins: Plugins,
        resolved: Resolved,
        progress: Progress,
        ranks: Ranks,
        command: list[str],
        folder: GroupFolder | None = None,
    ) -> None:
        self.resolved = resolved
        self.members = members_of(resolved.trainer)
        self.failures: dict[str, str] = {}
        self._plugins, self._progress, self._ranks, self._command = plugins, progress, ranks, command
        self._folder = folder
        self._locked: IO[str] | None = None
        self._signals = _Signals()

    @property
    def folder(self) -> GroupFolder:
        """The group's folder, once it stands."""
        if self._folder is None:
            raise RuntimeError("the group has no folder yet")
        return self._folder

    @property
    def complete(self) -> bool:
        """Whether all members are done."""
        return all(self.done(member) for member in self.members)

    def reported(self) -> bool:
        """Whether there is a report of all members, with as many epochs as are asked for."""
        try:
            report = read_report(self.folder.report_json)
            states = {member["name"]: (member["state"], member["epochs"]) for member in report["members"]}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        wanted = ("finished", self.resolved.trainer.epochs)
        return all(states.get(member.name) == wanted for member in self.members)

    def done(self, member: GroupMember) -> bool:
        """Whether a member is finished, with as many epochs as are asked for."""
        epochs = finished_epochs(self.folder.member(member.name))
        return epochs is not None and epochs >= self.resolved.trainer.epochs

    def carry_out(self) -> None:
        """Run what is left to run, then gather. Every rank calls it.

        Raises:
            UsageError: the first member cannot begin; nothing is written then.
            PneumoError: a member failed; the others have been carried out and gathered.
            Interrupted: the group was told to stop, and has saved itself.
        """
        with self._signals:
            try:
                if self._folder is not None:
                    self._lock()
                    if self._ranks.first:
                        self.record(recorded_facts(self.folder.settings))
                for number, member in enumerate(self.members, 1):
                    if self._folder is None or not self.done(member):
                        self._say(f"member {number} of {len(self.members)}: {member.name}")
                        self._attempt(member)
                self._gather()
            except Interrupted as error:
                where = f"; go on with: pneumo resume {self._folder.path}" if self._folder is not None else ""
                raise Interrupted(f"{str(error).partition(';')[0]}{where}", error.exit_code) from None
            finally:
                if self._locked is not None:
                    self._locked.close()
        if self.failures:
            name, reason = next(iter(self.failures.items()))
            raise PneumoError(
                f"{len(self.failures)} of {len(self.members)} members failed ({name}: {reason}); the others are "
                f"gathered in {self.folder.path}; to try again: pneumo resume {self.folder.path}"
            )

    def _attempt(self, member: GroupMember) -> None:
        """Carry out one member, or what is left of it; a failure is recorded, and the next member's turn
        comes."""
        try:
            self._carry_out(member)
        except Interrupted:
            raise
        except Exception as error:
            self._signals.look()
            # Ranks that fail one by one would wait for each other: there the group ends, and resumes.
            if self._folder is None or self._ranks.world > 1:
                raise
            reason = str(error) if isinstance(error, PneumoError) else f"{type(error).__name__}: {error}"
            self.failures[member.name] = " ".join(reason.split())
            _log.warning("%s failed: %s", member.name, self.failures[member.name])
        finally:
            _free_memory()

    def _carry_out(self, member: GroupMember) -> None:
        runner = self.runner(member)
        folder = self._folder.member(member.name) if self._folder is not None else None
        if folder is not None and (folder.checkpoints / "last.pt").is_file():
            runner.resume(folder)
        else:
            runner.start(partial(self._make_folder, member))
            self._folder = self._folder or GroupFolder(runner.run.folder.path.parent.parent)
        # One that came when the member was as good as done.
        self._signals.look(runner.told)

    def runner(self, member: GroupMember) -> Runner:
        """What carries out a member, or evaluates it again."""
        setup = set_up(self._plugins, self.settings_of(member))
        runner = open_runner(
            setup,
            self._plugins.observing(),
            progress=self._progress,
            ranks=self._ranks,
            command=self._command,
        )
        self._signals.look()
        return runner

    def settings_of(self, member: GroupMember) -> Resolved:
        """The settings of a member: with them ``pneumo run`` does the same again, alone."""
        group = self.resolved
        own = {"fold": member.fold, "seed": member.seed, "seeds": 1}
        if self.averages:
            own["evaluate_test"] = False
        origins = {**group.origins, **dict.fromkeys(own, "group")}
        trainer = group.trainer.model_copy(update=own)
        return Resolved(group.entry, group.preset, trainer, group.machine, origins)

    @cached_property
    def averages(self) -> bool:
        """Whether the members are classifiers, whose mean is evaluated."""
        return make_trainer(self.resolved).as_classifier() is not None

    def _make_folder(self, member: GroupMember) -> RunFolder:
        """Make a member's folder, the group's before it; on the first rank."""
        if self._folder is None:
            kind = "folds" if self.resolved.trainer.folds else "seeds"
            folder = GroupFolder.create(self.resolved.machine.output, self.resolved.entry.spec.name, kind)
            self._folder = folder
            self._lock()
            self.record({"trainer": self.resolved.entry.qualified_name, "started": _now()})
        made = self.folder.member(member.name)
        # Left behind by a member that ended before its first checkpoint: there is nothing in it to go on with.
        if made.path.exists():
            shutil.rmtree(made.path)
        made.path.mkdir(parents=True)
        return made

    def _lock(self) -> None:
        if self._ranks.first:
            self._locked = self.folder.lock()

    def record(self, facts: Mapping[str, Any]) -> None:
        """Write the group's settings.

        Args:
            facts: for the table ``[run]``.

        Raises:
            PneumoError: the folder cannot be written.
        """
        try:
            atomic.write_text(self.folder.settings, self.resolved.to_toml(facts))
        except OSError as error:
            raise PneumoError(f"{self.folder.path} cannot be written: {error.strerror}") from error

    def _gather(self) -> None:
        """Evaluate the ensemble, and write the report."""
        from pneumo_cli.reports.group_report import write_group_report

        done = tuple(member for member in self.members if self.done(member))
        if not done:
            return
        result = GroupResult(
            folder=self.folder,
            resolved=self.resolved,
            members=self.members,
            done=done,
            failures=self.failures,
            averages=self.averages,
        )
        if self.averages:
            result = self._with_ensemble(result)
        if self._ranks.first:
            write_group_report(result)
        self._ranks.barrier()

    def _with_ensemble(self, result: GroupResult) -> GroupResult:
        """Add what the ensemble predicts of the images that each member keeps; of the test images only if all are
        finished."""
        opened = len(result.done) == len(self.members) and self.resolved.trainer.evaluate_test
        predictions: dict[str, dict[str, MemberPredictions]] = {}
        records: Sequence[Record] = ()
        test_accesses = 0
        for member in result.done:
            runner = self.runner(member)
            split = runner.run.data.split
            records = runner.run.data.dataset.records
            wanted = ["validation"] if len(split.validation) else []
            if opened and len(split.test):
                if not test_accesses and self._ranks.first:
                    test_accesses = self._record_test_access(runner)
                wanted.append("test")
            found = predict_members(runner, self.folder.member(member.name), "best", wanted)
            for name, found_of in found.items():
                predictions.setdefault(name, {})[member.name] = found_of
            del runner
            _free_memory()
        evaluations = {}
        if self._ranks.first:
            seed = self.resolved.trainer.seed
            evaluations = {
                split: evaluate_ensemble(list(of.values()), records, seed=seed)
                for split, of in predictions.items()
            }
        return replace(
            result,
            predictions=predictions,
            evaluations=evaluations,
            records=records,
            test_accesses=test_accesses,
        )

    def _record_test_access(self, runner: Runner) -> int:
        """Record one access for the whole group; that of a group that was killed at this point is the same."""
        return record_access(
            self.resolved.machine.data_home,
            runner.run.data.dataset,
            access_now(self.folder.path, "best", self.resolved.trainer.epochs, "run"),
            again=not self.folder.report_json.exists(),
        )

    def _say(self, text: str) -> None:
        if self._ranks.first:
            _log.log(NOTICE, "%s", text)


class _Signals:
    """Lets a signal end the group where no member is under way: what is done is on the disk, so nothing is lost.

    While a member runs, the member's own handlers are in force, which let it save
    (:mod:`pneumo_cli.runtime.signals`). Between two members plugins are imported and datasets opened, by code
    that takes every exception for a failure of what it calls; so what came is remembered, and looked for when
    that is over.
    """

    def __init__(self) -> None:
        self._number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in _SIGNALS:
            try:
                self._before[number] = signal.signal(number, self._stop)
            except ValueError:  # only the main thread can take signals
                break

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        self.look()

    def look(self, told: int = 0) -> None:
        """Leave, if a signal came.

        Args:
            told: the number of one that somebody else noted; 0: none.

        Raises:
            Interrupted: it did.
        """
        self._number = self._number or told
        if self._number:
            raise Interrupted("stopped between two members", 128 + self._number)


def _free_memory() -> None:
    """Give back what the last member held: a member is as large as a run, and hooks and traces refer to each
    other."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
