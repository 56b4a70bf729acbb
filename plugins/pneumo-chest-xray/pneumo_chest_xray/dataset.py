"""The dataset ``chest-xray``: records from file names, images from a folder or a zip archive."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from pneumo_chest_xray.layout import Layout, Place, find_images
from pneumo_chest_xray.patients import identify
from pneumo_chest_xray.plugin import INSTRUCTIONS
from pneumo_chest_xray.settings import CLASSES, ChestXraySettings, chosen_classes
from pneumo_cli import DataError
from pneumo_cli.data import UNREADABLE, DatasetRequest, FileDataset, ImageFiles, Record, unused_files

ORIGIN = (
    "Chest radiographs (anteroposterior) of children of one to five years, Guangzhou Women and Children's "
    "Medical Center; Kermany et al. 2018, Mendeley Data rscbjbr9sj, licence CC BY 4.0"
)

_log = logging.getLogger("pneumo")


class ChestXray(FileDataset):
    """Kermany's chest radiographs in the Kaggle or the Mendeley layout.

    Args:
        request: with a root.
        classes: one of :data:`~pneumo_chest_xray.settings.CHOICES`.

    Attributes:
        unknown_names: number of file names that match no known pattern. Each of these images counts as a patient of
            its own, so a patient may be on both sides of a split undetected.
    """

    name = "chest-xray"
    synthetic = False
    origin = ORIGIN

    def __init__(self, request: DatasetRequest, classes: tuple[str, ...] = CLASSES) -> None:
        assert request.root is not None
        root = request.root
        super().__init__(ImageFiles(root), request.cache, request.progress)
        self.classes = classes
        files = self.files.files()
        layout = find_images(files, str(root))
        self.unknown_names = 0
        self.records = self._records(layout, self.digests([place.path for place in layout.places]))
        paths = {place.name: place.path for place in layout.places}
        self.paths = {record.name: paths[record.name] for record in self.records}
        self.unused = unused_files(files, self.paths.values(), layout.why_unused, self.files.beginning)
        if self.unknown_names:
            self.notes = (
                f"{self.unknown_names:,} of {len(paths):,} file names match no known pattern: each of these "
                "images counts as a patient.",
            )
            _log.warning("%s: %s", root, self.notes[0].removesuffix("."))

    def _records(self, layout: Layout, digests: dict[str, str]) -> list[Record]:
        records = []
        for place in layout.places:
            identity = identify(PurePosixPath(place.name).stem)
            self.unknown_names += not identity.matched
            records.append(
                Record(
                    name=place.name,
                    label=place.label,
                    patient=identity.patient,
                    pool=place.pool,
                    digest=_relocated(digests[place.path], place),
                    subtype=identity.subtype or place.folder,
                    validation=place.validation,
                )
            )
        if self.classes == CLASSES:
            return records
        labels = {name: label for label, name in enumerate(self.classes)}
        titles = [record.subtype if record.label else "normal" for record in records]
        chosen = [
            replace(record, label=labels[title])
            for record, title in zip(records, titles, strict=True)
            if title in labels
        ]
        present = {(record.pool, record.label) for record in chosen}
        for title, label in labels.items():
            for pool in ("train", "test"):
                if (pool, label) not in present:
                    raise DataError(
                        f"{self.place} has no images of {title} in {pool}: the subtype is in the file name "
                        "(person23_bacteria_78.jpeg) or is a folder (PNEUMONIA/bacteria)"
                    )
        return sorted(chosen, key=lambda record: record.label)

    @cached_property
    def fingerprint(self) -> str:
        # As in version 0.2, whose runs are resumed: without Record.validation, which is the folder in the name.
        digest = hashlib.sha256()
        for one in self.records:
            fields = (one.name, str(one.label), one.patient, one.pool, one.digest, one.subtype)
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()


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
    return ChestXray(request, chosen_classes(ChestXraySettings(**request.options).classes))
