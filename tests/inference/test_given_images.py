"""Images in memory: what their shapes and types mean, and that they are read as files with the same content."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.data.level_decoding import decode_levels
from pneumo_cli.errors import UnreadableImage, UsageError
from pneumo_cli.inference.array_levels import array_of, levels_of
from pneumo_cli.inference.given_images import InMemory, given_images

KINDS = ((1, 8), (1, 16), (3, 8))
"""Channels and bits of models."""

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (20, 30), dtype=np.uint8)
COLOR = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(20), np.arange(30)).astype(np.uint16)


def file_of(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(data, kind, **options)
    return data.getvalue()


def levels(image: Any, kind: tuple[int, int] = (1, 8), depth: int | None = None) -> np.ndarray:
    (given,) = given_images(image)
    assert isinstance(given, InMemory)
    return levels_of(array_of(given.content), *kind, depth, given.name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "array", [GRAY, COLOR, SMOOTH * 70, SMOOTH * 1337, SMOOTH, np.zeros((9, 8), np.uint16)], ids=str
)
def test_an_array_is_what_the_file_with_its_values_is(kind: tuple[int, int], array: np.ndarray) -> None:
    expected = decode_levels(file_of(array), *kind)
    tensor = torch.from_numpy(array)
    forms = [array, tensor, array[None] if array.ndim == 2 else tensor.permute(2, 0, 1), array[::-1][::-1]]
    if array.dtype == np.uint16:
        forms.append(array.astype(">u2"))
    for form in forms:
        found = levels(form, kind)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_pillow_image_is_what_its_file_is(kind: tuple[int, int], mode: str) -> None:
    image = Image.fromarray(SMOOTH * 70) if mode == "I;16" else Image.fromarray(COLOR).convert(mode)
    data = file_of(image, "TIFF" if mode == "CMYK" else "PNG")
    expected = decode_levels(data, *kind)
    assert np.array_equal(levels(image, kind), expected)
    assert np.array_equal(levels(Image.open(io.BytesIO(data)), kind), expected)


def test_a_pillow_image_is_turned_as_its_file_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(GRAY, "PNG", exif=exif)
    found = levels(Image.open(io.BytesIO(data)))
    assert found.shape == (30, 20)
    assert np.array_equal(found, decode_levels(data, 1, 8))


def test_numbers_from_0_to_1_are_those_levels() -> None:
    for kind in KINDS:
        for values in (GRAY / 255, torch.from_numpy(GRAY) / 255):
            assert np.array_equal(levels(values, kind), levels(GRAY, kind))
    assert np.array_equal(levels(COLOR / np.float32(255)), levels(COLOR))
    assert np.array_equal(levels(SMOOTH / 65_535, (1, 16)), SMOOTH)
    assert np.array_equal(levels(GRAY > 99), 255 * (GRAY > 99).astype(np.uint8))
    assert np.array_equal(levels(torch.ones(1, 9, 9, dtype=torch.bfloat16)), np.full((9, 9), 255))


def test_bits_say_which_value_is_white() -> None:
    twelve = SMOOTH * 20
    assert levels(twelve).max() == 239, "10 bits, as of a file that does not say how many"
    assert levels(twelve, depth=12).max() == 60
    assert np.array_equal(levels(Image.fromarray(twelve), depth=12), levels(twelve, depth=12))
    assert np.array_equal(levels(twelve, (1, 16), 12), twelve), "such models are trained on stored values"
    with pytest.raises(UsageError, match="images holds the value 960, which bits=8 excludes"):
        levels(twelve, depth=8)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((9, 9), np.nan), "from nan to nan"),
        (np.full((9, 9), 1.01), "from 1.01 to 1.01: allowed are those from 0"),
        (torch.full((1, 9, 9), -1e-3), "before any normalization"),
    ],
)
def test_numbers_outside_of_their_range_are_refused(values: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        levels(values)


def test_pillow_images_that_cannot_be_loaded_or_have_32_bits_are_unreadable() -> None:
    whole = file_of(GRAY)
    for image in (Image.new("I", (9, 9)), Image.open(io.BytesIO(whole[: len(whole) // 2]))):
        with pytest.raises(UnreadableImage):
            levels(image)


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        (np.zeros((9, 8)), [(9, 8)]),
        (np.zeros((9, 8, 1)), [(9, 8)]),
        (np.zeros((9, 8, 3)), [(9, 8, 3)]),
        (np.zeros((1, 9, 8)), [(9, 8)]),
        (torch.zeros(3, 9, 8), [(9, 8, 3)]),
        (torch.zeros(9, 8, 3), [(9, 8, 3)]),
        (np.zeros((2, 9, 8)), [(9, 8)] * 2),
        (torch.zeros(5, 9, 8), [(9, 8)] * 5),
        (torch.zeros(3, 1, 9, 8), [(9, 8)] * 3),
        (torch.zeros(2, 3, 9, 8), [(9, 8, 3)] * 2),
        (np.zeros((2, 9, 8, 3)), [(9, 8, 3)] * 2),
        (np.zeros((2, 9, 8, 1)), [(9, 8)] * 2),
        ([np.zeros((9, 8)), torch.zeros(2, 1, 7, 6)], [(9, 8), (7, 6), (7, 6)]),
        (iter([np.zeros((9, 8))]), [(9, 8)]),
    ],
)
def test_a_shape_says_how_many_images_there_are(given: Any, shapes: list[tuple[int, ...]]) -> None:
    found = list(given_images(given))
    assert [tuple(one.content.shape) for one in found if isinstance(one, InMemory)] == shapes
    assert [str(one.file) for one in found if isinstance(one, InMemory)] == [
        f"image {number + 1}" for number in range(len(shapes))
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "images is an int: images are paths"),
        (None, "images is a NoneType"),
        (io.BytesIO(b""), "images is a BytesIO"),
        ([GRAY, 7], r"images\[1\] is an int"),
        ([(GRAY, 1)], r"images\[0\] is a tuple"),
        ([], "no images are given"),
        ((one for one in ()), "no images are given"),
        (torch.zeros(0, 1, 9, 8), r"tensor float32 \[0, 1, 9, 8\], which holds no image"),
        (
            np.zeros((3, 9, 8), np.uint8),
            r"array uint8 \[3, 9, 8\], which is no image or could be several things",
        ),
        ([torch.zeros(5, 9, 8)], r"images\[0\] is a tensor float32 \[5, 9, 8\], which is no image or could"),
        (np.zeros((9, 8, 4)), r"\[9, 8, 4\], which is no image"),
        (np.zeros((4, 9, 8, 7)), r"\[4, 9, 8, 7\], which is no image"),
        (np.zeros((3, 9, 3)), r"\[3, 9, 3\], which is no image"),
        (np.zeros(9), r"\[9\], which is no image"),
        (np.zeros((9, 8), np.int64), r"int64 \[9, 8\]: allowed are uint8"),
        (torch.zeros(9, 8, dtype=torch.int32), r"int32 \[9, 8\]: allowed are uint8"),
        (np.zeros((9, 8, 3), np.uint16), "color in 16 bits"),
        ("nowhere.png", "images: there is no file 'nowhere.png'"),
        ([Path("nowhere.png")], r"images\[0\]: there is no file 'nowhere.png'"),
        ("nowhere-*.png", "images: no images in nowhere-"),
        ("", "an empty path"),
        (b"x\0".decode(), "a path has no null characters"),
    ],
)
def test_what_is_no_image_is_refused_with_its_place_and_kind(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list(given_images(given))


def test_paths_are_expanded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a/1.png", "a/2.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file_of(GRAY))
    named: Callable[[Any], list[str]] = lambda given: [  # noqa: E731
        str(Path(str(one)).relative_to(tmp_path)) for one in given_images(given)
    ]
    assert named(tmp_path / "a") == named("~/a") == named(f"{tmp_path}/a/*.png") == ["a/1.png", "a/2.png"]
    twice = [tmp_path / "b.png", str(tmp_path / "b.png"), tmp_path / "a"]
    assert named(twice) == ["b.png", "b.png", "a/1.png", "a/2.png"], "one for each that is asked for"
    assert named(np.array(twice[:2], dtype=object)) == ["b.png", "b.png"]
