"""The dataset ``chest-xray``: records from file names, images from a folder or a zip archive."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pneumo_chest_xray.layout import CLASSES, Place, find_images
from pneumo_chest_xray.patients import identify
from pneumo_chest_xray.plugin import INSTRUCTIONS
from pneumo_cli import DataError
from pneumo_cli.data import UNREADABLE, Dataset, DatasetRequest, ImageFiles, Record, decode
from pneumo_cli.runtime import Progress

ORIGIN = (
    "Chest radiographs (anteroposterior) of children of one to five years, Guangzhou Women and Children's "
    "Medical Center; Kermany et al. 2018, Mendeley Data rscbjbr9sj, licence CC BY 4.0"
)

_log = logging.getLogger("pneumo")


class ChestXray(Dataset):
    """Kermany's chest radiographs in the Kaggle or the Mendeley layout.

    Attributes:
        unknown_names: number of file names that match no known pattern. Each of these images counts as a patient of
            its own, so a patient may be on both sides of a split undetected.
    """

    name = "chest-xray"
    classes = CLASSES
    synthetic = False

    def __init__(self, root: Path, cache: Path, progress: Progress) -> None:
        self._files = ImageFiles(root)
        places = find_images(self._files.names(), str(root))
        digests = self._files.digests([place.path for place in places], cache, progress)
        records = []
        self.unknown_names = 0
        for place in places:
            identity = identify(PurePosixPath(place.name).stem)
            self.unknown_names += not identity.matched
            records.append(
                Record(
                    name=place.name,
                    label=place.label,
                    patient=identity.patient,
                    pool=place.pool,
                    digest=_relocated(digests[place.path], place),
                    subtype=identity.subtype,
                )
            )
        self.records = records
        self.place = str(root)
        self.origin = ORIGIN
        if self.unknown_names:
            self.origin += (
                f"; {self.unknown_names} images whose names match no known pattern count as a patient each"
            )
            _log.warning(
                "%s: %d of %d file names match no known pattern: each of these images counts as a patient",
                root,
                self.unknown_names,
                len(records),
            )
        self._paths = {place.name: place.path for place in places}

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        return decode(self._files.read_bytes(self._paths[record.name]), size)


def _relocated(digest: str, place: Place) -> str:
    """Make the digest of an unreadable file, which is its path, independent of the tree's location."""
    return UNREADABLE + place.name if digest.startswith(UNREADABLE) else digest


def open_dataset(request: DatasetRequest) -> ChestXray:
    """Open the radiographs below ``request.root``.

    Raises:
        DataError: no root is given; it is missing, empty, or another dataset; a pool or a class has no images.
    """
    if request.root is None:
        raise DataError(
            f"chest-xray needs its images: name their folder or zip file with --data-root, or {INSTRUCTIONS}"
        )
    return ChestXray(request.root, request.cache, request.progress)
