"""The errors that a person sees: one line each, with the exit code that belongs to it.

An error says what is wrong, with which value, what is allowed and what to do next. The CLI prints the
message on stderr without a traceback (``PNEUMO_DEBUG=1`` shows it) and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PneumoError(Exception):
    """A failure of the run itself (exit code 1): a NaN loss, a full disk, a damaged checkpoint."""

    exit_code = 1


class UsageError(PneumoError):
    """Something that was asked for cannot be done as asked (exit code 2): nothing has been written."""

    exit_code = 2


class DataError(UsageError):
    """The data are missing, incomplete or unreadable (exit code 2)."""


class UnreadableImage(Exception):
    """One image cannot be decoded. Raised by ``Dataset.read``; the data room collects them."""


class Interrupted(PneumoError):
    """The run was told to stop and has saved itself. ``exit_code`` is 128 + the signal's number."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A clause that names what the writer may have meant, ready to end a sentence.

    Args:
        prefix: shown before each name, and not compared.

    >>> nearest("epoch", ["epochs", "lr"])
    'did you mean epochs?'
    >>> nearest("zzz", ["epochs", "lr"])
    'known: epochs, lr'
    """
    choices = sorted(set(known))
    matches = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(prefix + match for match in matches)}?"
    if not choices:
        return "none is known"
    return "known: " + ", ".join(prefix + choice for choice in choices)
