"""Locates the radiographs in a folder or archive. Uses names only and opens no file.

Both publications have class folders in pool folders: ``train``, ``val`` and ``test`` in the Kaggle archive,
``train`` and ``test`` in Mendeley's. The Kaggle archive holds the whole tree twice, at ``chest_xray`` and at
``chest_xray/chest_xray``; one of the two is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pneumo_cli import DataError
from pneumo_cli.data import Pool

CLASSES = ("NORMAL", "PNEUMONIA")

# The 16 validation images of the Kaggle archive were taken from the official training images (SOURCE 1).
_POOLS: dict[str, Pool] = {"train": "train", "val": "train", "test": "test"}
_LABELS = {name.lower(): label for label, name in enumerate(CLASSES)}


@dataclass(frozen=True, slots=True)
class Place:
    """One image: its path below the root, its name below the selected tree, pool and label."""

    path: str
    name: str
    pool: Pool
    label: int


def find_images(names: Iterable[str], root: str) -> list[Place]:
    """Select the tree of radiographs, and list its images by label, then file name, then path.

    Args:
        names: POSIX paths of all images below the root.
        root: as messages show it.

    Raises:
        DataError: there are no images or no known folders, or images of a pool or class are missing.
    """
    names = list(names)
    trees: dict[PurePosixPath, list[Place]] = defaultdict(list)
    for path in names:
        *above, pool, title, _ = ("", "", *PurePosixPath(path).parts)
        if pool.lower() in _POOLS and title.lower() in _LABELS:
            tree = PurePosixPath(*above)
            name = str(PurePosixPath(path).relative_to(tree))
            trees[tree].append(Place(path, name, _POOLS[pool.lower()], _LABELS[title.lower()]))
    if not trees:
        raise DataError(_nothing_found(names, root))
    # The shallowest complete tree; if there is none, the shallowest, for the error message.
    chosen = min(trees, key=lambda tree: (bool(_missing(trees[tree])), len(tree.parts), str(tree)))
    if missing := _missing(trees[chosen]):
        shown = root if chosen == PurePosixPath() else f"{root}/{chosen}"
        raise DataError(
            f"{shown} has {missing}: the archive is incomplete, get it again or name its whole folder"
        )
    return sorted(trees[chosen], key=lambda place: (place.label, PurePosixPath(place.name).name, place.name))


def _missing(places: list[Place]) -> str:
    """What a tree lacks, in words; the empty string if it is complete."""
    present = {(place.pool, place.label) for place in places}
    labels = {label for _, label in present}
    if len(labels) == 1:
        label = labels.pop()
        return f"images of one class only, {CLASSES[label]}, and none in a folder {CLASSES[1 - label]}"
    for pool in ("test", "train"):
        absent = [title for label, title in enumerate(CLASSES) if (pool, label) not in present]
        if len(absent) == len(CLASSES):
            return f"no {pool} images (nothing in {pool}/NORMAL and {pool}/PNEUMONIA)"
        if absent:
            return f"no images in {pool}/{absent[0]}"
    return ""


def _nothing_found(names: list[str], root: str) -> str:
    expected = "the expected folders are train/NORMAL, train/PNEUMONIA, test/NORMAL and test/PNEUMONIA"
    if not names:
        return f"{root} contains no JPEG or PNG images: {expected}"
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    shown = ", ".join("its top level" if folder == "." else folder for folder in folders[:4])
    more = f" and {len(folders) - 4} more folders" if len(folders) > 4 else ""
    return f"{root} is not the chest-xray dataset: images were found in {shown}{more}; {expected}"
