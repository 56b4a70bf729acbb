"""How a check fails: with the rule of the contract, how it was broken, and how to mend it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OURS = str(Path(__file__).parents[1])


class ContractBroken(AssertionError):
    """A rule of the contract was broken: ``rule: …; broken: …; mend: …``."""

    def __init__(self, rule: str, broken: str, mend: str) -> None:
        self.rule, self.broken, self.mend = rule, broken, mend
        super().__init__(f"rule: {rule}; broken: {broken}; mend: {mend}")


def ensure(holds: object, rule: str, broken: str, mend: str) -> None:
    """Raise :class:`ContractBroken` unless a rule holds."""
    __tracebackhide__ = True
    if not holds:
        raise ContractBroken(rule, broken, mend)


@contextmanager
def keeping(rule: str, mend: str) -> Iterator[None]:
    """Turn an error of a plugin's code into :class:`ContractBroken`, with the line that raised it."""
    __tracebackhide__ = True
    try:
        yield
    except AssertionError:  # a rule that is named already
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ContractBroken(rule, f"{type(error).__name__}: {text}{_line_of(error)}", mend) from error


def _line_of(error: BaseException) -> str:
    """The last line of a plugin's own code that an error passed; empty if there is none."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<")) and "torch" not in Path(frame.filename).parts
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def skip(reason: str) -> None:
    """Leave a check out that does not apply."""
    __tracebackhide__ = True
    pytest.skip(reason)


def some(names: list[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
