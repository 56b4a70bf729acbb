"""Locates class folders, with or without split folders. Uses names only and opens no file.

The split folders may lie above the class folders (``train/NORMAL/1.png``) or below them (``NORMAL/train/1.png``).
Folders below a class are its subtypes, but for ``images``; ``masks`` are not read. A folder that alone holds
everything else is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pneumo_cli import DataError
from pneumo_cli.data import ARCHIVES
from pneumo_cli.runtime import uncollected
from pneumo_datasets.class_names import check_shown, chosen_classes
from pneumo_datasets.manifest import SUFFIXES
from pneumo_datasets.split_folders import SplitName, split_named

MAX_SUBTYPES = 50
"""More folders below classes are something else, such as patients."""

_SHOWN = 10  # names in a message
_IMAGES = frozenset({"images", "image", "imgs"})
_MASKS = frozenset({"masks", "mask"})


class Place(NamedTuple):
    """One image.

    Attributes:
        path: below the root.
        name: below the folder that holds the class or split folders.
        split: of its folder; None: there are no split folders.
        title: the class folder.
        subtype: the first folder below the class; empty: there is none.
        below: the path below the class and split folders.
        label: index into the classes.
    """

    path: str
    name: str
    split: SplitName | None
    title: str
    subtype: str
    below: str
    label: int = 0


@dataclass(frozen=True)
class Layout:
    """The images of the chosen classes.

    Attributes:
        places: by class, then file name, then path.
        classes: in order; the index is the label.
        reasons: why an image is not used, by its path; empty: its folder says it.
        notes: what a reader has to know, in sentences.
    """

    places: list[Place]
    classes: tuple[str, ...]
    reasons: dict[str, str]
    notes: tuple[str, ...] = ()


@uncollected()
def find_classes(images: Sequence[str], files: Sequence[str], wanted: Sequence[str], root: str) -> Layout:
    """Locate class folders.

    Args:
        images: POSIX paths of the images below the root.
        files: of all files, for messages.
        wanted: class folders to take, in order, in any case; none: all, a normal one first.
        root: as messages show it.

    Raises:
        DataError: there are no images or no class folders, or one alone.
        UsageError: a wanted class does not exist or is named twice, or it is one alone.
    """
    if not images:
        raise DataError(f"{root} {_nothing(files, zipped=root.lower().endswith('.zip'))}")
    above = _wrapper(images)
    places, reasons = _located(images, above)
    found: dict[str, str] = {}
    for title in dict.fromkeys(place.title for place in places):
        found.setdefault(title.casefold(), title)
    check_shown(found.values(), root)
    classes = _chosen(found, wanted, root, files)
    order = {title.casefold(): label for label, title in enumerate(classes)}
    labels = {title: order.get(title.casefold()) for title in {place.title for place in places}}
    kept = []
    for place in places:
        label = labels[place.title]
        if label is None:
            folder = place.path.removesuffix(place.below).rstrip("/")
            reasons[place.path] = f"in the class folder {folder}"
        else:
            kept.append(place._replace(label=label) if label else place)
    kept.sort(key=lambda place: (place.label, place.name.rpartition("/")[2], place.name))
    finer = len({(place.label, place.subtype) for place in kept if place.subtype})
    if finer <= MAX_SUBTYPES:
        return Layout(kept, classes, reasons, _doubts(kept, classes))
    note = (
        f"The {finer:,} folders below the classes are too many for subtypes; if they are patients, name them with "
        "--patient-pattern '(.+)/'."
    )
    return Layout([place._replace(subtype="") for place in kept], classes, reasons, (note,))


def _wrapper(images: Sequence[str]) -> str:
    """The path, with a final slash, of the folder below which several folders hold the images."""
    above = ""
    while True:
        folder, slash, _ = images[0][len(above) :].partition("/")
        within = above + folder + slash
        if not slash or split_named(folder) or not all(path.startswith(within) for path in images):
            return above
        if not any("/" in path[len(within) :] for path in images):  # a class folder alone
            return above
        above = within


class _Found(NamedTuple):
    """What the images of one folder are; all but the reason as in :class:`Place`.

    Attributes:
        reason: why they are not used; None: they are.
        start: where their paths below the class and split folders begin.
    """

    reason: str | None
    split: SplitName | None = None
    title: str = ""
    subtype: str = ""
    start: int = 0


def _located(images: Sequence[str], above: str) -> tuple[list[Place], dict[str, str]]:
    """The images in class folders, and why others are none."""
    start = len(above)
    parts = {
        folder: folder.split("/") if folder else []
        for folder in dict.fromkeys(path[start:].rpartition("/")[0] for path in images)
    }
    split_above = any(one and split_named(one[0]) for one in parts.values())
    split_below = not split_above and any(len(one) > 1 and split_named(one[1]) for one in parts.values())
    found = {folder: _in_folder(one, split_above, split_below) for folder, one in parts.items()}
    places, reasons = [], {}
    for path in images:
        name = path[start:]
        reason, split, title, subtype, below = found[name.rpartition("/")[0]]
        if reason is None:
            places.append(Place(path, name, split, title, subtype, name[below:]))
        else:
            reasons[path] = reason
    return places, reasons


def _in_folder(folders: Sequence[str], split_above: bool, split_below: bool) -> _Found:
    """What the images of a folder are, by its path below the root and the folders that are passed over."""
    split = split_named(folders[0]) if split_above and folders else None
    title = folders[1:2] if split_above else folders[:1]
    if split_below:
        split = split_named(folders[1]) if len(folders) > 1 else None
    if (split_above or split_below) and split is None:
        return _Found(f"outside of the split folders, in {'/'.join(folders)}" if folders else "")
    if not title:
        return _Found(f"without a class folder, in {folders[0]}" if folders else "")
    depth = 2 if split else 1
    finer = [name for name in folders[depth:] if name.casefold() not in _IMAGES]
    if any(name.casefold() in _MASKS for name in finer):
        return _Found("in folders of masks")
    start = len("/".join(folders[:depth])) + 1
    return _Found(None, split, title[0], finer[0] if finer else "", start)


def _doubts(places: Sequence[Place], classes: Sequence[str]) -> tuple[str, ...]:
    """A note if the class folders may be split folders with unusual names, above the classes: all hold the same."""
    below: list[set[str]] = [set() for _ in classes]
    for place in places:
        below[place.label].add(place.subtype)
    if len(below[0]) < 2 or "" in below[0] or any(other != below[0] for other in below):
        return ()
    return (
        f"All classes have the same subtypes ({', '.join(sorted(below[0])[:_SHOWN])}): if the folders "
        f"{', '.join(classes[:_SHOWN])} are splits, call them train, val and test.",
    )


def _chosen(found: dict[str, str], wanted: Sequence[str], root: str, files: Sequence[str]) -> tuple[str, ...]:
    """The class names in order, as the folders are called."""
    tables = [name for name in files if "/" not in name and name.lower().endswith(SUFFIXES)]
    table = f"; for the labels of {tables[0]}: --dataset table" if tables else ""
    if not found:
        raise DataError(
            f"{root} has no class folders: it has to hold folders of images, one for each class{table}"
        )
    if len(found) == 1 and not wanted:
        raise DataError(
            f"{root} has images of one class only, {found.popitem()[1]}: a classifier needs two or more "
            f"classes{table}"
        )
    return chosen_classes(sorted(found.values()), wanted, root, "class folder", at_least=2)


def _nothing(files: Sequence[str], zipped: bool) -> str:
    archives = [name for name in files if name.lower().endswith(tuple(ARCHIVES))]
    if archives:
        more = f" and {len(archives) - 1} more" if len(archives) > 1 else ""
        readable = not zipped and archives[0].lower().endswith(".zip")
        remedy = ", or name it with --data-root" if readable else ""
        return f"holds an archive, {archives[0]}{more}: unpack it first{remedy}"
    if not files:
        return "is empty: it has to hold folders of images, one for each class"
    return f"contains no images among its files ({', '.join(files[:3])}{', …' if len(files) > 3 else ''})"
