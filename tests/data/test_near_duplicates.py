"""Near-duplicates: altered copies are found, and images that are merely similar are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pneumo_cli.data.decoding import resize
from pneumo_cli.data.downsampling import shrunk
from pneumo_cli.data.near_duplicates import NearDuplicateIndex, perceptual_hashes


def synthetic_images(count: int, seed: int, side: int = 160) -> list[Image.Image]:
    """Images of one common shape, as chests are, each with coarse and fine structure of its own."""

    def field(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
        small = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))

    common = 40 * field(np.random.default_rng(99), 4)
    images = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        pixels = 128 + common + 10 * field(rng, 6) + 12 * field(rng, 24)
        images.append(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return images


def stacked(images: list[Image.Image], size: int) -> NDArray[np.uint8]:
    return np.stack([resize(np.asarray(image.convert("L")), size) for image in images])


def encoded(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def cropped(left: float, upper: float, right: float, lower: float) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        width, height = image.size
        return image.crop(
            (
                round(left * width),
                round(upper * height),
                round((1 - right) * width),
                round((1 - lower) * height),
            )
        )

    return crop


def gamma(exponent: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.point([round(255 * (level / 255) ** exponent) for level in range(256)])


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": encoded,
    "smaller": lambda image: image.resize((110, 100), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "lower contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "higher contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "gamma up": gamma(1.6),
    "gamma down": gamma(0.6),
    "cropped at a side": cropped(0.04, 0, 0, 0),
    "cropped at a corner": cropped(0, 0.04, 0.04, 0),
    "cropped all around": cropped(0.04, 0.04, 0.04, 0.04),
    "rotated": lambda image: image.rotate(2, Image.Resampling.BILINEAR),
    "flipped": ImageOps.mirror,
    "flipped and darker": lambda image: ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(0.8),
}
IMAGES = synthetic_images(25, 1)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_altered_copy_is_found_and_nothing_else(name: str, size: int) -> None:
    count = len(IMAGES)
    altered = [ALTERATIONS[name](image) for image in IMAGES]
    both = stacked(IMAGES + altered, size)
    originals, copies = np.arange(count), np.arange(count, 2 * count)
    for first, second in ((originals, copies), (copies, originals)):
        found = NearDuplicateIndex(both).between(first, second)
        assert [(match.first % count, match.second % count) for match in found] == [
            (number, number) for number in range(count)
        ]
        assert {match.flipped for match in found} == {"flipped" in name}


def test_images_of_one_common_shape_are_not_near_duplicates() -> None:
    index, everything = NearDuplicateIndex(stacked(synthetic_images(200, 3), 64)), np.arange(200)
    assert index.between(everything, everything) == []


def test_within_one_group_each_pair_is_found_once_and_no_image_matches_itself() -> None:
    images = stacked([*IMAGES[:5], encoded(IMAGES[2])], 64)
    found = NearDuplicateIndex(images).between(np.arange(6), np.arange(6))
    assert [(match.first, match.second) for match in found] == [(2, 5)]
    assert found[0].correlation > 0.9
    assert found[0].bits < 30


def test_blank_images_have_no_near_duplicates() -> None:
    images = np.zeros((4, 64, 64), np.uint8)
    images[2:] = 200
    assert NearDuplicateIndex(images).between(np.arange(2), np.arange(2, 4)) == []


def test_empty_groups_have_no_near_duplicates() -> None:
    empty = np.zeros(0, np.int64)
    copies = NearDuplicateIndex(stacked(IMAGES[:2], 64))
    assert copies.between(empty, np.arange(2)) == []
    assert copies.between(np.arange(2), empty) == []


@pytest.mark.parametrize("shape", [(3, 31, 31), (3, 64)])
def test_too_small_images_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="32 px"):
        NearDuplicateIndex(np.zeros(shape, np.uint8))


def test_a_hash_does_not_depend_on_brightness_and_contrast() -> None:
    images = shrunk(stacked(IMAGES[:8], 64), 32)
    differing = np.bitwise_count(perceptual_hashes(images) ^ perceptual_hashes(0.3 * images + 0.2)).sum(1)
    assert differing.max() <= 1  # a coefficient at the median may be rounded to the other side


@pytest.mark.real_data
def test_among_real_radiographs_every_altered_copy_is_found_and_no_two_patients_match() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray" / "train"
    if not folder.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")
    paths = sorted(folder.glob("NORMAL/*.jpeg"))[::2] + sorted(folder.glob("PNEUMONIA/*.jpeg"))[::8]
    images = [Image.open(path).convert("L") for path in paths]
    chosen = [images[row] for row in range(0, len(images), 60)]
    altered = [change(image) for change in ALTERATIONS.values() for image in chosen]
    copies = NearDuplicateIndex(stacked(images + altered, 96))
    originals = np.arange(len(images))
    found = copies.between(originals, np.arange(len(images), len(images) + len(altered)))
    wanted = {
        (60 * row, len(images) + change * len(chosen) + row)
        for change in range(len(ALTERATIONS))
        for row in range(len(chosen))
    }
    patients = [path.name.rsplit("-" if path.parent.name == "NORMAL" else "_", 1)[0] for path in paths]
    two_patients = [
        match
        for match in copies.between(originals, originals)
        if patients[match.first] != patients[match.second]
    ]
    assert two_patients == []
    assert {(match.first, match.second) for match in found} == wanted
