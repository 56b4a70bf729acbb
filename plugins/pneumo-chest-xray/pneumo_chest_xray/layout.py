"""Where in a folder or archive the radiographs lie. Works on names alone and opens no file.

Both publications have class folders in pool folders: ``train``, ``val`` and ``test`` in the Kaggle archive,
``train`` and ``test`` in Mendeley's. The Kaggle archive holds the whole tree twice, at ``chest_xray`` and at
``chest_xray/chest_xray``; only one copy is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pneumo_cli import DataError
from pneumo_cli.data import Pool

CLASSES = ("NORMAL", "PNEUMONIA")

# The Kaggle archive cut its 16 validation images out of the official training part: they go back (SOURCE 1).
_POOLS: dict[str, Pool] = {"train": "train", "val": "train", "test": "test"}
_LABELS = {name.lower(): label for label, name in enumerate(CLASSES)}


@dataclass(frozen=True, slots=True)
class Place:
    """One image: its path below the root, its name below the chosen tree, and what its folders tell."""

    path: str
    name: str
    pool: Pool
    label: int


def find_images(names: Iterable[str], root: str) -> list[Place]:
    """Choose the tree of radiographs, and list its images by label, then file name, then path.

    Args:
        names: POSIX paths of all images below the root.
        root: how messages call it.

    Raises:
        DataError: no image, no known folder, a part or a class is missing.
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
    # The shallowest complete tree; failing that, the shallowest, to say what it lacks.
    chosen = min(trees, key=lambda tree: (bool(_lack(trees[tree])), len(tree.parts), str(tree)))
    if lack := _lack(trees[chosen]):
        shown = root if chosen == PurePosixPath() else f"{root}/{chosen}"
        raise DataError(
            f"{shown} has {lack}: the archive is incomplete, get it again or name its whole folder"
        )
    return sorted(trees[chosen], key=lambda place: (place.label, PurePosixPath(place.name).name, place.name))


def _lack(places: list[Place]) -> str:
    """Say what a tree lacks; the empty string where it is complete."""
    present = {(place.pool, place.label) for place in places}
    labels = {label for _, label in present}
    if len(labels) == 1:
        label = labels.pop()
        return f"images of one class only, {CLASSES[label]}, and none in a folder {CLASSES[1 - label]}"
    for pool in ("test", "train"):
        missing = [title for label, title in enumerate(CLASSES) if (pool, label) not in present]
        if len(missing) == len(CLASSES):
            return f"no {pool} part (no images in {pool}/NORMAL and {pool}/PNEUMONIA)"
        if missing:
            return f"no images in {pool}/{missing[0]}"
    return ""


def _nothing_found(names: list[str], root: str) -> str:
    expected = "expected are train/NORMAL, train/PNEUMONIA, test/NORMAL and test/PNEUMONIA"
    if not names:
        return f"{root} holds no JPEG or PNG images: {expected}"
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    found = ", ".join("its top" if folder == "." else folder for folder in folders[:4])
    more = f" and {len(folders) - 4} more folders" if len(folders) > 4 else ""
    return f"{root} is not the chest-xray dataset: images were found in {found}{more}; {expected}"
