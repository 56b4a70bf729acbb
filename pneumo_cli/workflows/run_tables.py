"""The files of a run's folder that are tables: its epochs and its predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.garbage import uncollected
from pneumo_cli.runtime.json_values import text
from pneumo_cli.workflows.tables import Table

_LARGEST = 512 * 2**20  # bytes
_TEXTS = ("name", "patient", "subtype")
"""Columns of predictions that are text, although patients may have numbers."""
_RENAMED = {"called": "predicted"}  # of version 0.1


def epoch_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; none without the file. A process that was killed may have written half a row.

    Raises:
        PneumoError: it is damaged.
    """
    if not file.exists():
        return []
    lines = _read(file).splitlines()
    rows = []
    for place, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif place < len(lines):
            raise PneumoError(f"{file} is damaged: line {place} is no epoch")
    return rows


def history(file: Path) -> Table:
    """A row per epoch, with ``train_`` and ``validation_`` before the names of metrics. Raises as epoch_rows."""
    return Table(map(_flat, epoch_rows(file)))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{metric}": number for metric, number in value.items()}
        else:
            flat[name] = value
    return flat


@uncollected()
def predictions(file: Path) -> Table:
    """A row per image of a file of predictions, with numbers as numbers.

    Raises:
        PneumoError: it is damaged.
    """
    try:
        written, *rows = csv.reader(io.StringIO(_read(file)), strict=True)
        head = [_RENAMED.get(name, name) for name in written]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(head)
        if len(columns) != len(head) or len(set(head)) < len(head):
            raise ValueError("rows and columns do not match")
    except (ValueError, csv.Error) as error:
        raise PneumoError(f"{file} is damaged ({text(error)})") from error
    values = [cells if name in _TEXTS else _numbers(cells) for name, cells in zip(head, columns, strict=True)]
    return Table(dict(zip(head, row, strict=True)) for row in zip(*values, strict=True))


def _numbers(cells: Sequence[str]) -> Sequence[Any]:
    """The cells of a column as numbers, if all of them are; what is empty is None."""
    kinds: tuple[Callable[[str], Any], ...] = (int, float)
    for kind in kinds:
        try:
            return [kind(cell) if cell else None for cell in cells]
        except ValueError:
            continue
    return cells


def _read(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise PneumoError(f"{file} is too large to be read at once: {size / 2**20:,.0f} MB")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise PneumoError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise PneumoError(f"{file} is damaged: it is not UTF-8") from error
