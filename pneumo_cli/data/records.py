"""What a dataset is to the runner: records, and a way to read the picture behind each of them.

A dataset plugin says where images come from, what they show and whose they are. Splits, caching,
augmentation, fingerprints and audits are the core's, so every dataset gets them.
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
    """One image: what it is called, what it shows, and whose it is.

    Attributes:
        name: unique and stable within the dataset, as a person would point at it
            (``train/NORMAL/IM-0115-0001.jpeg``).
        label: index into ``Dataset.classes``.
        patient: key of the patient; records with equal keys are images of one person.
        pool: the division that the dataset itself makes: ``train`` (to be split further) or ``test``.
        digest: hexadecimal content hash; records with equal digests hold identical bytes.
        subtype: a finer class where the data tell it (``bacteria``, ``virus``), else the empty string.
    """

    name: str
    label: int
    patient: str
    pool: Pool
    digest: str
    subtype: str = ""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """What a dataset factory is given.

    Attributes:
        root: the folder or archive that the user named or imported; None where there is none.
        cache: a folder for files that may be deleted at any time (content hashes, decoded images).
        progress: where long steps are shown.
    """

    root: Path | None
    cache: Path
    progress: Progress


class Dataset(ABC):
    """Images with labels, patients and a train/test division.

    Attributes:
        name: the registered name.
        classes: class names; the index is the label. Index 1 is the positive class of a binary dataset.
        synthetic: True where no patient was ever involved; every report says so.
        origin: one sentence for the report: what the data are, whose, under which licence.
        place: where the images lie (a path, or how they are made).
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
        """Decode one image to grey levels.

        Args:
            record: one of ``records``.
            size: the height and width in pixels that the caller will resize to. The result may have this size
                already, or be any other that loses nothing for it (at least twice as large), so that large
                JPEG files decode faster. None asks for the original size.

        Returns:
            uint8 array [height, width], 0 black to 255 white.

        Raises:
            UnreadableImage: the image is damaged, or no image; the message says why.
        """

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the names, labels, patients, pools and contents of all records, as hexadecimal."""
        digest = hashlib.sha256()
        for record in self.records:
            fields = (
                record.name,
                str(record.label),
                record.patient,
                record.pool,
                record.digest,
                record.subtype,
            )
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()
