"""A folder that is replaced as a whole, and what a process that was killed on the way has left of it.

No file system that one may count on exchanges two folders in one step, so there are three: the new folder is
finished beside the old one, the old one is moved aside, the new one takes its place. A kill between the last
two leaves neither at the place; both lie beside it under hidden names, whole, and :func:`recover` takes the step
that is left. Single files are written by :mod:`pneumo_cli.runtime.atomic`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo_cli.runtime import atomic

_BYTES = 6  # of the random part of a name
_UNFINISHED, _FINISHED, _OLD = "tmp", "new", "old"


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends well; what was there is removed then.

    Raises:
        OSError: it cannot be made or renamed; what was there is there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = _mark(target) + secrets.token_hex(_BYTES)
    unfinished, finished, old = (
        target.with_name(f"{mark}.{ending}") for ending in (_UNFINISHED, _FINISHED, _OLD)
    )
    try:
        unfinished.mkdir()
        with _held(unfinished):
            yield unfinished
            unfinished.rename(finished)
            if target.exists():
                target.rename(old)
            try:
                finished.rename(target)
            except BaseException:  # an interruption at this very point too
                if old.exists():
                    old.rename(target)
                raise
    finally:
        for folder in (unfinished, finished):
            shutil.rmtree(folder, ignore_errors=True)
    atomic.flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> bool:
    """Finish what a process began that was killed while it replaced a folder. Does nothing while one is at it.

    A finished new folder takes the place, else the old one goes back to it. What is left beside a folder that is
    there, and what is unfinished, is removed.

    Returns:
        whether the folder was missing and is there again.

    Raises:
        OSError: it cannot be renamed, or the folder that it lies in cannot be read.
    """
    beside = sorted(target.parent.iterdir()) if target.parent.is_dir() else []
    left = [path for path in beside if _is_left(target, path)]
    found: dict[str, list[Path]] = {}
    for path in left:
        if not _in_use(path):
            found.setdefault(path.suffix[1:], []).append(path)
    if len(left) > sum(map(len, found.values())):
        return False  # another process is between two steps, and will take them itself
    back = False
    for ending in (_FINISHED, _OLD):
        for path in found.get(ending, ()):
            if not os.path.lexists(target):
                path.rename(target)
                back = True
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return back


def _mark(target: Path) -> str:
    return f".{target.name[:100]}."


def _is_left(target: Path, path: Path) -> bool:
    """Whether a path is one of the names of :func:`replaced_folder`, and not that of another folder like it."""
    digits, _, ending = path.name.removeprefix(_mark(target)).partition(".")
    return (
        path.name.startswith(_mark(target))
        and len(digits) == 2 * _BYTES
        and not set(digits) - set("0123456789abcdef")
        and ending in (_UNFINISHED, _FINISHED, _OLD)
        and path.is_dir()
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Let other processes see that this one is at a folder, whatever it is renamed to."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _in_use(folder: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # gone in the meantime
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
