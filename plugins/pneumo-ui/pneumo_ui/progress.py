"""How a run goes: its epochs, its log, and the files that it has written so far.

Files are read in pieces, from where the last one ended. Nothing is kept: whoever asks says how far it has read.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.formatting import duration
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.index import RUNNING, ListedRun
from pneumo_cli.runtime.json_values import mapping, number
from pneumo_cli.runtime.streams import printable
from pneumo_ui.files import contained, read_piece

_PIECE = 2**18  # bytes of epochs in one answer: some hundred
_LOG = 2**16  # bytes of the log in one answer
_METRICS = 64  # of one epoch and side
_RECENT = 5  # epochs whose durations tell how long the next ones take
_EPOCH_IMAGES = re.compile(r"epoch-(\d{1,7})\.png")
_INFO = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} INFO ")
_MOST_FILES = 20_000


@dataclass(frozen=True)
class Position:
    """How far a file was read: of which version, and up to which byte. A replaced file is read from its start."""

    version: int = 0
    offset: int = 0

    @classmethod
    def of(cls, text: str) -> Position:
        """A position as :meth:`__str__` writes it; the start for everything else."""
        found = re.fullmatch(r"(\d{1,20})-(\d{1,15})", text, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else cls()

    def __str__(self) -> str:
        return f"{self.version}-{self.offset}"


@dataclass(frozen=True)
class Epochs:
    """Epochs that were read.

    Attributes:
        rows: ``epoch``, ``seconds``, ``learning_rate``, and the metrics by ``train`` and ``validation``.
        position: where to go on.
        again: whether these are the first ones, because nothing was read before or the file was replaced.
        more: whether there are more already.
        damaged: lines that are no epoch.
    """

    rows: Sequence[Mapping[str, Any]]
    position: Position
    again: bool
    more: bool
    damaged: int


def epochs_since(folder: Path, run: RunFolder, position: Position) -> Epochs:
    """The epochs of a run from a position on. A last line that is not finished is read the next time.

    Raises:
        Refused: ``metrics.jsonl`` is not to be read.
    """
    try:
        piece = read_piece(folder, run.metrics, position.offset, _PIECE)
        if piece.version != position.version or piece.size < position.offset:
            position = Position(piece.version, 0)
            piece = read_piece(folder, run.metrics, 0, _PIECE)
    except FileNotFoundError:
        return Epochs((), Position(), again=True, more=False, damaged=0)
    end = piece.content.rfind(b"\n") + 1
    if not end and len(piece.content) == _PIECE:  # a line without an end is none
        return Epochs((), Position(piece.version, piece.offset + _PIECE), piece.offset == 0, True, 1)
    rows, damaged = [], 0
    for line in piece.content[:end].splitlines():
        try:
            row = _row(json.loads(line))
        except (ValueError, RecursionError):
            row = None
        if row is None:
            damaged += 1
        else:
            rows.append(row)
    more = piece.offset + len(piece.content) < piece.size
    return Epochs(rows, Position(piece.version, piece.offset + end), piece.offset == 0, more, damaged)


def latest_epochs(folder: Path, run: RunFolder) -> Sequence[Mapping[str, Any]]:
    """The last epochs of a run, however many there are. Raises as :func:`epochs_since`."""
    try:
        lines = read_piece(folder, run.metrics, -_LOG, _LOG).content.splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):  # the first one may be cut, and the last one unfinished
            if (row := _row(json.loads(line))) is not None:
                rows.append(row)
    return rows


def _row(content: Any) -> dict[str, Any] | None:
    """The numbers of an epoch; None for what is none."""
    epoch = number(mapping(content).get("epoch"))
    if epoch is None:
        return None
    row: dict[str, Any] = {"epoch": int(epoch)}
    for name in ("seconds", "learning_rate", "images_per_second"):
        row[name] = number(content.get(name))
    for side in ("train", "validation"):
        metrics = list(mapping(content.get(side)).items())[:_METRICS]
        row[side] = {printable(name)[:80]: number(value) for name, value in metrics}
    return row


def labels(rows: Sequence[Mapping[str, Any]], task: str) -> dict[str, str]:
    """The labels of the metrics that occur in epochs."""
    names = {name for row in rows[-1:] for side in ("train", "validation") for name in row[side]}
    return {name: metric_label(name, task).label for name in sorted(names)}


def log_since(folder: Path, run: RunFolder, position: Position) -> tuple[str, Position, bool]:
    """The lines of a run's log from a position on, the last ones at first; where to go on; whether from anew.

    Control characters but line ends are escaped, and metrics stand there with four digits and without JSON.

    Raises:
        Refused: ``log.txt`` is not to be read.
    """
    try:
        piece = read_piece(folder, run.log, position.offset if position.version else -_LOG, _LOG)
        again = piece.version != position.version or piece.size < position.offset
        if again and position.version:
            piece = read_piece(folder, run.log, -_LOG, _LOG)
    except FileNotFoundError:
        return "", Position(), True
    content, start = piece.content, piece.offset
    if again and start:  # in the midst of a line
        first = content.find(b"\n") + 1
        content, start = content[first:], start + first
    end = content.rfind(b"\n") + 1
    if not end and len(content) == _LOG:
        end = len(content)
    lines = content[:end].decode("utf-8", "replace").splitlines()
    return (
        "".join(f"{_log_line(printable(line))}\n" for line in lines),
        Position(piece.version, start + end),
        again,
    )


def _log_line(line: str) -> str:
    """A line of the log as it is shown.

    >>> _log_line('2026-01-02 03:04:05,678 INFO epoch 3: validation {"loss": 0.123456789}')
    '2026-01-02 03:04:05 epoch 3: validation loss 0.1235'
    """
    line = _INFO.sub(r"\1 ", line)
    words, begin, values = line.partition("{")
    try:
        content = json.loads(begin + values) if begin else None
    except (ValueError, RecursionError):
        return line
    if not isinstance(content, dict):
        return line
    return (words + _value_words(content)).removesuffix(": validation ")


def _value_words(content: Mapping[str, Any]) -> str:
    words = []
    for name, value in content.items():
        if isinstance(value, dict):
            words.append(f"{name} {_value_words(value)}")
        else:
            words.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(words)


def epoch_images(folder: Path, run: RunFolder) -> list[int]:
    """The epochs of which a trainer has kept images."""
    found = (_EPOCH_IMAGES.fullmatch(name) for name in _names(folder, run.samples))
    return sorted({int(match[1]) for match in found if match})


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights: its name, bytes, and time in seconds since 1970."""

    name: str
    size: int
    written: float


