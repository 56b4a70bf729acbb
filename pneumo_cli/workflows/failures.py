"""Whatever goes wrong in a function is a :class:`~pneumo_cli.errors.PneumoError` of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pneumo_cli.errors import EXITS, PneumoError, is_out_of_memory, with_type
from pneumo_cli.plugins.exits import exit_failure
from pneumo_cli.runtime.streams import printable


def known_failure(error: BaseException) -> str:
    """What an error of torch or of the system means, in one line; empty for others."""
    if is_out_of_memory(error):
        return "out of memory: a smaller --batch-size (with --accumulate) or --image-size needs less"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return ""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within it, unexpected errors become PneumoErrors, with the original as their cause; so does a SystemExit.

    Names with line breaks and other control characters, as of files, are escaped in messages.
    """
    try:
        yield
    except PneumoError as error:
        if not (text := str(error)).isprintable():
            error.args = (printable(text), *error.args[1:])
        raise
    except EXITS as error:
        raise exit_failure(error) from error
    except Exception as error:
        raise PneumoError(known_failure(error) or with_type(error)) from error
