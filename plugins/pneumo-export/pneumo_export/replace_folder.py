"""Atomic replacement of a folder, and recovery after a process was killed during it.

No portable file system exchanges two folders in one step, so there are three: the new folder is completed next to
the old one, the old one is renamed, the new one takes its name. A kill between the last two leaves both complete
under hidden names, and :func:`recover` takes the last step. Single files are written by
:mod:`pneumo_cli.runtime.atomic`.
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
    """Yield an empty folder that replaces ``target`` when the block ends without an exception.

    Raises:
        OSError: it cannot be created or renamed; an existing target is unchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = _prefix(target) + secrets.token_hex(_BYTES)
    unfinished, finished, old = (target.with_name(f"{stem}.{end}") for end in (_UNFINISHED, _FINISHED, _OLD))
    try:
        unfinished.mkdir()
        with _locked(unfinished):
            yield unfinished
            unfinished.rename(finished)
            if target.exists():
                target.rename(old)
            try:
                finished.rename(target)
            except BaseException:  # KeyboardInterrupt, too
                if old.exists():
                    old.rename(target)
                raise
    finally:
        for folder in (unfinished, finished):
            shutil.rmtree(folder, ignore_errors=True)
    atomic.flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> bool:
    """Complete the replacement of a folder by a process that was killed. Does nothing while another is running.

    A completed new folder takes the target's name, otherwise the old one gets it back. Unfinished folders, and all
    leftovers where the target exists, are removed.

    Returns:
        Whether the folder was missing and has been restored.

    Raises:
        OSError: a folder cannot be renamed, or the target's parent cannot be read.
    """
    siblings = sorted(target.parent.iterdir()) if target.parent.is_dir() else []
    leftovers = [path for path in siblings if _is_leftover(target, path)]
    if any(_in_use(path) for path in leftovers):
        return False  # another process is between two steps, and will take them itself
    restored = False
    for end in (_FINISHED, _OLD):
        for path in leftovers:
            if path.suffix == f".{end}" and not os.path.lexists(target):
                path.rename(target)
                restored = True
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return restored


def _prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def _is_leftover(target: Path, path: Path) -> bool:
    """Whether a path has a name of :func:`replaced_folder`, and not merely one with the same prefix."""
    digits, _, end = path.name.removeprefix(_prefix(target)).partition(".")
    return (
        path.name.startswith(_prefix(target))
        and len(digits) == 2 * _BYTES
        and not set(digits) - set("0123456789abcdef")
        and end in (_UNFINISHED, _FINISHED, _OLD)
        and path.is_dir()
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, under whatever name it gets, so that other processes see it in use."""
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
    except OSError:  # removed in the meantime
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
