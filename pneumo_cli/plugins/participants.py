"""Who takes part in one run, and whose code failed: the trainer, installed plugins, and objects for this run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pluggy

from pneumo_cli.errors import EXITS, PneumoError, UsageError
from pneumo_cli.plugins.failures import failure, passes
from pneumo_cli.plugins.hookspecs import AROUND_HOOKS, TASK_HOOKS
from pneumo_cli.plugins.isolation import (
    PROJECT,
    UNMARKED,
    Guard,
    HookManager,
    hook_options,
    implemented_hooks,
    validation_text,
    wraps,
)
from pneumo_cli.plugins.results import wrong_result
from pneumo_cli.plugins.states import has_state
from pneumo_cli.registry import Provenance

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

TRAINER = "trainer"
"""The name of the trainer among the participants."""
_hookimpl = pluggy.HookimplMarker(PROJECT)


class _Builders:
    """Task hooks that are called as plain methods of the trainer, whose argument may have any name."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    @_hookimpl
    def build_optimizers(self, run: Run) -> Any:
        return self.trainer.build_optimizers(run)

    @_hookimpl
    def build_schedulers(self, run: Run) -> Any:
        return self.trainer.build_schedulers(run)

    @_hookimpl
    def build_transforms(self, run: Run) -> Any:
        return self.trainer.build_transforms(run)

    @_hookimpl
    def build_sources(self, run: Run) -> Any:
        return self.trainer.build_sources(run)


@dataclass(frozen=True)
class Participant:
    """A plugin's module, an object of one for this run, or one that ``--with`` asks for (``kind``)."""

    name: str
    plugin: Any
    provenance: Provenance | None
    kind: Literal["plugin", "extension", "observer"] = "plugin"

    def __str__(self) -> str:
        """Its name, with the distribution and version that it comes from."""
        return f"{self.name} ({self.provenance})" if self.provenance is not None else self.name


