"""Checks of what a dataset gives: its attributes and records when it is opened, each image when it is read.

Every error names the dataset with its distribution, the record, and the rule. Of the records distinct values are
checked, not each value of each record: 112,120 take a third of a second.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Dataset, Pool, Record, Target, UnusedFiles
from pneumo_cli.data.source import title_of
from pneumo_cli.errors import EXITS, DataError, PneumoError, UnreadableImage, UsageError, shown

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_MOST_CHANNELS = 16
_MOST_BOXES = 200  # of an image: all images have room for as many as one has
_LARGEST = float(np.finfo(np.float32).max)
_TEXTS = {"name": True, "patient": True, "digest": True, "subtype": False, "view": False}  # whether needed


def check_dataset(dataset: Dataset) -> None:
    """Check the attributes and records of a dataset.

    Raises:
        DataError: something is missing, or breaks a rule of :class:`~pneumo_cli.data.records.Dataset`.
    """
    _check_attributes(dataset)
    records: Any = dataset.records
    if isinstance(records, (str, bytes)) or not isinstance(records, Sequence):
        _refuse(dataset, f"records is a {type(records).__name__}: give a list or tuple of Record")
    try:
        kinds = {type(one) for one in records}
    except Exception as error:
        _refuse(dataset, f"its records cannot be listed: {type(error).__name__}: {error}")
    for kind in kinds:
        if not issubclass(kind, Record):
            position = next(place for place, one in enumerate(records) if type(one) is kind)
            _refuse(dataset, f"records[{position}] is a {kind.__name__}, not a Record")
    _check_texts(dataset)
    _check_labels(dataset)
    _check_targets(dataset)


def _check_attributes(dataset: Dataset) -> None:
    for attribute in ("name", "classes", "synthetic", "origin", "place", "records"):
        try:
            getattr(dataset, attribute)
        except AttributeError as error:
            _refuse(dataset, f"it has no attribute {attribute} ({error})")
    for attribute in ("name", "origin", "place"):
        if not isinstance(getattr(dataset, attribute), str):
            _refuse(dataset, f"{attribute} is {getattr(dataset, attribute)!r}: give a text")
    source = dataset.opened_from
    if source is not None and dataset.name != source.entry.spec.name:
        _refuse(dataset, f"name is {dataset.name!r}: give the registered one, {source.entry.spec.name!r}")
    classes = dataset.classes
    if not isinstance(classes, (tuple, list)) or not all(map(_is_line, classes)):
        _refuse(dataset, f"classes is {shown(classes)}: give a tuple of names, each one line")
    if len(set(classes)) < len(classes):
        _refuse(dataset, f"classes names one twice: {', '.join(classes)}")
    if dataset.multilabel and not classes:
        _refuse(dataset, "multilabel is True without classes")
    channels = dataset.channels
    if type(channels) is not int or not 1 <= channels <= _MOST_CHANNELS:
        _refuse(dataset, f"channels is {channels!r}: give a number from 1 to {_MOST_CHANNELS}")
    bits: object = dataset.bits
    if type(bits) is not int or bits not in (8, 16):
        _refuse(dataset, f"bits is {bits!r}: give 8 or 16")
    lists = {"unused": UnusedFiles, "notes": str, "targets": Target, "reading_modules": str}
    for attribute, kind in lists.items():
        values = getattr(dataset, attribute)
        if isinstance(values, str) or not isinstance(values, Sequence):
            _refuse(dataset, f"{attribute} is {shown(values)}: give a tuple of {kind.__name__}")
        if wrong := [value for value in values if not isinstance(value, kind)]:
            _refuse(dataset, f"{attribute} holds {shown(wrong[0])}, not a {kind.__name__}")


def _check_texts(dataset: Dataset) -> None:
    for attribute, needed in _TEXTS.items():
        values = list(map(attrgetter(attribute), dataset.records))
        if set(map(type, values)) - {str}:
            _check_each(dataset, attribute, lambda value: isinstance(value, str), "a text")
        distinct = set(values)
        if needed and "" in distinct:
            _refuse(dataset, f"{attribute} is empty: give a text", values.index(""))
        if _CONTROL.search("".join(distinct)):
            position = next(place for place, value in enumerate(values) if _CONTROL.search(value))
            _refuse(dataset, f"{attribute} is {shown(values[position])}: no control characters", position)
        if attribute == "name" and len(distinct) < len(values):
            twice = Counter(values).most_common(1)[0][0]
            what = "its name is that of another record, too: give each its own"
            _refuse(dataset, what, values.index(twice))


def _check_labels(dataset: Dataset) -> None:
    classes, count = dataset.classes, len(dataset.classes)
    if dataset.multilabel or not classes:
        rule = "0 in a multilabel dataset" if dataset.multilabel else "0 without classes"
        _check_each(dataset, "label", lambda value: _is_whole(value) and value == 0, rule)
    else:
        rule = f"an index into classes, 0 to {count - 1}"
        _check_each(dataset, "label", lambda value: _is_whole(value) and 0 <= value < count, rule)
    if dataset.multilabel:
        rule = f"a tuple of {count}, one for each class: 1 present, 0 absent, -1 unknown"
        _check_each(dataset, "labels", lambda value: _is_tuple(value, count, _is_known), rule)
    else:
        _check_each(
            dataset, "labels", lambda value: _is_tuple(value, 0, bool), "(), it is for multilabel datasets"
        )
    pools = get_args(Pool)
    _check_each(dataset, "pool", lambda value: isinstance(value, str) and value in pools, "'train' or 'test'")
    _check_each(dataset, "validation", lambda value: isinstance(value, (bool, np.bool_)), "True or False")


def _check_targets(dataset: Dataset) -> None:
    kinds: dict[str, list[str]] = {"number": [], "mask": [], "boxes": []}
    for target in dataset.targets:
        if not isinstance(target.name, str) or not _IDENTIFIER.fullmatch(target.name):
            _refuse(dataset, f"the name of the target {shown(target.name)} is no lower-case identifier")
        if not isinstance(target.kind, str) or target.kind not in kinds:
            _refuse(dataset, f"the target {target.name} is of kind {target.kind!r}: {', '.join(kinds)}")
        if not _is_line(target.summary):
            _refuse(dataset, f"the summary of the target {target.name} is {target.summary!r}: give one line")
        kinds[target.kind].append(target.name)
    names = [target.name for target in dataset.targets]
    if len(set(names)) < len(names):
        _refuse(dataset, f"two targets have one name: {', '.join(names)}")
    if len(kinds["boxes"]) > 1:
        _refuse(dataset, f"it has {len(kinds['boxes'])} targets of kind boxes: at most one")
    if kinds["mask"] and type(dataset).read_mask is Dataset.read_mask:
        _refuse(dataset, f"it has masks ({', '.join(kinds['mask'])}) and does not define read_mask")
    count = len(kinds["number"])
    rule = f"a tuple of {count}, one for each target of kind number (NaN: unknown)"
    _check_each(dataset, "numbers", lambda value: _is_tuple(value, count, _is_number), rule)
    if kinds["boxes"]:
        rule = "a tuple of (left, top, right, bottom), shares from 0 to 1 with left < right and top < bottom"
        _check_each(dataset, "boxes", lambda value: _is_tuple(value, None, _is_box), rule)
        most = max((len(one.boxes) for one in dataset.records), default=0)
        if most > _MOST_BOXES:
            _refuse(dataset, f"an image has {most:,} boxes: at most {_MOST_BOXES}")
    else:
        _check_each(
            dataset, "boxes", lambda value: _is_tuple(value, 0, bool), "() without a target of kind boxes"
        )


def _check_each(dataset: Dataset, attribute: str, check: Callable[[Any], bool], rule: str) -> None:
    """Check an attribute of the records: each distinct value once."""
    values = list(map(attrgetter(attribute), dataset.records))
    try:  # 1, 1.0 and True are equal
        distinct: Iterable[Any] = set(values) if len(set(map(type, values))) == 1 else values
    except TypeError:  # there are lists, for example
        distinct = values
    for value in distinct:
        if not check(value):
            position = next(place for place, other in enumerate(values) if other is value)
            _refuse(dataset, f"{attribute} is {shown(value)}: give {rule}", position)


def _is_tuple(value: Any, count: int | None, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and count in (None, len(value)) and all(map(check, value))


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _CONTROL.search(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer))


def _is_known(value: Any) -> bool:
    return _is_whole(value) and value in (-1, 0, 1)


def _is_number(value: Any) -> bool:
    kinds: tuple[Any, ...] = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not abs(value) > _LARGEST


def _is_box(value: Any) -> bool:
    if not _is_tuple(value, 4, _is_number):
        return False
    left, top, right, bottom = value
    return bool(0 <= left < right <= 1 and 0 <= top < bottom <= 1)


def read_image(dataset: Dataset, record: Record, size: int | None = None) -> NDArray[Any]:
    """Read and check one image.

    Returns:
        as :meth:`~pneumo_cli.data.records.Dataset.read`.

    Raises:
        UnreadableImage: the image is damaged or missing.
        DataError: what ``read`` gives or raises breaks its rules.
    """
    image: NDArray[Any] = _read(dataset, record, "read", lambda: dataset.read(record, size))
    dtype, channels = (np.uint16 if dataset.bits == 16 else np.uint8), dataset.channels
    wanted = "[height, width]" if channels == 1 else f"[{channels}, height, width]"
    rule = f"give {np.dtype(dtype).name} {wanted} (channels = {channels}, bits = {dataset.bits})"
    shape = _shape_of(dataset, record, "read", image, rule)
    image = image.astype(image.dtype.newbyteorder("="), copy=False)  # 16-bit files are often big-endian
    if image.dtype != dtype or len(shape) != 2 + (channels > 1) or (channels > 1 and shape[0] != channels):
        _refuse_image(dataset, record, f"read() gives {image.dtype.name} {list(shape)}: {rule}")
    return image


def read_mask(dataset: Dataset, record: Record, target: str, size: int | None = None) -> NDArray[np.uint8]:
    """Read and check one mask; raises as :func:`read_image`."""
    mask: NDArray[np.uint8] = _read(
        dataset, record, "read_mask", lambda: dataset.read_mask(record, target, size)
    )
    rule = f"give uint8 [height, width] for the mask {target}"
    shape = _shape_of(dataset, record, "read_mask", mask, rule)
    if mask.dtype != np.uint8 or len(shape) != 2:
        _refuse_image(dataset, record, f"read_mask() gives {mask.dtype.name} {list(shape)}: {rule}")
    return mask


def check_proportions(
    dataset: Dataset, record: Record, target: str, mask: NDArray[np.uint8], shape: tuple[int, int] | None
) -> None:
    """Check that a mask has its image's proportions, up to the rounding of both to pixels.

    Args:
        shape: height and width of the image; None: they are not known.

    Raises:
        DataError: the mask would not lie on what it names.
    """
    if shape is None:
        return
    (height, width), (mask_height, mask_width) = shape, mask.shape
    if abs(height * mask_width - width * mask_height) > height + width + mask_height + mask_width:
        _refuse_image(
            dataset,
            record,
            f"read_mask() gives the mask {target} of {mask_height} x {mask_width} pixels for an image of {height} "
            f"x {width}: give the image's proportions",
        )


def _read(dataset: Dataset, record: Record, method: str, read: Callable[[], Any]) -> Any:
    where = f"{title_of(dataset)}: record {shown(record.name)}: {method}() failed"
    try:
        return read()
    except (UnreadableImage, OSError):
        raise
    except PneumoError as error:
        raise (DataError if isinstance(error, UsageError) else PneumoError)(f"{where}: {error}") from error
    except MemoryError as error:
        raise PneumoError(f"{where}: out of memory") from error
    except (Exception, *EXITS) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{where}: {text} (for an image that is damaged raise UnreadableImage)") from error


def _shape_of(dataset: Dataset, record: Record, method: str, value: Any, rule: str) -> tuple[int, ...]:
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):  # whose gaps have no levels
        _refuse_image(dataset, record, f"{method}() gives {type(value).__name__}: {rule}")
    if not value.size:
        _refuse_image(dataset, record, f"{method}() gives an empty array {list(value.shape)}: {rule}")
    shape: tuple[int, ...] = value.shape
    return shape


def _refuse_image(dataset: Dataset, record: Record, what: str) -> NoReturn:
    raise DataError(f"{title_of(dataset)}: record {shown(record.name)}: {what}")


def _refuse(dataset: Dataset, what: str, position: int | None = None) -> NoReturn:
    where = ""
    if position is not None:
        name = getattr(dataset.records[position], "name", None)
        where = f"record {shown(name)}: " if isinstance(name, str) and name else f"records[{position}]: "
    raise DataError(f"{title_of(dataset)}: {where}{what}")
