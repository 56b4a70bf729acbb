"""``~`` and ``~user`` at the beginning of a path: a shell leaves them as they are after ``=`` and in files."""

from __future__ import annotations

import os


def expand_home(path: str) -> str:
    """Replace a leading ``~`` or ``~user`` by that home folder.

    A file whose own name begins so (``~notes.txt``, as a glob may give it) is left alone.

    Raises:
        ValueError: there is no such user, or this user has no home folder, as in some containers.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(path):
        user = path.partition("/")[0].partition(os.sep)[0]
        raise ValueError(f"the home folder {user} is not known here; give the whole path")
    return expanded
