"""A worker: claims one trial after the other, and carries each out as an ordinary run.

All state is in the trials' folders and the database. A worker that is killed anywhere leaves a trial that another
one takes over, and resumes from its last checkpoint to the same bits.
"""

from __future__ import annotations

import gc
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import EXITS, Interrupted, PneumoError, with_type
from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.reports.formatting import duration
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runtime.json_values import mapping, number
from pneumo_cli.runtime.signals import Interruption, callers_interruption
from pneumo_cli.runtime.turns import turns
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.workflows import training
from pneumo_cli.workflows.caller import Caller
from pneumo_sweep.plan import Plan, SweepFolder, run_settings
from pneumo_sweep.study import BEAT_SECONDS, FAILED, FINISHED, PRUNED, Presence, Slot, Stage, owner_of

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")
_POLL_SECONDS = 0.5


class MetricMissing(PneumoError):
    """The trainer does not measure the sweep's metric: no trial can be compared."""


@dataclass(frozen=True)
class Worker:
    """One worker of a stage.

    Attributes:
        caller: who asked for the sweep.
        say: receives a line per finished trial.
        machine: settings of this machine; None: as recorded.
    """

    caller: Caller
    folder: SweepFolder
    plan: Plan
    stage: Stage
    say: Callable[[str], None]
    machine: Mapping[str, Any]

    def work(self) -> None:
        """Carry out trials until none is left, and none is in work that may need to be taken over.

        Raises:
            Interrupted: by a signal; the trial is saved.
            PneumoError: the disk or the database cannot be used, or no trial can have the metric.
        """
        with Presence(self.folder.workers) as presence:
            while (claimed := self._claimed(presence)) is not None:
                trial, owner = claimed
                with _Owned(self.stage, trial, owner, presence):
                    self._carry_out(trial)
                gc.collect()  # hooks and tracebacks form reference cycles

    def _claimed(self, presence: Presence) -> tuple[FrozenTrial, str] | None:
        """The next trial, and how it is claimed; None: there is none left."""
        waited = False
        while unfinished := self.stage.unfinished():
            for trial in unfinished:
                check_interruption()
                if presence.is_free(trial):
                    owner = presence.signature()
                    if self.stage.swap_owner(trial, owner_of(trial), owner):
                        return trial, owner
            if not waited and len(unfinished) > 0:
                _log.debug("waiting for %d trials that others work on", len(unfinished))
                waited = True
            pause(_POLL_SECONDS)
        return None

    def _carry_out(self, trial: FrozenTrial) -> None:
        """Run a claimed trial and record its result. What stops the sweep is raised, and the trial stays open."""
        slot = self.stage.begin(trial)
        pruning = _Pruning(self.stage, trial, self.plan)
        try:
            report = self._run(slot, pruning)
            value = self._value(report)
        except MetricMissing:
            raise
        except Interrupted:
            if not pruning.taken_back():
                raise
            self.stage.finish(trial, PRUNED, pruning.best)
            self.say(f"{title(slot)}  {pruning}")
            return
        except (Exception, *EXITS) as error:
            check_interruption()
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
                raise  # a full disk is no property of the settings
            reason = str(error) if isinstance(error, PneumoError) else with_type(error)
            self.stage.finish(trial, FAILED, None, " ".join(reason.split()))
            self.say(f"{title(slot)}  failed: {reason}")
            return
        self.stage.finish(trial, FINISHED, value)
        self.say(f"{title(slot)}  {result_text(self.plan.metric, report)}")

    def _run(self, slot: Slot, pruning: _Pruning) -> dict[str, Any]:
        """Start the run of a trial, or go on with it; return the content of its ``report.json``."""
        folder = self.folder.run(slot.folder)
        displays = self.caller.displays
        if self.plan.prune:
            displays = (*displays, pruning)
        caller = replace(self.caller, displays=displays)
        if (folder.checkpoints / "last.pt").is_file():
            with suppress(training.Finished):
                training.resume(caller, folder.path, self.machine)
        else:
            training.start(caller, self._settings(slot), lambda: made(folder))
        return read_report(folder.report_json)

    def _settings(self, slot: Slot) -> Resolved:
        return run_settings(self.caller.plugins, self.folder, self.plan, slot.settings, self.machine)

    def _value(self, report: Mapping[str, Any]) -> float:
        metrics = mapping(mapping(report.get("evaluations")).get("validation"))
        if self.plan.metric not in metrics:
            measured = ", ".join(metrics) or "none: there are no validation images"
            raise MetricMissing(
                f"no trial has the validation metric {self.plan.metric!r}; those that are measured: {measured}"
            )
        value = number(metrics[self.plan.metric])
        if value is None:
            raise PneumoError(f"the validation {self.plan.metric} of the best epoch is undefined")
        return value


