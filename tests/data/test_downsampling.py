"""Downsampling by area."""

import numpy as np
import pytest

from pneumo_cli.data.downsampling import area_weights, shrunk


@pytest.mark.parametrize(("length", "size"), [(224, 32), (100, 32), (32, 32), (20, 32)])
def test_downsampling_keeps_the_mean_of_every_area(length: int, size: int) -> None:
    weights = area_weights(length, size)
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(weights.sum(0), size / length)
    images = np.random.default_rng(0).integers(0, 256, (2, length, length), np.uint8)
    small = shrunk(images, size)
    assert small.mean((1, 2)) * 255 == pytest.approx(images.mean((1, 2)), rel=1e-4)
    if length == size:
        assert small * 255 == pytest.approx(images)
