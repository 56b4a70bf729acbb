"""Examples of a run's data to try its model with: validation images, which nothing is claimed on.

Test images are not taken: whoever tries out a model on them, and changes it, has used them to choose.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.folder import GroupFolder, RunFolder
from pneumo_ui.files import check, contained, read_piece
from pneumo_ui.run_index import Entry
from pneumo_ui.state import State

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset

_SEARCHED = 8 * 2**20  # bytes of the predictions: some ten thousand images
_SETTINGS = 2**20  # bytes
_OF_EACH, _CLASSES = 3, 4


@dataclass(frozen=True)
class Example:
    """A validation image: its name in the dataset, and what is known of it."""

    name: str
    truth: str


def examples_of(state: State, entry: Entry) -> list[Example]:
    """A few validation images of each class; empty where a run has none, or its predictions were not kept."""
    file = _run(entry).predictions / "validation.csv"
    try:
        return _sample(state.folder, file, contained(state.folder, file).stat().st_mtime_ns)
    except FileNotFoundError:
        return []


@lru_cache(maxsize=32)
def _sample(folder: Path, file: Path, _written: int) -> list[Example]:
    piece = read_piece(folder, file, 0, _SEARCHED)
    end = len(piece.content) if piece.size <= _SEARCHED else piece.content.rfind(b"\n") + 1
    by_label: dict[str, list[str]] = {}
    try:
        for row in csv.DictReader(io.TextIOWrapper(io.BytesIO(piece.content[:end]), "utf-8", "replace")):
            label, name = row.get("labels") or "", row.get("name")
            if label not in by_label and len(by_label) == _CLASSES:
                continue
            known = by_label.setdefault(label, [])
            if name and len(known) < _OF_EACH:
                known.append(name)
                if sum(map(len, by_label.values())) == _OF_EACH * _CLASSES:
                    break
    except csv.Error:
        return []
    shown = by_label.items()
    # One of each class, then a second one of each.
    turns = ((label, names[turn]) for turn in range(_OF_EACH) for label, names in shown if turn < len(names))
    return [Example(name, label) for label, name in turns]


def example_image(state: State, entry: Entry, name: str, longest: int = 0) -> bytes:
    """A validation image of a run as a PNG file, with the gray levels that the dataset reads.

    Args:
        longest: pixels of the longer side to make it smaller to; 0: as it is.

    Raises:
        PneumoError: the run has no such image, or its dataset cannot be opened.
    """
    if name not in {example.name for example in examples_of(state, entry)}:
        raise PneumoError("this run has no such example")
    import numpy as np
    from PIL import Image

    folder = _run(entry)
    check(state.folder, folder.settings, _SETTINGS)
    try:
        dataset = _opened(state, folder.path, folder.settings.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise PneumoError("the files of this run are gone") from error
    record = next((record for record in dataset.records if record.name == name), None)
    if record is None:
        raise PneumoError(f"{name} is not in the dataset {dataset.name} any more")
    levels = np.asarray(dataset.read(record))
    if levels.ndim == 3 and levels.shape[0] == 3:
        levels = levels.transpose(1, 2, 0)
    elif levels.ndim == 3:
        levels = levels[0]
    if longest and levels.dtype == np.uint16:
        levels = (levels >> 8).astype(np.uint8)
    picture = Image.fromarray(levels)
    if longest:
        picture.thumbnail((longest, longest))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _run(entry: Entry) -> RunFolder:
    """The run, or the first one of a group."""
    if entry.is_group:
        first = min(
            (path for path in GroupFolder(entry.path).members.glob("*") if path.is_dir()), default=None
        )
        if first is not None:
            return RunFolder(first)
    return RunFolder(entry.path)


@lru_cache(maxsize=2)
def _opened(state: State, path: Path, _written: int) -> Dataset:
    return reopen(state, RunFolder(path))


def reopen(state: State, run: RunFolder) -> Dataset:
    """The dataset of a run.

    Raises:
        PneumoError: it cannot be opened any more.
    """
    from pneumo_cli.runs.record import reopen_settings
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.trainers.session import open_named_dataset

    return open_named_dataset(state.plugins, reopen_settings(state.plugins, run, {}), Progress())
