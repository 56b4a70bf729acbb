"""How to install a distribution: the command that messages and reports end with.

What is in the clone of the repository that pneumo was installed from is named by its folder, as README does.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import lru_cache
from pathlib import Path


def pip_install(*requirements: str) -> str:
    """How to install distributions, to end a message with.

    Args:
        requirements: such as ``pneumo-export``, ``pneumo-datasets[dicom]`` or ``pydicom>=3``.

    >>> pip_install("safetensors")
    'pip install safetensors'
    """
    return shlex.join(["pip", "install", *map(_place, requirements)])


def with_places(text: str) -> str:
    """A text of a plugin that says ``pip install NAME``, with the folder of what is in the clone."""
    return re.sub(r"pip install ([A-Za-z][\w.-]*)", lambda found: pip_install(found[1]), text)


def _place(requirement: str) -> str:
    """The folder of a distribution in the clone, with a ``.`` before it; else the requirement."""
    root = _clone()
    parts = re.fullmatch(r"([A-Za-z][\w.-]*)(\[.*\])?(==.*)?", requirement)
    if root is None or parts is None:
        return requirement
    places = [root / "plugins" / parts[1], root / "examples" / parts[1]]
    folder = root if parts[1] == "pneumo-cli" else next((one for one in places if one.is_dir()), None)
    if folder is None:
        return requirement
    try:
        here = os.path.relpath(folder)
    except (OSError, ValueError):  # the working folder is gone, or on another drive
        here = ".."
    named = str(folder) if here.startswith("..") else "." if here == "." else os.path.join(".", here)
    return named + (parts[2] or "")


@lru_cache(maxsize=1)
def _clone() -> Path | None:
    """The clone of the repository that pneumo was installed from, if there is one, and it is still there."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    folders = [Path(__file__).parents[1]]
    try:
        url = urlsplit(
            str(json.loads(distribution("pneumo-cli").read_text("direct_url.json") or "{}").get("url"))
        )
        folders += [Path(url2pathname(url.path))] if url.scheme == "file" else []
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        pass
    return next((one for one in folders if (one / "plugins" / "requirements.txt").is_file()), None)
