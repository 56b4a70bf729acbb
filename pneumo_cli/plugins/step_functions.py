"""The functions of a training step: the trainer's own, and around them those of extensions.

They are composed once per run. A step without extensions calls the trainer directly; one with extensions adds a
Python call for each of their functions.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import pluggy

from pneumo_cli.errors import EXITS, UsageError, named_type
from pneumo_cli.plugins.isolation import Guard, wraps
from pneumo_cli.plugins.participants import Participants
from pneumo_cli.plugins.results import wrong_result
from pneumo_cli.runs.run import Run, StepFunctions

_Function: TypeAlias = Callable[..., Any]


class StepComposer:
    """Composes the functions of a training step.

    Attributes:
        loss_used: whether the trainer has asked for its loss, where an extension changes it.
    """

    def __init__(self, participants: Participants) -> None:
        self._all = participants
        self.loss_used = False

    def compose(self, run: Run) -> StepFunctions:
        """The functions for a run whose model is built: the trainer's, inside those of extensions.

        Raises:
            UsageError: an extension changes the loss, and the trainer does not define it.
        """
        trainer = self._all.trainer
        around_loss = self._around("around_loss", run)
        if around_loss and not trainer.has_training_loss:
            name = self._all.name_of(around_loss[0][0])
            raise UsageError(
                f"extension {name} changes the loss, and {self._all.trainer_name} does not define it "
                "(training_loss): they cannot be combined"
            )
        own_loss = partial(trainer.training_loss, run)
        changed_loss = self._surround("around_loss", own_loss, around_loss)

        def loss(outputs: Any, batch: Any) -> Any:
            self.loss_used = True
            return changed_loss(outputs, batch)

        around_optimize = self._around("around_optimize", run)
        return StepFunctions(
            train_step=self._train_step(run),
            loss=loss if around_loss else own_loss,
            optimize=self._surround("around_optimize", run.updates.make, around_optimize),
        )

    def _around(self, hook: str, run: Run) -> list[tuple[pluggy.HookImpl, _Function]]:
        """The functions that extensions put around one of the trainer's, the outermost first."""

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            if wraps(one) or value is None:
                return value
            if not callable(value):
                raise TypeError(f"it returned {named_type(value)}, not a function")
            return one, value

        guard = Guard(self._all.extension_failed, check=check)
        found: list[Any] = self._all.call(hook, guard, {"run": run})
        return found

    def _surround(
        self, hook: str, own: _Function, around: Sequence[tuple[pluggy.HookImpl, _Function]]
    ) -> _Function:
        """Put functions around the trainer's own, the first of them outermost."""
        if not around:
            return own

        def innermost(*arguments: Any) -> Any:
            return own(*arguments)

        composed: _Function = innermost
        for one, function in reversed(around):
            fail = partial(self._all.extension_failed, one, hook)
            composed = _layer(function, composed, fail, partial(wrong_result, hook))
        return composed

    def _train_step(self, run: Run) -> Callable[[Any], Any]:
        everybody = self._all
        (implementation,) = everybody.implementations("train_step", wrappers=False)
        function, names = implementation.function, implementation.argnames

        def own(batch: Any) -> Any:
            return function(run, batch)

        def own_with_other_arguments(batch: Any) -> Any:
            given = {"run": run, "batch": batch}
            return function(*[given[name] for name in names])

        step = own if names == ("run", "batch") else own_with_other_arguments
        inner = self._surround("around_train_step", step, self._around("around_train_step", run))
        if everybody.implementations("train_step", wrappers=True):
            guard = everybody.task_guard("train_step")
            wrapped = everybody.bind("train_step", guard, everybody.trainer, inner, ("batch",))
            inner = partial(_with_run, wrapped, run)

        def train_step(batch: Any) -> Any:
            try:
                return inner(batch)
            except (Exception, *EXITS) as error:
                everybody.trainer_failed("train_step", error)
                raise

        return train_step


def _with_run(call: _Function, run: Run, batch: Any) -> Any:
    return call(run=run, batch=batch)


def _layer(function: _Function, inner: _Function, fail: _Function, check: _Function) -> _Function:
    """An extension's function around an inner one, whose errors pass through as they are."""

    def layer(*arguments: Any) -> Any:
        try:
            value = function(inner, *arguments)
            if problem := check(value):
                raise TypeError(f"the function around it returned {problem}")
            return value
        except (Exception, *EXITS) as error:
            if not _raised_inside(error, inner):
                fail(error)
            raise

    return layer


def _raised_inside(error: BaseException, inner: _Function) -> bool:
    """Whether an error came out of the function that a layer is around."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (
        inner.__code__ in frames[1:]
    )  # the first is the layer itself, whose code may be that of its inner one
