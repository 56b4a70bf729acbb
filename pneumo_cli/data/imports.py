"""Where data are kept between runs: the places that were imported, and copies of what was imported.

``HOME/places.json`` maps a dataset's name to the folder or archive that it is read from, so that
``--data-root`` is needed once. Copies lie in ``HOME/<dataset>/<fingerprint>``; they are complete or not
there, and none is ever overwritten.
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
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path, PurePosixPath

from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.errors import DataError, PneumoError, UnreadableImage, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map
from pneumo_cli.specs import DatasetSpec, load_reference

MAX_UNPACKED = 64 * 2**30
"""Bytes that an archive may unpack to. The largest public chest radiograph sets come in parts below this."""

MAX_RATIO = 200
"""How many times its own size an archive may unpack to; images hardly compress, bombs do."""

_log = logging.getLogger("pneumo")
_Open = Callable[[Path, Path], Dataset]


def import_data(
    spec: DatasetSpec, source: Path, home: Path, *, copy: bool, cache: Path, progress: Progress
) -> Path:
    """Check data, copy them if asked to, and remember where they are.

    Args:
        spec: the dataset that the data are read as.
        source: a folder or a zip archive.
        home: where places and copies are kept.
        copy: copy the files, or unpack the archive, below ``home``; otherwise they are read where they are.
        cache: for content hashes.
        progress: where long steps are shown.

    Returns:
        The absolute path that is now remembered for the dataset.

    Raises:
        UsageError: the dataset is not read from files.
        DataError: the data are not of this dataset, or the archive is unsafe to unpack.
        PneumoError: copying failed; nothing is left behind.
    """
    if not spec.needs_root:
        raise UsageError(f"the dataset {spec.name} is not read from files: there is nothing to import")
    source = Path(os.path.abspath(source.expanduser()))

    def opened(root: Path, cache: Path) -> Dataset:
        dataset = load_reference(spec.factory)(DatasetRequest(root=root, cache=cache, progress=progress))
        if not isinstance(dataset, Dataset):
            raise PneumoError(f"the dataset {spec.name} returned {type(dataset).__name__}, not a Dataset")
        return dataset

    dataset = opened(source, cache)
    root = _copied(source, dataset, home / spec.name, opened, cache, progress) if copy else source
    remember(home, spec.name, root)
    return root


def remember(home: Path, name: str, path: Path) -> None:
    """Note that the dataset ``name`` is at ``path``.

    Raises:
        PneumoError: the note cannot be written.
    """
    try:
        atomic.write_json(home / "places.json", places(home) | {name: os.path.abspath(path)})
    except OSError as error:
        raise PneumoError(f"cannot write {home / 'places.json'}: {error.strerror}") from error


def remembered(home: Path, name: str) -> Path | None:
    """Return where the dataset ``name`` was imported from or to; None where it never was.

    The path may have gone since: opening the dataset there says so.
    """
    place = places(home).get(name)
    return Path(place) if place else None


def places(home: Path) -> dict[str, str]:
    """Return where each imported dataset lies, by name; empty where nothing was imported."""
    path = home / "places.json"
    try:
        content = json.loads(path.read_bytes())
        return {str(name): place for name, place in content.items() if isinstance(place, str)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError):
        _log.warning("%s cannot be read: give --data-root, or import the data again", path)
        return {}


def _copied(
    source: Path, dataset: Dataset, folder: Path, opened: _Open, cache: Path, progress: Progress
) -> Path:
    """Return a copy of the data in ``folder``: one that is already there, or a new one."""
    files = ImageFiles(source)
    names = files.files()
    if source.is_file():
        _check_archive(source)
    _check_names(source, names)
    for number in count(1):
        target = folder / (dataset.fingerprint[:12] + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(target):
            break
        if _holds(target, dataset, opened, cache):
            return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(folder) as copy:
            _copy_files(files, names, copy, progress)
            # With a cache of its own: hashes of files under a temporary name are of no use later.
            with tempfile.TemporaryDirectory() as scratch:
                if opened(copy, Path(scratch)).fingerprint != dataset.fingerprint:
                    raise PneumoError(f"the copy of {source} in {folder} differs from it: import it again")
            os.rename(copy, target)
        atomic.flush_folder(folder)
    except OSError as error:
        raise PneumoError(f"cannot copy {source} to {folder}: {error.strerror or error}") from error
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
        shutil.rmtree(folder, ignore_errors=True)  # renamed, and so no longer there, where all went well


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
        os.sync()  # once for all files, which is far cheaper than once for each


def _check_archive(path: Path) -> None:
    """Refuse an archive that a careful person would not unpack."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        drive = len(parts.parts) > 0 and parts.parts[0].endswith(":")
        if parts.is_absolute() or drive or ".." in parts.parts:
            raise DataError(f"{path} is not unpacked: its member {member.filename!r} lies outside of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{path} is not unpacked: its member {member.filename!r} is a link")
    total = sum(member.file_size for member in members)
    size = path.stat().st_size
    if total > MAX_UNPACKED or total > MAX_RATIO * size:
        raise DataError(
            f"{path} is not unpacked: its {size / 2**20:,.1f} MiB claim to hold {total / 2**20:,.1f} MiB"
        )


def _check_names(source: Path, names: list[str]) -> None:
    """Refuse names that would be one file on a file system that does not tell upper from lower case."""
    alike = defaultdict(list)
    for name in names:
        alike[name.casefold()].append(name)
    for group in alike.values():
        if len(group) > 1:
            raise DataError(f"{source} is not copied: {group[0]!r} and {group[1]!r} differ only in case")
