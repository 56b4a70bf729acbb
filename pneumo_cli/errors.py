"""The errors that a user sees: one line each, with an exit code. All are a :class:`PneumoError`.

A message names what is wrong, the value, what is allowed, and what to do next. The CLI prints it on stderr without
a traceback (``PNEUMO_DEBUG=1`` shows it) and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 120  # characters of a value in a message

EXITS = (SystemExit, GeneratorExit)
"""Errors that end a program or a generator. Raised by a plugin during a run, they are failures like others."""


class PneumoError(Exception):
    """A failure while running (exit code 1): a NaN loss, a full disk, a damaged checkpoint."""

    exit_code = 1


class UsageError(PneumoError):
    """The request cannot be carried out (exit code 2); nothing has been written."""

    exit_code = 2


class DataError(UsageError):
    """The data are missing, incomplete or unreadable (exit code 2)."""


class UnreadableImage(PneumoError):
    """One image cannot be decoded. Raised by ``Dataset.read``; collected while the images are prepared.

    The message says why, not which image: whoever reads one knows.
    """


class Interrupted(PneumoError):
    """A signal stopped the run, which has saved its state. ``exit_code`` is 128 + the signal's number."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str, int]]:
        """For pickle, by which it reaches the caller of another process."""
        return type(self), (str(self), self.exit_code)


def nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A clause that suggests the names closest to a misspelled one, to end a message with.

    Args:
        prefix: shown before each name, and not compared.

    >>> nearest("epoch", ["epochs", "lr"])
    'did you mean epochs?'
    >>> nearest("zzz", ["epochs", "lr"])
    'known: epochs, lr'
    """
    choices = sorted(set(known))
    matches = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.6)  # a program may give anything
    if matches:
        return f"did you mean {' or '.join(prefix + match for match in matches)}?"
    if not choices:
        return "none is known"
    return "known: " + ", ".join(prefix + choice for choice in choices)


def shown(value: object) -> str:
    """A value in a message, which it must not fill."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def named_type(value: object) -> str:
    """The type of a value with its article, for messages.

    >>> named_type(3)
    'an int'
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def with_type(error: BaseException) -> str:
    """An error in one line, with its class."""
    return f"{type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException) -> str:
    """The text of an error in one line, also if it cannot give one."""
    try:
        return " ".join(str(error).split()) or "no message"
    except Exception:  # of a plugin's own class
        return "no message"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that the memory of a device or of the machine does not suffice."""
    words = ("can't allocate memory", "not enough memory")
    return "OutOfMemoryError" in type(error).__name__ or any(some in one_line(error) for some in words)
