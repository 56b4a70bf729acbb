"""Output streams: characters that their encoding lacks (ascii in small containers, cp1252 on Windows), and what
plugins print, which must not spoil the results on stdout.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import partial
from typing import TextIO

from pneumo_cli.runtime.signals import callers_interruption

_NEAREST = {
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("‘’", "'"),
    "×": "x",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "·": ".",
    "°": " deg",
}
_CONTROLS = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udc7f\\udd00-\\udfff]"
)
"""Control characters but tabs and line feeds, overrides of the direction of text, and what is no character. Bytes
that could not be decoded are left to those who write the text."""
_HANDLER = "pneumo-nearest"
_ESCAPING_HANDLER = "pneumo-nearest-escape"


def open_missing() -> None:
    """Let what is written to a stream that is closed (``>&-``), or that there is none of, be lost."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Kept open: else the next file that is opened takes its number, and what C code prints goes there.
            file = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, file)


def degrade_output() -> None:
    """Let stdout and stderr replace what their encoding lacks, instead of raising UnicodeEncodeError.

    An error handler that was asked for (``PYTHONIOENCODING=ascii:replace``) is kept.
    """
    # Python's own handlers are strict, surrogateescape in the C locale, and backslashreplace on stderr.
    ours = {"strict": _HANDLER, "surrogateescape": _ESCAPING_HANDLER}
    for stream, handlers in ((sys.stdout, ours), (sys.stderr, {**ours, "backslashreplace": _HANDLER})):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in handlers:
            stream.reconfigure(errors=handlers[stream.errors])


def encodable(text: str) -> str:
    """The text with what stdout cannot show replaced, as :func:`degrade_output` does.

    A program that prints a result does so on a stdout of its own, which is not changed.
    """
    if text.isascii():
        return text
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, _HANDLER).decode(encoding)


def holds_all_characters() -> bool:
    """Whether stdout's encoding has every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")


def printable(name: str) -> str:
    r"""A name from data without control characters, which could change what a terminal shows.

    >>> printable("Pleural effusion\x1b[2J")
    'Pleural effusion\\x1b[2J'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name
    )


def with_visible_controls(page: str) -> str:
    r"""A text of many lines with control characters shown as escapes: those of terminals and of text direction.

    >>> with_visible_controls("one\ntwo\x1b[2J")
    'one\ntwo\\x1b[2J'
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), page)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is one. A program without a console has none, or an object in its place."""
    return getattr(stream, "isatty", bool)() is True


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what is printed to stdout: by Python, by C code, and by processes that are started.

    Not in work for a calling program, whose stdout it is, and whose threads may print meanwhile. And not where it
    is done already: of two threads, the one that ends later would put back what the other had set.
    """
    if callers_interruption() is not None or sys.stdout is sys.stderr:
        yield
        return
    saved = None
    _flush()
    with contextlib.suppress(OSError):  # a stream is closed: there is nothing to spoil, or nowhere to print
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _flush() -> None:
    """Write what Python and C code still hold back for stdout."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
        sys.__stdout__.flush()  # type: ignore[union-attr]
    # C code has a buffer of its own. What prints through it has mostly loaded ctypes, which is slow to import.
    if os.name == "posix" and "ctypes" in sys.modules:
        sys.modules["ctypes"].CDLL(None).fflush(None)


def _replaced(error: UnicodeError, *, escape: bool) -> tuple[str | bytes, int]:
    """The nearest ASCII text of one character; ``?`` without one.

    Args:
        escape: return bytes of a file name that could not be decoded as they are, as ``surrogateescape`` does.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if escape and "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _NEAREST.get(character) or plain or "?", error.start + 1


codecs.register_error(_HANDLER, partial(_replaced, escape=False))
codecs.register_error(_ESCAPING_HANDLER, partial(_replaced, escape=True))
