"""Imported data: where they are, and copies of them.

``HOME/places.json`` maps a dataset's name to the folder or archive that it is read from, so that ``--data-root`` is
needed only once. Copies are in ``HOME/<dataset>/<fingerprint>``; they are created atomically and never overwritten.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from pneumo_cli.data.dataset_checks import check_dataset
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.errors import DataError, PneumoError, UnreadableImage, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map
from pneumo_cli.specs import DatasetSpec, load_reference

MAX_UNPACKED = 64 * 2**30
"""Largest unpacked size of an archive, in bytes; the largest public chest radiograph sets have smaller parts."""

MAX_RATIO = 200
"""Largest ratio of an archive's unpacked size to its size; images hardly compress, zip bombs do."""

_log = logging.getLogger("pneumo")
_ELSEWHERE = "choose another folder with --data-home or PNEUMO_DATA_HOME"
_Open = Callable[[Path, Path], Dataset]


def import_data(
    spec: DatasetSpec,
    source: Path,
    home: Path,
    *,
    copy: bool,
    cache: Path,
    progress: Progress,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Check data, copy them if wanted, and record their location.

    Args:
        spec: the dataset that the data belong to.
        source: a folder or a zip archive.
        home: folder of ``places.json`` and copies.
        copy: copy the files, or unpack the archive, below ``home``; otherwise they are read in place.
        cache: for content hashes.
        progress: shows long steps.
        options: the dataset's own, validated; None: it has none.

    Returns:
        The absolute path that is recorded for the dataset.

    Raises:
        UsageError: the dataset is not read from files.
        DataError: the data are not of this dataset, or the archive is unsafe to unpack.
        PneumoError: copying failed; nothing is left behind.
    """
    if not spec.needs_root:
        raise UsageError(f"the dataset {spec.name} is not read from files: there is nothing to import")
    source = Path(os.path.abspath(source))

    def opened(root: Path, cache: Path) -> Dataset:
        dataset = load_reference(spec.factory)(DatasetRequest(root, cache, progress, options or {}))
        if not isinstance(dataset, Dataset):
            raise PneumoError(f"the dataset {spec.name} returned {type(dataset).__name__}, not a Dataset")
        check_dataset(dataset)
        return dataset

    dataset = opened(source, cache)
    root = _copy(source, dataset, home / spec.name, opened, cache, progress) if copy else source
    remember(home, spec.name, root)
    return root


def remember(home: Path, name: str, path: Path) -> None:
    """Record that the dataset ``name`` is at ``path``. Raises PneumoError if that cannot be written."""
    try:
        atomic.write_json(home / "places.json", places(home) | {name: os.path.abspath(path)})
    except OSError as error:
        raise PneumoError(f"cannot write {home / 'places.json'}: {error.strerror}; {_ELSEWHERE}") from error


def remembered(home: Path, name: str) -> Path | None:
    """Return the recorded location of the dataset ``name``, which may no longer exist; None: never imported."""
    place = places(home).get(name)
    return Path(place) if place else None


def places(home: Path) -> dict[str, str]:
    """Return the locations of all imported datasets by name."""
    path = home / "places.json"
    try:
        content = json.loads(path.read_bytes())
        return {str(name): place for name, place in content.items() if isinstance(place, str)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError):
        _log.warning("%s cannot be read: give --data-root, or import the data again", path)
        return {}


def _copy(source: Path, dataset: Dataset, into: Path, opened: _Open, cache: Path, progress: Progress) -> Path:
    """Return a copy of the data in the folder ``into``: an existing one, or a new one."""
    files = ImageFiles(source)
    names = files.files()
    if source.is_file():
        _check_archive(source)
    _check_names(source, names)
    for number in count(1):
        target = into / (dataset.fingerprint[:12] + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(target):
            break
        if _holds(target, dataset, opened, cache):
            return target
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(into) as copy:
            _copy_files(files, names, copy, progress)
            # With its own cache: hashes of files under a temporary name are useless later.
            with tempfile.TemporaryDirectory() as scratch:
                if opened(copy, Path(scratch)).fingerprint != dataset.fingerprint:
                    raise PneumoError(f"the copy of {source} in {into} differs from it: import it again")
            os.rename(copy, target)
        atomic.flush_folder(into)
    except OSError as error:
        raise PneumoError(
            f"cannot copy {source} to {into}: {error.strerror or error}; {_ELSEWHERE}"
        ) from error
    return target


def _holds(target: Path, dataset: Dataset, opened: _Open, cache: Path) -> bool:
    try:
        return opened(target, cache).fingerprint == dataset.fingerprint
    except DataError:
        return False


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    folder = parent / f".{secrets.token_hex(6)}{atomic.TEMPORARY_SUFFIX}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # already renamed after a success


def _copy_files(files: ImageFiles, names: list[str], target: Path, progress: Progress) -> None:
    def copy(name: str) -> None:
        try:
            data = files.read_bytes(name)
        except UnreadableImage as error:
            raise DataError(
                f"{name} in {files.root} cannot be copied ({error}): repair it, or import without copying"
            ) from None
        (target / name).write_bytes(data)

    for folder in sorted({PurePosixPath(name).parent for name in names}):
        (target / folder).mkdir(parents=True, exist_ok=True)
    with progress.stage("copying", len(names), "files") as advance, closing(ordered_map(copy, names)) as done:
        for _ in done:
            advance(1)
    if hasattr(os, "sync"):
        os.sync()  # far cheaper than syncing each file


def _check_archive(path: Path) -> None:
    """Refuse an archive that is unsafe to unpack."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        drive = len(parts.parts) > 0 and parts.parts[0].endswith(":")
        if parts.is_absolute() or drive or ".." in parts.parts:
            raise DataError(f"{path} is not unpacked: its member {member.filename!r} points outside of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{path} is not unpacked: its member {member.filename!r} is a link")
    total = sum(member.file_size for member in members)
    size = path.stat().st_size
    if total > MAX_UNPACKED or total > MAX_RATIO * size:
        sizes = f"its {size / 2**20:,.1f} MiB would unpack to {total / 2**20:,.1f} MiB"
        raise DataError(f"{path} is not unpacked: {sizes}")


def _check_names(source: Path, names: list[str]) -> None:
    """Refuse names that would be the same file on a case-insensitive file system."""
    by_folded: dict[str, str] = {}
    for name in names:
        other = by_folded.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"{source} is not copied: {other!r} and {name!r} differ only in case")
