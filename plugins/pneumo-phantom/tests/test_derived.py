"""A dataset that derives from the phantom has the same records, and its own images in the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pneumo_cli.data import Record
from pneumo_cli.data.cache import decoded_images
from pneumo_cli.runtime.progress import Progress
from pneumo_phantom.dataset import PhantomDataset

SIZE = 128


class Negative(PhantomDataset):
    """The phantom, white on black."""

    name = "phantom-negative"

    def read(self, record: Record, size: int | None = None) -> np.ndarray:
        return 255 - super().read(record, size)


def test_the_negative_of_the_phantom_is_not_the_positive_from_the_cache(tmp_path: Path) -> None:
    positive, negative = (
        decoded_images(kind(8, 8), SIZE, tmp_path, Progress()) for kind in (PhantomDataset, Negative)
    )
    assert PhantomDataset(8, 8).fingerprint == Negative(8, 8).fingerprint
    assert np.array_equal(negative.images, 255 - positive.images)
    assert negative.digest != positive.digest