class Participants(HookManager):
    """All who take part in one run. A trainer's methods implement the task hooks without a decorator.

    Args:
        trainer: with its name and distribution.

    Attributes:
        by_name: under unique names; :data:`TRAINER` among them.
        trainer: the object.
    """

    def __init__(self, trainer: Participant) -> None:
        super().__init__()
        self.trainer = trainer.plugin
        self.by_name = {TRAINER: trainer}
        self.register(_Builders(self.trainer))
        try:
            implemented_hooks(type(self.trainer))
            self.register(self.trainer, TRAINER)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise UsageError(
                f"{self.trainer_name} cannot take part in a run: {validation_text(error)}"
            ) from error

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        """Of the trainer, the task hooks need no marker, and the lifecycle hooks do."""
        if plugin is not self.trainer:
            return super().parse_hookimpl_opts(plugin, name)
        if name in vars(_Builders):
            return None
        options = hook_options(type(plugin), name)
        return UNMARKED.copy() if options is None and name in TASK_HOOKS else options

    def add(self, participant: Participant, reserved: frozenset[str] = frozenset()) -> None:
        """Let somebody take part, under a name that is unique and not ``reserved``.

        Raises:
            ValueError: a hook of it is not as specified, or it takes part already.
        """
        if self.is_registered(participant.plugin):
            raise ValueError("the same object takes part already")
        unique, number = participant.name, 2
        while unique in self.by_name or unique in reserved:
            unique, number = f"{participant.name}-{number}", number + 1
        try:
            self.register(participant.plugin, unique)
        except pluggy.PluginValidationError as error:
            self.unregister(name=unique)  # pluggy keeps the hooks before the wrong one
            raise ValueError(validation_text(error)) from error
        self.by_name[unique] = participant

    def implementations(self, hook: str, *, wrappers: bool) -> list[pluggy.HookImpl]:
        """Those of a hook, either the wrappers or the others."""
        return [one for one in getattr(self.hook, hook).get_hookimpls() if wraps(one) is wrappers]

    def check_task_hooks(self) -> None:
        """Raise UsageError if a task hook is not implemented by the trainer alone."""
        for hook in TASK_HOOKS:
            plain = self.implementations(hook, wrappers=False)
            if len(plain) != 1:
                names = ", ".join(TRAINER if self.is_trainers(one) else one.plugin_name for one in plain)
                raise UsageError(
                    f"the task hook {hook} has to be implemented once per run, and is by {names or 'nobody'}; "
                    "an extension wraps it with @hookimpl(wrapper=True)"
                )

    def is_trainers(self, one: pluggy.HookImpl) -> bool:
        """Whether an implementation is the trainer's."""
        return one.plugin is self.trainer or isinstance(one.plugin, _Builders)

    def is_extension(self, one: pluggy.HookImpl) -> bool:
        """Whether an implementation is that of an extension."""
        return one.plugin_name in self.extensions()

    def extensions(self) -> dict[str, str]:
        """Those that change how the model is trained or evaluated: distribution and version by name.

        Those that ``--with`` asks for as extensions, and all that wrap a task hook or put a function around one of
        the trainer's.
        """
        changing = [one for hook in TASK_HOOKS for one in self.implementations(hook, wrappers=True)]
        changing += [one for hook in AROUND_HOOKS for one in getattr(self.hook, hook).get_hookimpls()]
        names = {one.plugin_name for one in changing if one.plugin is not self.trainer}
        names |= {unique for unique, one in self.by_name.items() if one.kind == "extension"}
        return {unique: str(self.by_name[unique].provenance or "") for unique in sorted(names)}

    def with_state(self) -> dict[str, Participant]:
        """Trainer and objects (not modules) with a state for checkpoints."""
        objects = {unique: one for unique, one in self.by_name.items() if not inspect.ismodule(one.plugin)}
        return {unique: one for unique, one in objects.items() if has_state(one.plugin)}

    # --- names and failures -------------------------------------------------------------------------------------

    def name_of(self, one: pluggy.HookImpl) -> str:
        """The plugin of an implementation, with its distribution and version."""
        return str(self.by_name[one.plugin_name])

    @property
    def trainer_name(self) -> str:
        """The trainer with its distribution and version."""
        return f"trainer {self.by_name[TRAINER]}"

    def authors(self, *hooks: str) -> str:
        """The trainer, and the extensions with implementations of some hooks."""
        around = [one for hook in hooks for one in getattr(self.hook, hook).get_hookimpls()]
        names = dict.fromkeys(self.name_of(one) for one in around if not self.is_trainers(one))
        return f"{self.trainer_name} (with {', '.join(names)})" if names else self.trainer_name

    @contextmanager
    def naming_trainer(self, hook: str) -> Iterator[None]:
        """Within it, an error in the trainer's code is raised as one that names the trainer and the hook."""
        try:
            yield
        except (Exception, *EXITS) as error:
            self.trainer_failed(hook, error)
            raise

    def trainer_failed(self, hook: str, error: BaseException) -> None:
        """Raise an error that names the trainer; return if the given one says itself what is wrong."""
        if not passes(error):
            raise failure(self.trainer_name, hook, error, self.trainer) from error

    def extension_failed(self, one: pluggy.HookImpl, hook: str, error: BaseException) -> NoReturn:
        """Raise an error that names the extension, or the given one if it says itself what is wrong."""
        if passes(error):
            raise error
        raise failure(f"extension {self.name_of(one)}", hook, error, one.plugin) from error

    def task_guard(self, hook: str) -> Guard:
        """For calling a task hook: results are checked, and extensions that fail are named."""

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            if wraps(one) and value is None:
                raise TypeError(
                    "a wrapper has to return the result that its yield gives, or another one, not None"
                )
            if problem := wrong_result(hook, value):
                raise TypeError(f"{hook} returned {problem}")
            return value

        return Guard(self.extension_failed, check=check, propagates=self.is_trainers, passed=(PneumoError,))
