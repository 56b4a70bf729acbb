"""A dataset: records, and a way to read the image of each record.

A dataset plugin provides the images with their labels and patients. Splits, caching, augmentation, fingerprints and
audits are part of the core, for every dataset.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.runtime.progress import Progress

Pool = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """One image with its label and patient.

    Attributes:
        name: unique and stable within the dataset, and readable (``train/NORMAL/IM-0115-0001.jpeg``).
        label: index into ``Dataset.classes``.
        patient: key of the patient; records with equal keys are images of one person.
        pool: the dataset's own division: ``train`` (to be split further) or ``test``.
        digest: hexadecimal content hash; records with equal digests are identical bytes.
        subtype: a finer class where there is one (``bacteria``, ``virus``), else empty.
    """

    name: str
    label: int
    patient: str
    pool: Pool
    digest: str
    subtype: str = ""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """The argument of a dataset factory.

    Attributes:
        root: the folder or archive that the user named or imported, if any.
        cache: a folder for files that may be deleted at any time (content hashes, decoded images).
        progress: shows long steps.
    """

    root: Path | None
    cache: Path
    progress: Progress


class Dataset(ABC):
    """Images with labels, patients and a train/test division.

    Attributes:
        name: the registered name.
        classes: class names; the index is the label. Index 1 is the positive class of a binary dataset.
        synthetic: True if the images are not of patients; stated in every report.
        origin: one sentence for the report: content, source and licence of the data.
        place: where the images are (a path, or how they are generated).
        records: all images, in the order of the source report: by label, then by file name (SOURCE 1).
    """

    name: str
    classes: tuple[str, ...]
    synthetic: bool
    origin: str
    place: str
    records: Sequence[Record]

    @abstractmethod
    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Decode one image to gray levels.

        Args:
            record: one of ``records``.
            size: the height and width in pixels that the caller will resize to. So that large JPEG files decode
                faster, the result may have this size or be at least twice as large. None: the original size.

        Returns:
            uint8 array [height, width], 0 black to 255 white.

        Raises:
            UnreadableImage: it is damaged, or not an image; the message says why.
        """

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the names, labels, patients, pools and contents of all records, as hexadecimal."""
        digest = hashlib.sha256()
        for one in self.records:
            fields = (one.name, str(one.label), one.patient, one.pool, one.digest, one.subtype)
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()