def checkpoints(folder: Path, run: RunFolder) -> list[Checkpoint]:
    """A run's files of weights."""
    found = []
    for name in sorted(_names(folder, run.checkpoints)):
        try:
            facts = os.lstat(run.checkpoints / name)
        except OSError:  # replaced at this moment
            continue
        if name.endswith(".pt") and stat.S_ISREG(facts.st_mode):
            found.append(Checkpoint(name, facts.st_size, facts.st_mtime))
    return found


def _names(folder: Path, inside: Path) -> list[str]:
    try:
        with os.scandir(contained(folder, inside)) as entries:
            return [entry.name for entry, _ in zip(entries, range(_MOST_FILES), strict=False)]
    except (OSError, PneumoError):
        return []


def time_left(run: ListedRun, rows: Sequence[Mapping[str, Any]]) -> str:
    """How long a run will take to its last epoch, from its latest ones; empty if it is not running.

    What comes after the last epoch, the test images and the report, is not in it.
    """
    if run.state != RUNNING or not run.of:
        return ""
    if run.epochs >= run.of:
        return "evaluates on the test images and writes the report"
    took = [row["seconds"] for row in rows if row["epoch"] and row["seconds"] is not None][-_RECENT:]
    if not took:
        return "no epoch is finished yet"
    return f"about {duration((run.of - run.epochs) * sum(took) / len(took))} for {run.of - run.epochs} more epochs"
