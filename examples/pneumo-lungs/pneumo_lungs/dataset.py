"""The dataset ``phantom-lungs``: pneumo-phantom's images, each with a mask of the lungs in place of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data import DatasetRequest, Record, Target
from pneumo_phantom.dataset import PhantomDataset, rendered_size
from pneumo_phantom.rendering import lung_mask


class PhantomLungs(PhantomDataset):
    """Synthetic chest radiographs with the mask ``lungs``: 1 where lung is seen, behind the heart not.

    Args:
        images: in total; a fifth of them are the test pool.
    """

    name = "phantom-lungs"
    targets: Sequence[Target] = (Target("lungs", "mask", "lungs, without what heart and diaphragm hide"),)

    def __init__(self, images: int) -> None:
        super().__init__(train_images=images - images // 5, test_images=images // 5)
        unlabelled = [replace(record, label=0, subtype="") for record in self.records]
        self.classes = ()
        self.records = tuple(sorted(unlabelled, key=lambda record: record.name))

    def read_mask(self, record: Record, target: str, size: int | None = None) -> NDArray[np.uint8]:
        """The mask, rendered at the size of the image that :meth:`read` renders."""
        subject, image = self.subject_of(record)
        return lung_mask(subject, image, rendered_size(size))


def open_dataset(request: DatasetRequest) -> PhantomLungs:
    """The registered factory."""
    return PhantomLungs(int(request.options["cohort"]))
