"""Images of several channels and of 16 bits: decoded from files, and as a network's input."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, unit_levels
from pneumo_cli.data.batch_inputs import ImageInputs
from pneumo_cli.data.decoding import decode
from pneumo_cli.data.level_decoding import decode_levels
from pneumo_cli.data.resizing import gray_in_8_bits
from pneumo_cli.data.scanner_augmentation import ScannerAugmentation
from pneumo_cli.errors import UnreadableImage, UsageError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (20, 30), dtype=np.uint16)
GRAY = COLOR[..., 0]
SIX = Image.Exif()
SIX[0x0112] = 6


def encoded(levels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_color_is_decoded_to_red_green_and_blue(kind: str) -> None:
    assert np.array_equal(decode_levels(encoded(COLOR, kind), 3, 8), COLOR.transpose(2, 0, 1))


@pytest.mark.parametrize("levels", [GRAY, (DEEP >> 4).astype(np.uint16)], ids=["8 bits", "12 bits"])
def test_gray_files_are_repeated_for_a_model_of_color(levels: np.ndarray) -> None:
    data = encoded(levels, "PNG")
    assert np.array_equal(decode_levels(data, 3, 8), np.stack([decode(data)] * 3))


def test_color_is_turned_as_its_orientation_says() -> None:
    smooth = np.asarray(Image.fromarray(COLOR[:4, :6]).resize((60, 40)))
    found = decode_levels(encoded(smooth, "PNG", exif=SIX), 3, 8)
    assert np.array_equal(found, np.rot90(smooth, -1).transpose(2, 0, 1))
    assert np.array_equal(decode_levels(encoded(DEEP, "PNG", exif=SIX), 1, 16), np.rot90(DEEP, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("bits", [16, 12])
def test_16_bits_are_the_stored_values(kind: str, bits: int) -> None:
    stored = (DEEP >> (16 - bits)).astype(np.uint16)
    found = decode_levels(encoded(stored, kind), 1, 16)
    assert found.dtype == np.uint16
    assert np.array_equal(found, stored)


def test_8_bits_are_spread_over_16() -> None:
    assert np.array_equal(decode_levels(encoded(GRAY, "PNG"), 1, 16), GRAY.astype(np.uint16) * 257)


def test_gray_with_8_bits_is_what_the_decoder_of_datasets_gives() -> None:
    data = encoded(COLOR, "JPEG")
    for size in (None, 8):
        assert np.array_equal(decode_levels(data, 1, 8, size), decode(data, size))


@pytest.mark.parametrize(("channels", "bits", "shape"), [(3, 8, (3, 9, 9)), (1, 16, (9, 9))])
def test_levels_are_resized(channels: int, bits: int, shape: tuple[int, ...]) -> None:
    assert decode_levels(encoded(COLOR, "PNG"), channels, bits, 9).shape == shape


@pytest.mark.parametrize(("channels", "bits"), [(3, 8), (1, 16)])
@pytest.mark.parametrize("data", [b"", b"no image", encoded(COLOR, "PNG")[:80]], ids=["empty", "text", "cut"])
def test_damaged_files_are_unreadable(data: bytes, channels: int, bits: int) -> None:
    with pytest.raises(UnreadableImage):
        decode_levels(data, channels, bits)


@pytest.mark.parametrize(("channels", "bits"), [(2, 8), (3, 16)])
def test_what_files_cannot_hold_is_refused(channels: int, bits: int) -> None:
    with pytest.raises(UsageError, match=f"{channels} channels of {bits} bits"):
        decode_levels(encoded(COLOR, "PNG"), channels, bits)


# --- a network's input -----------------------------------------------------------------------------------------

TRANSFORMS = [
    EvaluationTransform(),
    ReportAugmentation(seed=1),
    ScannerAugmentation(seed=1, zoom=0.2, shift=0.1, gamma=0.3, border=0.1, blur=2.0),
    EvaluationTransform(standardize=True),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda one: type(one).__name__)
def test_equal_channels_give_what_the_gray_image_gives(transform: ReportAugmentation) -> None:
    gray = torch.from_numpy(RNG.integers(0, 256, (5, 24, 24), dtype=np.uint8))
    color = gray[:, None].expand(-1, 3, -1, -1).contiguous()
    index = torch.arange(5)
    assert torch.allclose(transform(color, index, 3), transform(gray, index, 3), atol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda one: type(one).__name__)
def test_16_bits_give_what_8_bits_of_the_same_image_give(transform: ReportAugmentation) -> None:
    gray = torch.from_numpy(RNG.integers(0, 256, (5, 24, 24), dtype=np.uint8))
    deep = torch.from_numpy(gray.numpy().astype(np.uint16) * np.uint16(257))
    index = torch.arange(5)
    assert torch.allclose(transform(deep, index, 3), transform(gray, index, 3), atol=1e-5)


def test_channels_stay_apart() -> None:
    color = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    color[:, 1] = 255
    mean = EvaluationTransform(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(color, torch.arange(1), 0).mean(
        (2, 3)
    )
    assert mean.tolist() == [[0.0, 1.0, 0.0]]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([2, 3, 4, 5]), st.booleans(), st.integers(0, 99))
def test_other_channels_than_the_networks_become_the_gray_that_everything_else_sees(
    channels: int, deep: bool, seed: int
) -> None:
    kind = np.uint16 if deep else np.uint8
    images = np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (2, channels, 4, 4)).astype(kind)
    gray = unit_levels(torch.from_numpy(images), 1)
    assert gray.shape == (2, 1, 4, 4)
    assert np.abs(gray[:, 0].numpy() * 255 - gray_in_8_bits(images)).max() <= 0.51


def test_a_transform_of_gray_images_makes_color_gray() -> None:
    color = torch.from_numpy(COLOR.transpose(2, 0, 1)[None, :, :20, :20].copy())
    found = EvaluationTransform(gray=True)(color, torch.arange(1), 0)
    gray = torch.from_numpy(gray_in_8_bits(color.numpy()))
    assert torch.allclose(found, EvaluationTransform()(gray, torch.arange(1), 0), atol=0.02)


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 3, 8, 8)])
def test_batches_of_16_bits_hold_the_right_images(shape: tuple[int, ...]) -> None:
    images = torch.from_numpy(RNG.integers(0, 2**16, shape).astype(np.uint16))
    inputs = ImageInputs(images, EvaluationTransform(), torch.device("cpu"))
    found = inputs(np.array([4, 1, 4 + 6]), 0)
    assert torch.equal(
        found,
        EvaluationTransform()(images.view(torch.int16)[[4, 1, 4]].view(torch.uint16), torch.arange(3), 0),
    )


def test_float_images_are_gray_levels_from_0_to_255_and_only_uint16_ones_reach_65535() -> None:
    levels = torch.tensor([[[0, 51], [102, 255]]])
    for images in (levels.to(torch.uint8), levels.float(), levels, (levels * 257).to(torch.uint16)):
        assert unit_levels(images).flatten().tolist() == pytest.approx([0, 0.2, 0.4, 1])
