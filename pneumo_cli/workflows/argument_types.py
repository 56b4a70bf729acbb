"""Arguments of functions, compared with their annotations before anything is done."""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from pneumo_cli.errors import UsageError, nearest, shown
from pneumo_cli.workflows.failures import one_line_errors

Given = ParamSpec("Given")
Result = TypeVar("Result")

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    os.PathLike: "a path",
    Sequence: "a list",
    Mapping: "a dict",
    tuple: "a tuple",
}


def checking(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The same function for a program: arguments are checked, and what goes wrong is a PneumoError of one line."""

    @functools.wraps(function)
    def called(*arguments: Any, **keywords: Any) -> Result:
        given = checked(function, arguments, keywords)
        with one_line_errors():
            return function(*given.args, **given.kwargs)

    return called


def checked(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call; scalars of NumPy become Python's.

    Raises:
        UsageError: one is of another type than its annotation.
        TypeError: the function does not take these arguments.
    """
    signature, hints = _described(function)
    try:
        bound = signature.bind(*arguments, **keywords)
    except TypeError as error:
        raise TypeError(f"{function.__name__}(): {error}") from None
    for name, given in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD or name not in hints:
            continue
        if isinstance(given, Real) and hasattr(given, "item"):
            bound.arguments[name] = given.item()
        for value in given if kind is inspect.Parameter.VAR_POSITIONAL else (given,):
            if not _is(value, hints[name]):
                words = " or ".join(dict.fromkeys(_words(hints[name])))
                raise UsageError(f"{name} is {shown(value)}, and has to be {words}")
    return bound


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse the first name of a setting that is not known.

    Raises:
        UsageError: with the nearest known name.
    """
    for name in given:
        if name not in known:
            raise UsageError(f"unknown setting {name!r}; {nearest(name, known)}")


@functools.cache
def _described(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # of what is imported for type checkers alone
        hints = {}
    return inspect.signature(function), hints


def _is(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, part) for part in parts)
    if origin is Sequence:
        listed = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        return listed and all(_is(one, part) for part in parts for one in value)
    if origin is tuple:
        return isinstance(value, Sequence)  # the function says of what length
    if origin is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    return origin is Any or not isinstance(origin, type) or isinstance(value, origin)


def _words(hint: Any) -> Iterator[str]:
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _words(part)
    elif origin is not types.NoneType:
        yield _WORDS.get(origin, f"a {getattr(origin, '__name__', origin)}")
