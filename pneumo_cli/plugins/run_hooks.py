"""The hooks of one run: the task hooks of its trainer, the extensions that change them, and the observers.

Each run has a plugin manager of its own, so nothing leaks from one run into another.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.evaluation.result import ReportSection
from pneumo_cli.plugins.failures import failure, passes
from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS
from pneumo_cli.plugins.isolation import Guard, check_participant, wraps
from pneumo_cli.plugins.participants import TRAINER, Participant, Participants
from pneumo_cli.plugins.parts import make_part
from pneumo_cli.plugins.states import load_state, state_of
from pneumo_cli.plugins.step_functions import StepComposer
from pneumo_cli.registry import Provenance

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import Evaluation
    from pneumo_cli.runs.run import Run, StepFunctions
    from pneumo_cli.settings.resolve import Part

_log = logging.getLogger("pneumo")
_AFTER_TRAINING = ("run_finished", "run_failed")


class _TaskCaller:
    """Calls task hooks by attribute."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __getattr__(self, hook: str) -> Callable[..., Any]:
        return partial(self._call, hook)


class RunHooks:
    """Calls the hooks of one run.

    Args:
        trainer: implements the task hooks.
        plugins: the other plugins that take part, modules and objects: (name, plugin), or (name, plugin,
            provenance).
        parts: the extensions and observers that ``--with`` asks for, the outermost first; around all ``plugins``.
        name: the trainer's, for messages; empty: that of its class.
        provenance: the trainer's.

    Attributes:
        tasks: caller of the task hooks: the trainer's, wrapped by extensions. Whoever raises, or returns something
            else than the hook's result, is named in a PneumoError.

    Raises:
        UsageError: a part cannot take part, or a task hook has no implementation, or more than one.
    """

    def __init__(
        self,
        trainer: Any,
        plugins: Iterable[tuple[Any, ...]],
        parts: Sequence[Part] = (),
        *,
        name: str = "",
        provenance: Provenance | None = None,
    ) -> None:
        self._all = Participants(Participant(name or type(trainer).__name__, trainer, provenance))
        self._composer = StepComposer(self._all)
        self.tasks: Any = _TaskCaller(self._call_task)
        self._observing = Guard(
            self._failed_in_lifecycle,
            skips=lambda one: id(one.plugin) in self._dropped,
            check=self._after_lifecycle,
        )
        self._dropped: set[int] = set()
        self._run: Run | None = None
        self._stop_reason = ""
        reserved = frozenset(part.entry.spec.name for part in parts)
        for given, plugin, *origin in plugins:
            self._all.add(Participant(given, plugin, *(origin or (None,))), reserved)
        for part in reversed(parts):
            entry = part.entry
            kind: Any = "extension" if part.is_extension else "observer"
            participant = Participant(entry.spec.name, make_part(part), entry.provenance, kind)
            try:
                self._all.add(participant)
            except ValueError as error:
                raise UsageError(f"the {kind} {participant} cannot take part in a run: {error}") from error
        self._all.check_task_hooks()

    def add(self, name: str, plugin: object, provenance: Provenance | None = None) -> None:
        """Add a plugin, with its distribution for messages. As in pluggy, the last one added is called first."""
        self._all.add(Participant(name, plugin, provenance))

    # --- the work of the run ------------------------------------------------------------------------------------

    def _call_task(self, hook: str, **arguments: Any) -> Any:
        with self._all.naming_trainer(hook):
            return self._all.call(hook, self._all.task_guard(hook), arguments)

    def compose(self, run: Run) -> StepFunctions:
        """See :meth:`StepComposer.compose`."""
        return self._composer.compose(run)

    @property
    def trainer_name(self) -> str:
        """The trainer with its distribution and version, for messages."""
        return self._all.trainer_name

    @property
    def step_authors(self) -> str:
        """The trainer, and the extensions that change its steps, for messages."""
        return self._all.authors("train_step", "around_train_step", "around_optimize")

    @property
    def loss_ignored_by(self) -> str:
        """The extensions that change a loss which the trainer has not asked for so far; empty: there is none."""
        around = self._all.hook.around_loss.get_hookimpls()
        return (
            ""
            if self._composer.loss_used
            else ", ".join(f"extension {self._all.name_of(one)}" for one in around)
        )

    # --- who takes part -----------------------------------------------------------------------------------------

    def add_run_plugins(self, run: Run) -> None:
        """Call the hook ``plugins_for_run`` and add what it returns.

        Raises:
            UsageError: a plugin fails, or returns something else than objects with hooks. It is not left out: it
                may be what changes the training.
        """
        self._run = run
        sources: dict[int, tuple[str, Provenance | None]] = {}

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            if wraps(one):
                return value
            if inspect.isclass(value) or isinstance(value, str) or not isinstance(value, Iterable | None):
                raise TypeError(f"it returned {value!r}, not a list of objects with hooks")
            plugins = list(value or ())
            source = self._all.by_name[one.plugin_name]
            for plugin in plugins:
                kind = plugin.__name__ if inspect.isclass(plugin) else type(plugin).__name__
                sources[id(plugin)] = f"{one.plugin_name}:{kind}", source.provenance
            return plugins

        def failed(one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
            if passes(error):
                raise error
            text = failure(f"plugin {self._all.name_of(one)}", hook, error, one.plugin)
            raise UsageError(f"{text}; {_leaving_out(one.plugin_name)}") from error

        parts = self._all.call("plugins_for_run", Guard(failed, check=check), {"run": run})
        for plugin in [plugin for part in parts for plugin in part]:
            name, provenance = sources.get(id(plugin), (type(plugin).__name__, None))
            participant = Participant(name, plugin, provenance)
            try:
                check_participant(plugin)
                self._all.add(participant)
            except ValueError as error:
                where = _leaving_out(name.partition(":")[0])
                raise UsageError(
                    f"plugin {participant} cannot take part in a run: {error}; {where}"
                ) from error
        self._all.check_task_hooks()

    def participants(self) -> list[str]:
        """The names of all plugins that take part."""
        return sorted(self._all.by_name)

    def extensions(self) -> dict[str, str]:
        """The plugins that change how the model is trained or evaluated, see :meth:`Participants.extensions`."""
        return self._all.extensions()

    # --- states -------------------------------------------------------------------------------------------------

    @property
    def epoch_end_matters(self) -> bool:
        """Whether what is done in ``epoch_finished`` belongs to the checkpoint of that epoch.

        As somebody has a state (the trainer too, if it implements the hook), or an extension of ``--with`` may stop
        the run.
        """
        asked_for = any(one.kind == "extension" for one in self._all.by_name.values())
        own = any(one.plugin is self._all.trainer for one in self._all.hook.epoch_finished.get_hookimpls())
        return asked_for or bool(self._all.with_state().keys() - (set() if own else {TRAINER}))

    def states(self) -> dict[str, Any]:
        """What trainer and objects of this run keep in the checkpoint ``last``: the keys ``trainer`` and ``parts``.

        Raises:
            PneumoError: a state cannot be saved.
        """
        states = {unique: state_of(str(one), one.plugin) for unique, one in self._all.with_state().items()}
        own = {"trainer": states.pop(TRAINER)} if TRAINER in states else {}
        return {**own, "parts": states} if states else own

    def load_states(self, checkpoint: Mapping[str, Any]) -> list[str]:
        """Restore trainer and objects from a checkpoint; return a remark about each state that is missing or left.

        Raises:
            UsageError: one does not take its state.
        """
        saved = dict(checkpoint.get("parts", {}))
        if "trainer" in checkpoint:
            saved[TRAINER] = checkpoint["trainer"]
        remarks = []
        for unique, one in self._all.with_state().items():
            if unique in saved:
                load_state(str(one), one.plugin, saved[unique])
            else:
                remarks.append(f"the checkpoint has no state of {one}, which begins anew")
        for unique in sorted(saved.keys() - self._all.with_state().keys()):
            remarks.append(
                f"the checkpoint's state of {unique} is not used: nobody of that name takes one now"
            )
        return remarks

    # --- lifecycle hooks ----------------------------------------------------------------------------------------

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook.

        An observer that raises is logged and dropped. Errors of the trainer and of extensions end the run; those of
        extensions after the training are logged.
        """
        if hook not in LIFECYCLE_HOOKS:
            raise ValueError(f"{hook} is no lifecycle hook")
        if not self._all.listens(hook):
            return
        self._stop_reason = self._run.stop_reason if self._run is not None else ""
        self._all.call(hook, self._observing, arguments)

    def report_sections(
        self, run: Run, evaluations: Mapping[str, Evaluation]
    ) -> list[tuple[str, ReportSection]]:
        """Call the hook ``add_to_report``, and return each section with the name of its plugin.

        One that fails is noted in the report.
        """
        names: dict[int, str] = {}

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            if wraps(one):
                sections = [section for part in value for section in part]
            else:
                sections = [value] if isinstance(value, ReportSection) else list(value or ())
            for section in sections:
                if not isinstance(section, ReportSection):
                    raise TypeError(f"add_to_report returned {section!r}, not a ReportSection")
                names.setdefault(id(section), self._all.name_of(one))
            return [sections] if wraps(one) else sections

        def failed(one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
            if isinstance(error, Interrupted):
                raise error
            who = (
                self._all.trainer_name
                if one.plugin is self._all.trainer
                else f"plugin {self._all.name_of(one)}"
            )
            run.note(f"a section of the report is missing: {failure(who, hook, error, one.plugin)}")

        arguments = {"run": run, "evaluations": evaluations}
        guard = replace(self._observing, on_error=failed, check=check)
        parts = self._all.call("add_to_report", guard, arguments)
        return [(names[id(section)], section) for part in parts for section in part]

    def _failed_in_lifecycle(self, one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        everybody = self._all
        if one.plugin is everybody.trainer:
            everybody.trainer_failed(hook, error)
            raise error
        extension = everybody.is_extension(one)
        if extension and hook not in _AFTER_TRAINING:
            everybody.extension_failed(one, hook, error)
        if self._run is not None and not extension:
            self._run.stop_reason = self._stop_reason
        self._dropped.add(id(one.plugin))
        text = " ".join(str(error).split())
        message = "%s %s failed in %s and is dropped for this run: %s: %s"
        noun = "extension" if extension else "observer"
        _log.warning(message, noun, everybody.name_of(one), hook, type(error).__name__, text)
        _log.debug("%s", "".join(traceback.format_exception(error)))

    def _after_lifecycle(self, one: pluggy.HookImpl, value: Any) -> Any:
        run = self._run
        if run is not None and run.stop_reason != self._stop_reason:
            if one.plugin is not self._all.trainer and not self._all.is_extension(one):
                raise PneumoError("an observer cannot stop a run; an extension can (register_extensions)")
            self._stop_reason = run.stop_reason
        return value


def _leaving_out(plugin: str) -> str:
    return f"PNEUMO_DISABLE_PLUGINS={plugin} leaves it out"
