"""The dataset ``folder``: a folder of images for each class, in any of the usual layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pneumo_cli import DataError
from pneumo_cli.data import UNREADABLE, DatasetRequest, FileDataset, ImageFiles, Record, unused_files
from pneumo_cli.runtime import uncollected
from pneumo_datasets.folder_layout import Layout, find_classes
from pneumo_datasets.patients import Image, Patients, find_patients
from pneumo_datasets.settings import FolderSettings, names_of
from pneumo_datasets.split_folders import with_test_pool


class FolderDataset(FileDataset):
    """Images in class folders, see :mod:`pneumo_datasets.folder_layout`.

    Args:
        request: with a root.
        settings: its options.
        name, origin: of the dataset.

    Raises:
        DataError: there are no class folders, one alone, or no training images; a class has too few patients for
            a test set.
        UsageError: the settings do not fit the data.
    """

    synthetic = False

    def __init__(self, request: DatasetRequest, settings: FolderSettings, name: str, origin: str) -> None:
        if request.root is None:
            raise DataError(f"{name} needs its images: name their folder or zip file with --data-root")
        super().__init__(ImageFiles(request.root), request.cache, request.progress)
        self.name, self.origin = name, origin
        files = self.files.files()
        images = self.files.images_among(files)
        layout = find_classes(images, files, names_of(settings.classes), self.place)
        self.classes = layout.classes
        self.paths = {place.name: place.path for place in layout.places}
        patients = find_patients(
            self.files,
            [Image(place.path, place.below) for place in layout.places],
            settings,
            request.progress,
        )
        digests = self.digests(list(self.paths.values()))
        records = _records(layout, patients, digests)
        _check_training(records, self.classes, self.place)
        self.records, made = with_test_pool(records, self.classes, settings.test_fraction, self.place)
        self.unused = unused_files(
            files,
            {*self.paths.values(), *patients.tables},
            lambda path: layout.reasons.get(path, ""),
            self.files.beginning,
        )
        self.notes = (*layout.notes, *patients.notes, *made)


@uncollected()
def _records(layout: Layout, patients: Patients, digests: Mapping[str, str]) -> list[Record]:
    records = []
    for place in layout.places:
        digest = digests[place.path]
        records.append(
            Record(
                name=place.name,
                label=place.label,
                patient=patients.of(place.path, place.name),
                pool="test" if place.split == "test" else "train",
                # That of an unreadable file is its path, which depends on where the class folders lie.
                digest=UNREADABLE + place.name if digest.startswith(UNREADABLE) else digest,
                subtype=patients.subtypes.get(place.path, place.subtype),
                validation=place.split == "validation",
            )
        )
    return records


def _check_training(records: Sequence[Record], classes: Sequence[str], place: str) -> None:
    trained = {record.label for record in records if record.pool == "train" and not record.validation}
    for label, title in enumerate(classes):
        if label not in trained:
            raise DataError(f"{place} has no training images of {title}, only images of other splits")


def open_folder(request: DatasetRequest) -> FolderDataset:
    """Open the class folders below ``request.root``; raises as :class:`FolderDataset`."""
    settings = FolderSettings(**request.options)
    return FolderDataset(request, settings, "folder", "Images in class folders of the user")


_COVID = frozenset({"covid", "covid-19", "lung_opacity", "normal", "viral pneumonia"})


def is_covid(names: Sequence[str]) -> bool:
    """Whether it holds class folders of COVID-19 Radiography with their images."""
    folders = {tuple(name.split("/")[-3:-1]) for name in names}
    return {("COVID", "images"), ("Lung_Opacity", "images"), ("Viral Pneumonia", "images")} <= folders


def open_covid(request: DatasetRequest) -> FolderDataset:
    """Open COVID-19 Radiography, whose class folders hold images and masks; raises as :class:`FolderDataset`.

    DataError, too: there are other class folders.
    """
    settings = FolderSettings(**request.options)
    origin = (
        "COVID-19 Radiography Database: 21,165 radiographs of several collections, normal, COVID-19, lung opacity "
        "and viral pneumonia; Chowdhury et al., IEEE Access 2020, Rahman et al. 2021; Kaggle, terms of its sources"
    )
    dataset = FolderDataset(request, settings, "covid19-radiography", origin)
    if strange := [title for title in dataset.classes if title.casefold() not in _COVID]:
        raise DataError(
            f"{dataset.place} is not COVID-19 Radiography: it has class folders such as {strange[0]!r}; "
            "--dataset folder reads any"
        )
    return dataset
