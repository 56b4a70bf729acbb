"""A group: one recipe carried out as several runs (folds, seeds, or both), with one report.

The members are ordinary runs in the group's folder, one after the other, and all state is in their folders. So a
group that was killed anywhere resumes there: finished members are kept, an interrupted one resumes to the same
bits, the others follow. Classifiers do not evaluate the test images as members: their ensemble
(:mod:`pneumo_cli.evaluation.ensemble`) does, once all are finished, which is one test-set access. Members of other
tasks each evaluate the test images themselves, as only their trainer can compute its metrics. The report:
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
from pneumo_cli.runs.record import files_of, finished_epochs, recorded_facts, registered_parts
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runs.test_access import access_now, record_access
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.runtime.signals import callers_interruption
from pneumo_cli.settings.resolve import Resolved, plain_values
from pneumo_cli.trainers.session import make_trainer, set_up
from pneumo_cli.training.estimate import say_if_long
from pneumo_cli.training.reevaluation import predict_members
from pneumo_cli.training.runner import Runner, open_runner

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.plugins.discovery import Plugins

_log = logging.getLogger("pneumo")
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Group:
    """One group of runs, new or resumed.

    Args:
        plugins: everything that is installed.
        taking_part: the plugins and objects that take part in each member, beside its trainer.
        resolved: the settings of the group.
        progress, ranks, command: as for :func:`pneumo_cli.training.runner.open_runner`.
        folder: of an existing group; None: a new one, made when the first member has passed all its checks.

    Attributes:
        failures: why a member failed in this attempt, by its name.
    """

    def __init__(
        self,
        plugins: Plugins,
        taking_part: Sequence[tuple[Any, ...]],
        resolved: Resolved,
        progress: Progress,
        ranks: Ranks,
        command: list[str],
        folder: GroupFolder | None = None,
    ) -> None:
        self.resolved = resolved
        self.members = members_of(resolved.trainer)
        self.failures: dict[str, str] = {}
        self._taking_part = taking_part
        self._plugins, self._progress, self._ranks, self._command = plugins, progress, ranks, command
        self._folder = folder
        self._lock_file: IO[str] | None = None
        self._interruption = _Interruption()

    @property
    def folder(self) -> GroupFolder:
        """The group's folder, once it exists."""
        if self._folder is None:
            raise RuntimeError("the group has no folder yet")
        return self._folder

    @property
    def complete(self) -> bool:
        """Whether all members are finished."""
        return all(self.finished(member) for member in self.members)

    def finished(self, member: GroupMember) -> bool:
        """Whether a member has a report of at least as many epochs as the settings ask for."""
        epochs = finished_epochs(self.folder.member(member.name))
        return epochs is not None and epochs >= self.resolved.trainer.epochs

    def reported(self) -> bool:
        """Whether the group's report covers all members, with as many epochs as the settings ask for."""
        try:
            report = read_report(self.folder.report_json)
            states = {member["name"]: (member["state"], member["epochs"]) for member in report["members"]}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        wanted = ("finished", self.resolved.trainer.epochs)
        return all(states.get(member.name) == wanted for member in self.members)

    def carry_out(self) -> None:
        """Run the members that are left, then evaluate the ensemble and report. Every rank calls it.

        Raises:
            UsageError: the first member cannot start; nothing is written.
            PneumoError: a member failed; the others have been run and reported.
            Interrupted: a signal stopped the group, which has saved its state.
        """
        with self._interruption:
            try:
                if self._folder is not None and self._ranks.first:
                    self._lock(recorded_facts(self._folder.settings))
                for number, member in enumerate(self.members, 1):
                    if self._folder is None or not self.finished(member):
                        if self._ranks.first:
                            _log.log(NOTICE, "member %d of %d: %s", number, len(self.members), member.name)
                        self._try_member(member)
                self._report()
            except Interrupted as error:
                hint = f"; go on with: pneumo resume {self._folder.path}" if self._folder is not None else ""
                raise Interrupted(f"{str(error).partition(';')[0]}{hint}", error.exit_code) from None
            finally:
                if self._lock_file is not None:
                    self._lock_file.close()
        if self.failures:
            name, reason = next(iter(self.failures.items()))
            others = f"the report of the others is in {self.folder.path}; "
            raise PneumoError(
                f"{len(self.failures)} of {len(self.members)} members failed ({name}: {reason}); "
                f"{others if any(map(self.finished, self.members)) else ''}"
                f"to try again: pneumo resume {self.folder.path}"
            )

    def _try_member(self, member: GroupMember) -> None:
        """Run one member; if it fails, record why and let the next one run."""
        try:
            self._run_member(member)
        except Interrupted:
            raise
        except Exception as error:
            self._interruption.check()
            # Ranks that fail one by one would wait for each other: with several, the group ends and can be resumed.
            if self._folder is None or self._ranks.world > 1:
                raise
            reason = str(error) if isinstance(error, PneumoError) else f"{type(error).__name__}: {error}"
            self.failures[member.name] = " ".join(reason.split())
            _log.warning("%s failed: %s", member.name, self.failures[member.name])
        finally:
            _free_memory()

    def _run_member(self, member: GroupMember) -> None:
        """Start a member, or resume it from its last checkpoint."""
        runner = self._open(member)
        folder = self._folder.member(member.name) if self._folder is not None else None
        if folder is not None and (folder.checkpoints / "last.pt").is_file():
            runner.resume(folder)
        else:
            if self._folder is None and self._ranks.first:
                say_if_long(runner.run, len(self.members))
            runner.start(partial(self._make_member_folder, member))
            self._folder = self._folder or GroupFolder(runner.run.folder.path.parent.parent)
        self._interruption.check(runner.interrupted)  # by a signal after the member's last check

    def _open(self, member: GroupMember) -> Runner:
        """Open the run of a member, without starting it."""
        runner = open_runner(
            set_up(self._plugins, self._settings_of(member)),
            self._taking_part,
            progress=self._progress,
            ranks=self._ranks,
            command=self._command,
        )
        self._interruption.check()
        return runner

    def _settings_of(self, member: GroupMember) -> Resolved:
        """The settings of a member; ``pneumo run`` with them repeats the member alone."""
        group = self.resolved
        own = {"fold": member.fold, "seed": member.seed, "seeds": 1}
        if self._averages:
            own["evaluate_test"] = False
        origins = {**group.origins, **dict.fromkeys(own, "group")}
        trainer = group.trainer.model_copy(update=own)
        return replace(group, trainer=trainer, origins=origins)

    @cached_property
    def _averages(self) -> bool:
        """Whether the members are classifiers, whose ensemble is evaluated."""
        return make_trainer(self.resolved).as_classifier() is not None

    def _predicts(self) -> tuple[str, ...]:
        """The numbers and masks that the members predict."""
        predictor = make_trainer(self.resolved).as_predictor()
        return () if predictor is None else tuple(predictor.units)

    def _make_member_folder(self, member: GroupMember) -> RunFolder:
        """Make a member's folder, the group's before it; on the first rank."""
        if self._folder is None:
            kind = "folds" if self.resolved.trainer.folds else "seeds"
            entry = self.resolved.entry
            self._folder = GroupFolder.create(self.resolved.machine.output, entry.spec.name, kind)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            registered = registered_parts(self._plugins, self.resolved)
            facts = {"trainer": entry.qualified_name, "started": started, **files_of(self._plugins)}
            self._lock({**facts, **({"registered": registered} if registered else {})})
        folder = self.folder.member(member.name)
        if folder.path.exists():  # left by a member that ended before its first checkpoint
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True)
        return folder

    def _lock(self, facts: Mapping[str, Any]) -> None:
        """Lock the group's folder and write its settings, with ``facts`` as their table ``[run]``."""
        self._lock_file = self.folder.lock()
        try:
            atomic.write_text(self.folder.settings, self.resolved.to_toml(facts))
        except OSError as error:
            raise PneumoError(f"{self.folder.path} cannot be written: {error.strerror}") from error
        parts = (self.resolved.trainer, self.resolved.options, self.resolved.machine)
        settings = {name: value for part in parts for name, value in plain_values(part).items()}
        for one in self.resolved.parts:
            own = plain_values(one.settings)
            settings |= {f"{one.name}.{name}": value for name, value in own.items()}
        self._plugins.notify("group_started", folder=self.folder.path, settings=settings)

    def _report(self) -> None:
        """Evaluate the ensemble, and write the group's report."""
        from pneumo_cli.reports.group_report import write_group_report
        from pneumo_cli.reports.next_steps import next_steps_of_group

        finished = tuple(member for member in self.members if self.finished(member))
        if not finished:
            return
        result = GroupResult(
            *(self.folder, self.resolved, self.members, finished, self.failures),
            averages=self._averages,
            predicts=() if self._averages else self._predicts(),
        )
        if self._averages:
            result = self._with_ensemble(result)
        if self._ranks.first:
            generates = make_trainer(self.resolved).as_generator() is not None
            steps = next_steps_of_group(result, self._plugins, generates=generates)
            report = write_group_report(result, steps)
            self._plugins.notify("group_finished", folder=self.folder.path, report=report)
        self._ranks.barrier()

    def _with_ensemble(self, result: GroupResult) -> GroupResult:
        """Evaluate the ensemble on the validation images, and on the test images if all members are finished."""
        settings = self.resolved.trainer
        evaluate_test = len(result.done) == len(self.members) and settings.evaluate_test
        predictions: dict[str, dict[str, MemberPredictions]] = {}
        records: Sequence[Record] = ()
        test_accesses = 0
        for member in result.done:
            runner = self._open(member)
            data = runner.run.data
            records = data.dataset.records
            splits = ["validation"] if len(data.split.validation) else []
            if evaluate_test and len(data.split.test):
                splits.append("test")
                if not test_accesses and self._ranks.first:
                    # One access for the whole group. A group that was killed at this point repeats the same one.
                    test_accesses = record_access(
                        self.resolved.machine.data_home,
                        data.dataset,
                        access_now(
                            *(self.folder.path, "best", settings.epochs, "run"), self.resolved.entry.spec.kind
                        ),
                        self._plugins,
                        again=not self.folder.report_json.exists(),
                    )
            found = predict_members(runner, self.folder.member(member.name), "best", splits)
            for split, of_split in found.items():
                predictions.setdefault(split, {})[member.name] = of_split
            del runner, data
            _free_memory()
        evaluations = {}
        if self._ranks.first:
            evaluations = {
                split: evaluate_ensemble(list(by_member.values()), records, seed=settings.seed)
                for split, by_member in predictions.items()
            }
        return replace(
            result,
            predictions=predictions,
            evaluations=evaluations,
            records=records,
            test_accesses=test_accesses,
        )


class _Interruption:
    """Notes signals while no member runs. Nothing is lost then, as finished members are on the disk.

    While a member runs, its own handlers save its state (:mod:`pneumo_cli.runtime.signals`). Between members,
    plugins are imported and datasets opened by code that may take ``Interrupted`` for a failure of what it calls.
    So the signal is remembered too, and :meth:`check` raises again afterwards. Where a calling program stops the
    group, no handler is installed.
    """

    def __init__(self) -> None:
        self._number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in _SIGNALS if callers_interruption() is None else ():
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # only the main thread receives signals
                break

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.check(number)

    def check(self, number: int = 0) -> None:
        """Raise ``Interrupted`` if a signal was received, here or elsewhere (its ``number``; 0: none)."""
        callers = callers_interruption()
        self._number = number or self._number or (callers.number if callers is not None else 0)
        if self._number:
            raise Interrupted("stopped between two members", 128 + self._number)


def _free_memory() -> None:
    """Free what the last member held: hooks and tracebacks form reference cycles."""
    from pneumo_cli.runtime.accelerators import release_memory

    gc.collect()
    release_memory()
