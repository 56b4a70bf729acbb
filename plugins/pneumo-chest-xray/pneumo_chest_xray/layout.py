"""Locates the radiographs in a folder or archive. Uses names only and opens no file.

Both publications have class folders in pool folders: ``train``, ``val`` and ``test`` in the Kaggle archive,
``train`` and ``test`` in Mendeley's. The Kaggle archive holds the whole tree twice, at ``chest_xray`` and at
``chest_xray/chest_xray``; one of the two is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pneumo_chest_xray.settings import CLASSES
from pneumo_cli import DataError
from pneumo_cli.data import ARCHIVES, Pool, is_image

# The 16 validation images of the Kaggle archive were taken from the official training images (SOURCE 1).
_POOLS: dict[str, Pool] = {
    "train": "train",
    "val": "train",
    "valid": "train",
    "validation": "train",
    "test": "test",
}
_LABELS = {name.lower(): label for label, name in enumerate(CLASSES)}


@dataclass(frozen=True, slots=True)
class Place:
    """One image.

    Attributes:
        path: below the root.
        name: below the selected tree.
        pool: train or test.
        label: index into ``CLASSES``.
        folder: the folder between that of the class and the image, in lower case; empty: there is none.
        validation: whether it is in the validation folder.
    """

    path: str
    name: str
    pool: Pool
    label: int
    folder: str
    validation: bool


@dataclass(frozen=True)
class Layout:
    """The selected tree.

    Attributes:
        tree: its path below the root; ``.``: the root itself.
        places: its images by label, then file name, then path.
        others: paths of further trees.
    """

    tree: PurePosixPath
    places: list[Place]
    others: tuple[PurePosixPath, ...]

    def why_unused(self, path: str) -> str:
        """Why an image is not among the places; empty: its folder says it."""
        parts = PurePosixPath(path)
        for other in self.others:
            if parts.is_relative_to(other) and not self.tree.is_relative_to(other):
                return f"in another copy of the tree, {other}"
        if not parts.is_relative_to(self.tree):
            return ""
        below = parts.relative_to(self.tree).parts
        if len(below) > 2 and below[0].lower() in _POOLS:
            folder = "/".join(below[:2])
            return (
                f"{'of other classes in' if below[1].lower() in _LABELS else 'in the class folder'} {folder}"
            )
        return ""


def recognize(names: Sequence[str]) -> bool:
    """Whether there are radiographs of both classes for training."""
    pairs = {(place.pool, place.label) for tree in _trees(names).values() for place in tree}
    return {("train", 0), ("train", 1)} <= pairs


def find_images(files: Sequence[str], root: str) -> Layout:
    """Select the tree of radiographs.

    Args:
        files: POSIX paths of all files below the root.
        root: as messages show it.

    Raises:
        DataError: there are no images or no known folders, or images of a pool or class are missing.
    """
    trees = _trees(files)
    if not trees:
        raise DataError(_nothing_found(files, root))
    # The shallowest complete tree; if there is none, the shallowest, for the error message.
    chosen = min(trees, key=lambda tree: (bool(_missing(trees[tree])), len(tree.parts), str(tree)))
    if missing := _missing(trees[chosen]):
        shown = root if chosen == PurePosixPath() else f"{root}/{chosen}"
        raise DataError(
            f"{shown} has {missing}: the archive is incomplete, get it again or name its whole folder"
        )
    places = sorted(
        trees[chosen], key=lambda place: (place.label, PurePosixPath(place.name).name, place.name)
    )
    others = sorted((tree for tree in trees if tree != chosen), key=lambda tree: (len(tree.parts), str(tree)))
    return Layout(chosen, places, tuple(others))


def _trees(files: Sequence[str]) -> dict[PurePosixPath, list[Place]]:
    """The images in class folders in pool folders, by the folder that holds the latter."""
    trees: dict[PurePosixPath, list[Place]] = defaultdict(list)
    for path in files:
        parts = path.split("/")
        for at in range(len(parts) - 3, -1, -1):  # from below: a tree may lie in a folder of such a name
            pool, title = parts[at].lower(), parts[at + 1].lower()
            if pool in _POOLS and title in _LABELS:
                if is_image(path):
                    folder = parts[at + 2].lower() if len(parts) > at + 3 else ""
                    validation = pool.startswith("val")
                    name = "/".join(parts[at:])
                    trees[PurePosixPath(*parts[:at])].append(
                        Place(path, name, _POOLS[pool], _LABELS[title], folder, validation)
                    )
                break
    return trees


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


def _nothing_found(files: Sequence[str], root: str) -> str:
    expected = "the expected folders are train/NORMAL, train/PNEUMONIA, test/NORMAL and test/PNEUMONIA"
    images = [name for name in files if is_image(name)]
    if not images:
        archives = [name for name in files if PurePosixPath(name).suffix.lower() in ARCHIVES]
        if archives:
            more = f" and {len(archives) - 1} more" if len(archives) > 1 else ""
            return f"{root} holds an archive, {archives[0]}{more}: unpack it first; {expected}"
        return f"{root} contains no JPEG or PNG images: {expected}"
    folders = sorted({str(PurePosixPath(name).parent) for name in images})
    shown = ", ".join("its top level" if folder == "." else folder for folder in folders[:4])
    more = f" and {len(folders) - 4} more folders" if len(folders) > 4 else ""
    return f"{root} is not the chest-xray dataset: images were found in {shown}{more}; {expected}"
