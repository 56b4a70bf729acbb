"""``~`` and ``~user`` at the beginning of a path: a shell leaves them as they are after ``=`` and in files."""

from __future__ import annotations

import os
from pathlib import Path

from pneumo_cli.errors import UsageError, named_type

StrPath = str | os.PathLike[str]


def expand_home(path: str) -> str:
    """Replace a leading ``~`` or ``~user`` by that home folder.

    A file whose own name begins so (``~notes.txt``, as a glob may give it) is left alone.

    Raises:
        ValueError: there is no such user, or this user has no home folder, as in some containers; or no file can
            have this name.
    """
    if "\0" in path:
        raise ValueError("a path has no null characters")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(path):
        user = path.partition("/")[0].partition(os.sep)[0]
        raise ValueError(f"the home folder {user} is not known here; give the whole path")
    return expanded


def expanded_path(path: StrPath) -> Path:
    """A path that somebody named, with ``~`` expanded.

    Raises:
        UsageError: the home folder is not known, or it is no path.
    """
    given = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(given, str):
        raise UsageError(f"a path is a text or a pathlib.Path, not {named_type(path)}")
    try:
        return Path(expand_home(given))
    except ValueError as error:
        raise UsageError(f"{given!r}: {error}") from None
