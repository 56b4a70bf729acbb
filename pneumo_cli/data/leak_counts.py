"""How many patients and images the splits of a run share, kept in the cache: the search for altered copies takes
seconds, and runs on the same images and the same split find the same."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from pneumo_cli.data.leakage import find_leaks
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.runtime import atomic

_FORMAT = 1  # of the file and of the search: changes with what find_leaks finds
_COUNTS = ("patients", "images", "identical", "pixels", "near")
_log = logging.getLogger("pneumo")


def leak_counts(data: PreparedData, cache: Path) -> list[dict[str, Any]]:
    """The counts between train and validation, train and test, validation and test; as :meth:`Leak.plain`.

    Args:
        cache: folder of all caches. One that cannot be written, or has been damaged, costs the search.
    """
    path = cache / "leaks" / f"{_key(data)}.json"
    known = _read(path) if data.images_digest else None
    if known is not None:
        return known
    counts = [pair.plain() for pair in find_leaks(data).pairs]
    if data.images_digest:
        try:
            atomic.write_json(path, {"format": _FORMAT, "pairs": counts})
        except OSError as error:
            _log.debug("the counts of shared images cannot be kept in %s: %s", path.parent, error.strerror)
    return counts


def _key(data: PreparedData) -> str:
    """Of everything that the search depends on: records, pixels, and the positions of each split."""
    key = hashlib.sha256(f"{data.fingerprint} {data.images_digest} {data.size}".encode())
    for name, positions in data.split.parts().items():
        key.update(f"{name} {len(positions)}".encode())
        key.update(positions.tobytes())
    return key.hexdigest()[:32]


def _read(path: Path) -> list[dict[str, Any]] | None:
    """The counts in a file; None without one that has all of them."""
    try:
        content = json.loads(path.read_bytes())
        pairs = content["pairs"]
        known = [
            {"between": [str(name) for name in pair["between"]], **{name: pair[name] for name in _COUNTS}}
            for pair in pairs
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    whole = all(type(pair[name]) is int and pair[name] >= 0 for pair in known for name in _COUNTS)
    right = [pair["between"] for pair in known] == [
        ["train", "validation"],
        ["train", "test"],
        ["validation", "test"],
    ]
    return known if content.get("format") == _FORMAT and whole and right else None
