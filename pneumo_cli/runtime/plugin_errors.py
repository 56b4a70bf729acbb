"""Errors of plugins' code, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pneumo_cli.errors import EXITS, UnreadableImage, UsageError, with_type
from pneumo_cli.runtime.streams import stdout_to_stderr


@contextmanager
def plugin_errors(
    message: str, *, passing: tuple[type[Exception], ...] = (), kind: type[UsageError] = UsageError
) -> Iterator[None]:
    """Turn whatever a plugin's code raises into one line: the message, the error's type and its text.

    What it prints to stdout goes to stderr.

    Args:
        passing: errors that are raised as they are, but for UnreadableImage, which does not say what it is about.
        kind: of all others.
    """
    try:
        with stdout_to_stderr():
            yield
    except (Exception, *EXITS) as error:
        if isinstance(error, passing) and not isinstance(error, UnreadableImage):
            raise
        raise kind(" ".join(f"{message}: {with_type(error)}".split())) from error
