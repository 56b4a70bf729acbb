"""Who asks for a piece of work: the command line, or a program that calls pneumo's functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins import console
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.hookspecs import AROUND_HOOKS, TASK_HOOKS
from pneumo_cli.plugins.isolation import HookManager, check_participant, validation_text
from pneumo_cli.plugins.plain_methods import check_methods
from pneumo_cli.runs.record import registered_parts
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved


@dataclass(frozen=True)
class Caller:
    """What the one who asks brings along.

    Attributes:
        plugins: what is installed, and what was registered.
        command: the command line that asks for the same, for the record and for further processes.
        progress: where long steps are shown.
        console: whether runs print their lines (an epoch each) on stderr.
        observers: further objects that take part in a run, and cannot change it (:func:`checked_observers`).
        displays: objects that show a run's epochs instead of the console.
    """

    plugins: Plugins
    command: Sequence[str] = ()
    progress: Progress = field(default_factory=Progress)
    console: bool = True
    observers: tuple[object, ...] = ()
    displays: tuple[object, ...] = ()

    def taking_part(self) -> list[tuple[Any, ...]]:
        """What takes part in a run beside its trainer, as :class:`~pneumo_cli.training.runner.Runner` wants it."""
        installed = [one for one in self.plugins.observing() if self.console or one[1] is not console]
        return [*installed, *((_name(one), one) for one in (*self.displays, *self.observers))]

    def objects(self, resolved: Resolved) -> list[str]:
        """What a run has that only this process has: what was registered, and observers that are objects."""
        registered = [f"the registered {part}" for part in registered_parts(self.plugins, resolved)]
        return [*registered, *(f"the observer {_name(one)}" for one in self.observers)]

    def recorded(self, resolved: Resolved) -> list[str]:
        """The command line of a run, for the record; with a remark about what it cannot ask for."""
        objects = self.objects(resolved)
        return [*self.command, f"# in Python, with {', '.join(objects)}"] if objects else list(self.command)


def checked_observers(observers: Sequence[object]) -> tuple[object, ...]:
    """Objects that are to follow a run.

    Raises:
        UsageError: one has no hooks, or wrong ones, or would change the run.
    """
    for number, one in enumerate(observers):
        who = f"the observer {_name(one)}"
        try:
            check_methods(one)
            hooks = check_participant(one)
            if any(one is other for other in observers[:number]):
                raise ValueError("it is named twice")
            HookManager().register(one)  # compares the arguments of its hooks
        except (ValueError, pluggy.PluginValidationError) as error:
            raise UsageError(f"{who} cannot take part in a run: {validation_text(error)}") from None
        if changing := sorted({*TASK_HOOKS, *AROUND_HOOKS} & set(hooks)):
            raise UsageError(
                f"{who} implements {changing[0]}, and an observer cannot change a run: an extension of a plugin can"
            )
    return tuple(observers)


def _name(observer: object) -> str:
    return getattr(observer, "__name__", type(observer).__name__)
