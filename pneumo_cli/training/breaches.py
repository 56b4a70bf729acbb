"""Breaches of the contract of a trainer, and how they and its other errors are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pneumo_cli.errors import EXITS, PneumoError, named_type
from pneumo_cli.plugins.failures import failure, passes

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run


T = TypeVar("T")


class Breach(Exception):
    """What is wrong with a value, for the error that names the trainer and the method."""


@contextmanager
def method(run: Run, name: str, trainer: object = None) -> Iterator[None]:
    """Name the trainer and one of its methods in whatever it raises, and in what is wrong with its result.

    Raises:
        PneumoError: the method has raised something else than a PneumoError, or broken the contract.
    """
    try:
        yield
    except Breach as error:
        raise broken(run, name, error) from error
    except (Exception, *EXITS) as error:
        if passes(error):
            raise
        raise failure(trainer_of(run), name, error, trainer) from error


def produced(run: Run, name: str, trainer: object, items: Iterable[T]) -> Iterator[T]:
    """The items of an iterator that runs a trainer's code, which is named as :func:`method` names it."""
    try:
        yield from items
    except (Exception, SystemExit):  # not the end of this generator
        with method(run, name, trainer):
            raise


def broken(run: Run, name: str, breach: Breach) -> PneumoError:
    """The error that names the trainer, and the extensions that may have changed the result of its method."""
    wrapped = f" (with the extensions {', '.join(run.extensions)})" if run.extensions else ""
    return PneumoError(f"{trainer_of(run)}{wrapped} broke the contract of {name}: {breach}")


def trainer_of(run: Run) -> str:
    """A run's trainer with its distribution, for messages."""
    entry = run.resolved.entry
    return f"trainer {entry.spec.name} ({entry.provenance})"


def kind_of(value: object) -> str:
    """A value in a few words: its type, and its shape or beginning."""
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return named_type(value)
