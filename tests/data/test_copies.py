"""Altered copies are found however they were altered; pictures that look alike are not taken for copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pneumo_cli.data.decoding import resize
from pneumo_cli.data.downsampling import area_weights, shrunk
from pneumo_cli.data.near_duplicates import NearDuplicateIndex, perceptual_hashes

Picture = Image.Image


def drawn(count: int, seed: int, side: int = 160) -> list[Picture]:
    """Pictures of one common shape, as chests are, with broad and fine structure of their own."""

    def field(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
        small = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))

    common = 40 * field(np.random.default_rng(99), 4)
    pictures = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        levels = 128 + common + 10 * field(rng, 6) + 12 * field(rng, 24)
        pictures.append(Image.fromarray(levels.clip(0, 255).astype(np.uint8)))
    return pictures


def stacked(pictures: list[Picture], size: int) -> NDArray[np.uint8]:
    return np.stack([resize(np.asarray(picture.convert("L")), size) for picture in pictures])


def encoded(picture: Picture) -> Picture:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def cropped(left: float, upper: float, right: float, lower: float) -> Callable[[Picture], Picture]:
    def crop(picture: Picture) -> Picture:
        width, height = picture.size
        return picture.crop(
            (
                round(left * width),
                round(upper * height),
                round((1 - right) * width),
                round((1 - lower) * height),
            )
        )

    return crop


def gamma(exponent: float) -> Callable[[Picture], Picture]:
    return lambda picture: picture.point([round(255 * (level / 255) ** exponent) for level in range(256)])


ALTERATIONS: dict[str, Callable[[Picture], Picture]] = {
    "jpeg": encoded,
    "smaller": lambda picture: picture.resize((110, 100), Image.Resampling.BILINEAR),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.25),
    "flatter": lambda picture: ImageEnhance.Contrast(picture).enhance(0.6),
    "steeper": lambda picture: ImageEnhance.Contrast(picture).enhance(1.4),
    "gamma up": gamma(1.6),
    "gamma down": gamma(0.6),
    "cropped at a side": cropped(0.04, 0, 0, 0),
    "cropped at a corner": cropped(0, 0.04, 0.04, 0),
    "cropped all around": cropped(0.04, 0.04, 0.04, 0.04),
    "turned": lambda picture: picture.rotate(2, Image.Resampling.BILINEAR),
    "mirrored": ImageOps.mirror,
    "mirrored and darker": lambda picture: ImageEnhance.Brightness(ImageOps.mirror(picture)).enhance(0.8),
}
PICTURES = drawn(25, 1)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("name", ALTERATIONS)
def test_a_copy_is_found_and_nothing_else(name: str, size: int) -> None:
    count = len(PICTURES)
    altered = [ALTERATIONS[name](picture) for picture in PICTURES]
    both = stacked(PICTURES + altered, size)
    originals, copies = np.arange(count), np.arange(count, 2 * count)
    for first, second in ((originals, copies), (copies, originals)):
        found = NearDuplicateIndex(both).between(first, second)
        assert [(match.first % count, match.second % count) for match in found] == [
            (number, number) for number in range(count)
        ]
        assert {match.mirrored for match in found} == {"mirrored" in name}


def test_pictures_of_one_common_shape_are_no_copies_of_each_other() -> None:
    assert NearDuplicateIndex(stacked(drawn(200, 3), 64)).between(np.arange(200), np.arange(200)) == []


def test_within_one_group_each_pair_is_found_once_and_no_image_is_its_own_copy() -> None:
    images = stacked([*PICTURES[:5], encoded(PICTURES[2])], 64)
    found = NearDuplicateIndex(images).between(np.arange(6), np.arange(6))
    assert [(match.first, match.second) for match in found] == [(2, 5)]
    assert found[0].correlation > 0.9
    assert found[0].bits < 30


def test_images_without_contrast_are_no_copies_of_anything() -> None:
    images = np.zeros((4, 64, 64), np.uint8)
    images[2:] = 200
    assert NearDuplicateIndex(images).between(np.arange(2), np.arange(2, 4)) == []


def test_empty_groups_have_nothing_in_common() -> None:
    nobody = np.zeros(0, np.int64)
    copies = NearDuplicateIndex(stacked(PICTURES[:2], 64))
    assert copies.between(nobody, np.arange(2)) == []
    assert copies.between(np.arange(2), nobody) == []


@pytest.mark.parametrize("shape", [(3, 31, 31), (3, 64)])
def test_too_small_images_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="32 px"):
        NearDuplicateIndex(np.zeros(shape, np.uint8))


def test_a_hash_does_not_depend_on_brightness_and_contrast() -> None:
    images = shrunk(stacked(PICTURES[:8], 64), 32)
    assert np.array_equal(perceptual_hashes(images), perceptual_hashes(0.3 * images + 0.2))


@pytest.mark.parametrize(("length", "size"), [(224, 32), (100, 32), (32, 32), (20, 32)])
def test_shrinking_keeps_the_mean_of_every_area(length: int, size: int) -> None:
    weights = area_weights(length, size)
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(weights.sum(0), size / length)
    levels = np.random.default_rng(0).integers(0, 256, (2, length, length), np.uint8)
    small = shrunk(levels, size)
    assert small.mean((1, 2)) * 255 == pytest.approx(levels.mean((1, 2)), rel=1e-4)
    if length == size:
        assert small * 255 == pytest.approx(levels)


@pytest.mark.real_data
def test_among_real_radiographs_every_altered_copy_is_found_and_no_two_patients_are_taken_for_one() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray" / "train"
    if not folder.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")
    paths = sorted(folder.glob("NORMAL/*.jpeg"))[::2] + sorted(folder.glob("PNEUMONIA/*.jpeg"))[::8]
    pictures = [Image.open(path).convert("L") for path in paths]
    chosen = [pictures[row] for row in range(0, len(pictures), 60)]
    altered = [change(picture) for change in ALTERATIONS.values() for picture in chosen]
    copies = NearDuplicateIndex(stacked(pictures + altered, 96))
    originals = np.arange(len(pictures))
    found = copies.between(originals, np.arange(len(pictures), len(pictures) + len(altered)))
    wanted = {
        (60 * row, len(pictures) + change * len(chosen) + row)
        for change in range(len(ALTERATIONS))
        for row in range(len(chosen))
    }
    patients = [path.name.rsplit("-" if path.parent.name == "NORMAL" else "_", 1)[0] for path in paths]
    strangers = [
        match
        for match in copies.between(originals, originals)
        if patients[match.first] != patients[match.second]
    ]
    assert strangers == []
    assert {(match.first, match.second) for match in found} == wanted