class _Owned:
    """A claimed trial: says from time to time that its worker is alive, and gives it back if it is not finished."""

    def __init__(self, stage: Stage, trial: FrozenTrial, owner: str, presence: Presence) -> None:
        self._stage, self._trial, self._owner, self._presence = stage, trial, owner, presence
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pneumo sweep", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()
        self._stage.swap_owner(self._trial, self._owner, "")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            owner = self._presence.signature()
            try:
                if not self._stage.swap_owner(self._trial, self._owner, owner):
                    _log.warning("trial %d was taken over by another worker", self._trial.number)
                    return
            except Exception as error:  # the database may be back at the next beat
                _log.warning("the storage of the sweep cannot be used: %s", with_type(error))
                continue
            self._owner = owner


class _Pruning:
    """Follows a run, and interrupts it if its pruner says so. What was trained is saved, as at any interruption."""

    def __init__(self, stage: Stage, trial: FrozenTrial, plan: Plan) -> None:
        self._stage, self._trial, self._plan = stage, trial, plan
        self._request: Interruption | None = None
        self._epoch = 0
        self.best: float | None = None

    @hookimpl
    def epoch_finished(self, run: Run) -> None:
        """Report the validation metric. Epoch 0 is the untrained model; after the last one it is too late."""
        metric, sign = self._plan.metric, self._plan.sign
        values = [number(mapping(row.get("validation")).get(metric)) for row in run.history[1:]]
        known = [value for value in values if value is not None]
        if not known or values[-1] is None or len(values) >= run.settings.epochs:
            return
        self._epoch, self.best = len(values), sign * max(sign * value for value in known)
        request = callers_interruption()
        if self._stage.report(self._trial, self._epoch, values[-1]) and request and not request.number:
            self._request, request.number = request, signal.SIGTERM

    def taken_back(self) -> bool:
        """Whether this has interrupted the run; the worker goes on."""
        if self._request is None:
            return False
        self._request.number = 0
        return True

    def __str__(self) -> str:
        return f"{self._plan.metric} {metric_text(self._plan.metric, self.best)}, pruned after epoch {self._epoch}"


def made(folder: RunFolder) -> RunFolder:
    """A run's folder, new and empty: one that is left by a run without a checkpoint is removed."""
    if folder.path.exists():
        shutil.rmtree(folder.path)
    folder.path.mkdir(parents=True)
    return folder


def title(slot: Slot) -> str:
    """A run of the sweep in the words of a line: ``trial 007  lr 0.01, batch_size 16``."""
    kind, _, name = slot.folder.partition("/")
    return f"{kind.removesuffix('s')} {name}  {settings_text(slot.settings)}"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line: ``lr 0.01, batch_size 16``."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def result_text(metric: str, report: Mapping[str, Any]) -> str:
    """The result of a finished run: the metric with its interval, epochs, time."""
    evaluations, intervals = mapping(report.get("evaluations")), mapping(report.get("intervals"))
    value = mapping(evaluations.get("validation")).get(metric)
    ends = interval_text(metric, mapping(intervals.get("validation")).get(metric))
    run = mapping(report.get("run"))
    stopped = mapping(run.get("stopped"))
    epochs = f", stopped after epoch {stopped.get('epoch')}" if stopped else ""
    shown = metric_text(metric, value) + (f" ({ends})" if ends else "")
    return f"{metric} {shown}{epochs}, {duration(run.get('seconds'))}"


def check_interruption() -> None:
    """Let others have their turn; raise Interrupted if the caller wants to stop."""
    turns.pass_on()
    request = callers_interruption()
    if request is not None and request.number:
        raise Interrupted("interrupted", 128 + request.number)


def pause(seconds: float) -> None:
    """Wait, and stop waiting at an interruption."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_interruption()
        time.sleep(min(0.1, left))


@contextmanager
def exclusive(folder: SweepFolder) -> Iterator[None]:
    """Within it, no other process makes the sweep's studies or writes its results; others wait."""
    while True:
        try:
            lock = folder.lock()
        except PneumoError:
            pause(_POLL_SECONDS)
            continue
        with lock:
            yield
        return
