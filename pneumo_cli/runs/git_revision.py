"""The git commit of the folder that a command was typed in: which state of somebody's own code a run belongs to.

It is read from git's files. git itself is not asked, not even whether files have changed since: the configuration
of a repository may make it start programs. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LONGEST = 4096  # characters of a file that names one commit, or of a line of one that names many
_LINES = 1_000_000  # of packed-refs


def git_revision(folder: Path) -> dict[str, str]:
    """The commit that is checked out where a folder is.

    Returns:
        ``commit``, 40 or 64 hexadecimal digits. Empty outside of a repository, before its first commit, and among
        installed packages.
    """
    if "site-packages" in folder.parts:
        return {}
    try:
        top = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)
        commit = _head(top / ".git") if top is not None else ""
    except (OSError, ValueError):
        return {}
    return {"commit": commit} if commit else {}


def _head(git: Path) -> str:
    """The commit that HEAD names, or nothing. ``git`` is a folder, or a worktree's file that names it."""
    if git.is_file():
        git = git.parent / _text(git).removeprefix("gitdir:").strip()
    head = _text(git / "HEAD")
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else ""
    name = head.removeprefix("ref:").strip()
    if not re.fullmatch(r"refs/[^\0]+", name) or ".." in name:
        return ""
    shared = git / _text(git / "commondir")
    commit = next(filter(None, (_text(place / name) for place in (git, shared))), "")
    if not commit:
        commits = (line.split(" ", 1) for line in _lines(shared / "packed-refs"))
        commit = next((words[0] for words in commits if words[1:] == [name]), "")
    return commit if _COMMIT.fullmatch(commit) else ""


def _text(file: Path) -> str:
    """The first line of a file; empty where there is none. A pipe, which might never end, is no file."""
    return next(_lines(file), "")


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file without what is around them; a longer one comes in pieces."""
    if file.is_file():
        with file.open(encoding="utf-8", errors="replace") as stream:
            for _ in range(_LINES):
                if not (line := stream.readline(_LONGEST)):
                    return
                yield line.strip()
