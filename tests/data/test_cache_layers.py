"""The cache of images of several channels or 16 bits, and of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pneumo_cli.data.cache import cache_usage, decoded_images
from pneumo_cli.data.resizing import resize, resize_mask
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.runtime.progress import Progress
from tests.data.studies import LUNGS, SIDE, Studies

SIZE = 16


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (1, 16), (3, 8), (2, 16)])
def test_each_row_is_the_resized_image_of_its_type(cache: Path, channels: int, bits: int) -> None:
    dataset = Studies(channels=channels, bits=bits)
    for _ in range(2):  # decoded, then from the cache
        found = decoded_images(dataset, SIZE, cache, Progress())
        assert found.images.dtype == (np.uint16 if bits == 16 else np.uint8)
        assert found.images.shape == (32, *((channels,) if channels > 1 else ()), SIZE, SIZE)
        for position in (0, 31):
            expected = resize(dataset.pixels(dataset.records[position]), SIZE)
            assert np.array_equal(found.images[position], expected)


def test_masks_are_cached_beside_the_images_with_their_own_numbers(cache: Path) -> None:
    dataset = Studies(targets=(LUNGS,))
    first = decoded_images(dataset, SIZE, cache, Progress())
    again = decoded_images(Studies(targets=(LUNGS,)), SIZE, cache, Progress())
    assert list(first.masks) == ["lungs"]
    expected = resize_mask(dataset.read_mask(dataset.records[5], "lungs"), SIZE)
    assert set(np.unique(expected)) <= {0, 1, 2, 255}
    assert np.array_equal(first.masks["lungs"][5], expected)
    assert np.array_equal(again.masks["lungs"], first.masks["lungs"])
    assert again.digest == first.digest
    assert cache_usage(cache)[0] == 1


def test_a_mask_that_cannot_be_read_makes_its_image_unreadable_and_unknown(cache: Path) -> None:
    class Torn(Studies):
        def read_mask(self, record, target, size=None):  # type: ignore[no-untyped-def]
            if record.name == "study-03":
                raise UnreadableImage("no such file")
            return super().read_mask(record, target, size)

    found = decoded_images(Torn(targets=(LUNGS,)), SIZE, cache, Progress())
    assert found.unreadable == {3: "mask lungs: no such file"}
    assert (found.masks["lungs"][3] == 255).all()
    assert found.images[3].any()


def test_masks_that_changed_are_noticed(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    decoded_images(Studies(targets=(LUNGS,)), SIZE, cache, Progress())
    changed = Studies(targets=(LUNGS,))
    changed.read_mask = lambda record, target, size=None: np.ones((SIDE, SIDE), np.uint8)  # type: ignore[method-assign]
    found = decoded_images(changed, SIZE, cache, Progress())
    assert (found.masks["lungs"] == 1).all()
    assert len(caplog.messages) == 1
