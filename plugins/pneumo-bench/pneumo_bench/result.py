"""The result of a measurement: its values, its tables, its comparison with an earlier one, its file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError, shown
from pneumo_cli.runtime.atomic import try_folder, write_json

FORMAT = 1
"""Of the JSON; a change that earlier versions cannot read has another one."""

_LARGEST = 4_000_000  # bytes of a file of results
_SETTINGS = (
    *("preset", "model", "extensions", "dataset", "image_size", "batch_size"),
    *("precision", "device", "threads"),
)
"""Of a trainer, without which two measurements are not of the same work."""


@dataclass(frozen=True)
class BenchResult:
    """What was measured; printed, the tables of ``pneumo bench``.

    Attributes:
        content: all of it as JSON values.
        before: the content of an earlier measurement, to compare with; empty: none.
    """

    content: Mapping[str, Any]
    before: Mapping[str, Any]

    def __init__(self, content: Mapping[str, Any], before: Mapping[str, Any] = {}) -> None:
        object.__setattr__(self, "content", {**content, **_compared(content, before)})
        object.__setattr__(self, "before", before)

    def __repr__(self) -> str:
        from pneumo_bench.tables import text

        return text(self)

    def against(self, before: Mapping[str, Any]) -> BenchResult:
        """The same, compared with an earlier measurement."""
        return BenchResult(self.content, before)

    def save(self, path: Path) -> None:
        """Write the JSON, in place of an earlier one.

        Raises:
            PneumoError: the file cannot be written.
        """
        try:
            write_json(path, self.content)
        except OSError as error:
            raise PneumoError(f"{path} cannot be written: {error.strerror}") from error


def check_target(path: Path) -> None:
    """Check that results may be written to a file, before anything is measured.

    Raises:
        UsageError: it is something else than a file of results, or its folder cannot be written.
    """
    if path.is_symlink() or path.exists():
        if not path.is_file():
            raise UsageError(f"{path} is no file: --output names one for the JSON")
        try:
            read(path)
        except UsageError as error:
            raise UsageError(f"it would be overwritten: {error}") from None
    try:
        try_folder(path.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UsageError(f"{path} cannot be written: {reason}") from None


def read(path: Path) -> dict[str, Any]:
    """The content of a file that ``--output``, or ``--json``, of ``pneumo bench`` has written.

    Raises:
        UsageError: it is none.
    """
    try:
        if not path.is_file():  # neither a folder nor a pipe, which would never end
            raise UsageError(f"{path} is no file of results" if path.exists() else f"there is no file {path}")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UsageError(f"{path} cannot be read: {reason}") from None
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is larger than results of pneumo bench are")
    try:
        content = json.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no JSON") from None
    if (
        not isinstance(content, dict)
        or "format" not in content
        or not isinstance(content.get("trainers"), list)
    ):
        raise UsageError(f"{path} holds no results of pneumo bench")
    if content["format"] != FORMAT:
        raise UsageError(f"{path} has the format {shown(content['format'])}, and this version reads {FORMAT}")
    return content


def _refused(constant: str) -> float:
    raise ValueError(constant)


def _compared(content: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """``against``: ``before``, ``now`` and ``ratio`` of each value that both have, and ``differs``: sentences."""
    if not before:
        return {}
    now, old = dict(_values(content)), dict(_values(before))
    rows = {
        name: {"before": old[name], "now": value, "ratio": float(f"{value / old[name]:.3g}")}
        for name, value in now.items()
        if old.get(name)
    }
    date = before.get("date")
    known = isinstance(date, str) and re.fullmatch(r"[\dT:+-]{10,32}", date, re.ASCII)
    return {
        "against": {
            "date": date if known else "",
            "differs": list(_differences(content, before)),
            "values": rows,
        }
    }


def _differences(content: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What was another machine or setting: ``cnn threads: 2 before, 1 now``."""
    for name in ("processor", "device_name", "torch"):
        yield from _difference(name, _at(before, "machine", name), _at(content, "machine", name))
    earlier = {str(_at(row, "trainer")): row for row in before["trainers"]}
    for row in content["trainers"]:
        trainer = _at(row, "trainer")
        for name in _SETTINGS if trainer in earlier else ():
            yield from _difference(f"{trainer} {name}", _at(earlier[trainer], name), _at(row, name))


def _difference(name: str, old: Any, new: Any) -> Iterator[str]:
    if None not in (old, new) and old != new:
        yield f"{name}: {shown(old)} before, {shown(new)} now"


def _values(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The medians that are compared, by name; what is no number is left out, as a file may hold anything."""
    for name, unit in (("copy", "memory GB/s"), ("decoding", "decoding images/s")):
        yield from _number(unit, _at(content, name, "median"))
    for precision in ("fp32", "bf16", "fp16"):
        yield from _number(f"product {precision} GFLOP/s", _at(content, "product", precision, "median"))
    for name in ("version", "torch", "first_step"):
        yield from _number(f"start {name} s", _at(content, "start", name))
    for row in content["trainers"]:
        trainer = _at(row, "trainer")
        if not isinstance(trainer, str):
            continue
        for name in ("bare", "step", "epoch", "loader", "evaluation", "forward"):
            yield from _number(f"{trainer} {name} images/s", _at(row, "images_per_second", name, "median"))
        for name in ("bare", "step", "epoch"):
            yield from _number(f"{trainer} {name} of product", _at(row, "share_of_product", name, "median"))
        for name in ("step/bare", "epoch/bare"):
            yield from _number(f"{trainer} {name}", _at(row, "ratios", name, "median"))
        yield from _number(f"{trainer} decoding images/s", _at(row, "decoding"))
        yield from _number(f"{trainer} checkpoint s", _at(row, "checkpoint", "seconds"))
        yield from _number(f"{trainer} memory added bytes", _at(row, "memory", "added"))


def _at(content: Any, *path: str) -> Any:
    for name in path:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _number(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool) and 1e-18 < value < 1e18:
        yield name, value
