"""The images of a request: paths, and images in memory of every usual kind, one by one and checked."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from pneumo_cli.data.input_paths import expand
from pneumo_cli.errors import UsageError, named_type, one_line
from pneumo_cli.inference.array_levels import is_tensor
from pneumo_cli.runtime.home import expand_home

_KINDS = (
    "images are paths, bytes of files, PIL images, NumPy arrays, torch tensors and pydicom datasets, or an "
    "iterable of these"
)
_SHAPES = (
    "an image is [H, W], [H, W, 1] or [H, W, 3], or a tensor [1, H, W] or [3, H, W]; several are [N, 1, H, W], "
    "[N, 3, H, W], [N, H, W, 1] or [N, H, W, 3], or, as the only argument, [N, H, W]"
)
_TYPES = "allowed are uint8, uint16 (in gray), bool, and floating point from 0 to 1"


@dataclass(frozen=True)
class InMemory:
    """An image in memory.

    Attributes:
        file: ``image N``, N from 1.
        name: how messages name what was given, such as ``images[3]``.
        content: bytes of a file; an array or tensor [H, W] or [H, W, 3]; one of Pillow's images; a pydicom dataset.
    """

    file: Path
    name: str
    content: Any


Given: TypeAlias = Path | InMemory


def given_images(images: Any) -> Iterator[Given]:
    """Yield the images of a request in their order.

    Folders and globs are searched as by :func:`~pneumo_cli.data.input_paths.expand`. Arrays are checked by their
    shapes and types, files are not opened.

    Args:
        images: one image or an iterable of images, see :meth:`pneumo_cli.Model.predict`.

    Raises:
        UsageError: there is no image, a path names no file, or something is of another kind, shape or type.
    """
    number = 0
    for name, item in _items(images):
        for one in _images_of(item, name, alone=name == "images"):
            number += 1
            yield one if isinstance(one, Path) else InMemory(Path(f"image {number}"), name, one)
    if not number:
        raise UsageError(f"no images are given: {_KINDS}")


def file_bytes(content: Any, name: str) -> bytes | None:
    """The content of a file, if an image in memory is one: bytes, or a pydicom dataset. Else None.

    Raises:
        UsageError: a dataset cannot be written as a file.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if not _is_dicom(content):
        return None
    buffer = io.BytesIO()
    try:
        content.save_as(buffer, enforce_file_format=True)
    except Exception as error:  # pydicom's own classes, for each kind of incompleteness
        raise UsageError(f"{name}: the DICOM dataset is incomplete: {one_line(error)}") from error
    return buffer.getvalue()


def _items(images: Any) -> Iterator[tuple[str, Any]]:
    if _is_one(images):
        yield "images", images
    elif isinstance(images, Iterable) and not hasattr(images, "read"):
        for number, item in enumerate(images):
            yield f"images[{number}]", item
    else:
        raise UsageError(f"images is {named_type(images)}: {_KINDS}")


def _is_one(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.dtype.kind not in "OU"  # arrays of paths
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(images, kinds) or is_tensor(images) or _is_dicom(images)


def _is_dicom(image: Any) -> bool:
    pydicom = sys.modules.get("pydicom")  # whoever has a dataset has imported it
    return pydicom is not None and isinstance(image, pydicom.Dataset)


def _images_of(item: Any, name: str, alone: bool) -> Iterable[Any]:
    if isinstance(item, str | os.PathLike):
        return _files(item, name)
    if isinstance(item, np.ndarray) or is_tensor(item):
        return _split(item, name, alone)
    if _is_one(item):
        return (item,)
    raise UsageError(f"{name} is {named_type(item)}: {_KINDS}")


def _files(path: str | os.PathLike[str], name: str) -> Iterator[Path]:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise UsageError(f"{name} is a path of bytes; give it as str")
    try:
        text = expand_home(text)
        for file in expand([text]):
            if not os.path.lexists(file):
                raise UsageError(f"there is no file {str(file)!r}")
            yield file
    except (ValueError, UsageError) as error:
        raise UsageError(f"{name}: {error}") from None


def _split(array: Any, name: str, alone: bool) -> Iterator[Any]:
    """The images of an array or a tensor, each [H, W] or [H, W, 3]."""
    shape, given = [*array.shape], f"{name} is {_described(array)}"
    if 0 in shape:
        raise UsageError(f"{given}, which holds no image")
    if not _is_level(array.dtype):
        raise UsageError(f"{given}: {_TYPES}")
    tensor = is_tensor(array)
    channels = (1, 3)
    last = len(shape) > 2 and shape[-1] in channels
    first = len(shape) > 2 and shape[-3] in channels
    if len(shape) == 2:
        found = array[None, ..., None]
    elif len(shape) == 3 and last != first and (last or shape[0] == 1 or tensor):
        found = array[None] if last else _channels_last(array[None])
    elif len(shape) == 3 and alone and not last and not first and shape[-1] > 4:
        found = array[..., None]
    elif len(shape) == 4 and last != first:
        found = array if last else _channels_last(array)
    else:
        raise UsageError(f"{given}, which is no image or could be several things: {_SHAPES}")
    if found.shape[-1] == 3 and _is_deep(array.dtype):
        raise UsageError(f"{given}: color in 16 bits; {_TYPES}")
    for image in found:
        yield image[..., 0] if image.shape[-1] == 1 else image


def _channels_last(batch: Any) -> Any:
    if is_tensor(batch):
        return batch.permute(0, 2, 3, 1)
    return batch.transpose(0, 2, 3, 1)


def _is_level(dtype: Any) -> bool:
    if not isinstance(dtype, np.dtype):  # torch's
        return dtype.is_floating_point or str(dtype) in ("torch.bool", "torch.uint8", "torch.uint16")
    return bool(dtype.kind in "bf" or (dtype.kind == "u" and dtype.itemsize <= 2))


def _is_deep(dtype: Any) -> bool:
    if not isinstance(dtype, np.dtype):
        return str(dtype) == "torch.uint16"
    return bool(dtype.kind == "u" and dtype.itemsize == 2)


def _described(array: Any) -> str:
    kind = "a tensor" if is_tensor(array) else "an array"
    return f"{kind} {str(array.dtype).removeprefix('torch.')} {[*array.shape]}"
