"""Public datasets with labels in tables, in their published layouts: which file and column holds what.

Column names and folders are those of the publications named in :data:`ORIGINS`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pneumo_cli import DataError, UnreadableImage
from pneumo_cli.data import DatasetRequest
from pneumo_datasets.class_names import means_normal
from pneumo_datasets.labels import labels_of_columns, labels_of_texts
from pneumo_datasets.manifest import Table, column_named, table_below
from pneumo_datasets.plugin import INSTRUCTIONS
from pneumo_datasets.rows import Rows, first_filled
from pneumo_datasets.settings import ArchiveSettings, names_of
from pneumo_datasets.split_folders import SplitName
from pneumo_datasets.table import TableDataset, opened_files

ORIGINS = {
    "nih-chestxray14": "NIH ChestX-ray14: 112,120 frontal radiographs of 30,805 patients, labels mined from "
    "reports; Wang et al., CVPR 2017; NIH Clinical Center, free to use with attribution",
    "chexpert": "CheXpert: 224,316 radiographs of 65,240 patients, labels mined from reports; Irvin et al., AAAI "
    "2019; Stanford University dataset research use agreement",
    "rsna-pneumonia": "RSNA Pneumonia Detection Challenge 2018: 26,684 labelled frontal radiographs of NIH "
    "ChestX-ray14, read by radiologists; Shih et al., Radiology: AI 2019; terms of the Kaggle competition",
    "vindr-cxr": "VinDr-CXR: 18,000 PA radiographs of two hospitals in Vietnam, read by three radiologists (test "
    "set: consensus of five); Nguyen et al., Sci Data 2022; PhysioNet credentialed health data licence",
}

NIH_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip

CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip

_NIH_TABLE = r"Data_Entry_2017\w*\.csv"
_RSNA_TABLE = r"stage_2_train_labels\.csv"
_VINDR_TABLE = r"image_labels_train\.csv"


# --- NIH ChestX-ray14 -------------------------------------------------------------------------------------------


def is_nih(names: Sequence[str]) -> bool:
    """Whether it holds the table of NIH ChestX-ray14."""
    return bool(_shallowest(names, _NIH_TABLE))


def open_nih(request: DatasetRequest) -> TableDataset:
    """Open NIH ChestX-ray14; raises as :class:`~pneumo_datasets.table.TableDataset`."""
    archive = _Archive(request, "nih-chestxray14")
    table = archive.table(_NIH_TABLE)
    images, findings, patients, views = _columns(
        table, "Image Index", "Finding Labels", "Patient ID", "View Position"
    )
    labels = labels_of_texts("Finding Labels", findings, "|", NIH_LABELS, archive.classes, archive.settings)
    split: dict[str, SplitName] = {}
    lists = []
    published: tuple[tuple[str, SplitName], ...] = (
        (r"train_val_list\w*\.txt", "train"),
        (r"test_list\w*\.txt", "test"),
    )
    for pattern, part in published:
        if found := archive.find(pattern):
            lists.append(found)
            split |= dict.fromkeys(archive.lines(found), part)
    rows = Rows((table.name, *lists), images, labels, patients, views=views)
    if any(part == "test" for part in split.values()):
        note = f"The split is the published one ({', '.join(lists)})."
        rows = replace(rows, splits=[split.get(image) for image in images], notes=(note,))
    return archive.dataset(rows)


# --- CheXpert ---------------------------------------------------------------------------------------------------


def is_chexpert(names: Sequence[str]) -> bool:
    """Whether it holds both tables of CheXpert and folders of its patients."""
    tables = _shallowest(names, r"train\.csv") and _shallowest(names, r"valid\.csv")
    return bool(tables) and any(re.search(r"(^|/)patient\d{5}/study\d+/", name) for name in names)


def open_chexpert(request: DatasetRequest) -> TableDataset:
    """Open CheXpert, of either size; raises as :class:`~pneumo_datasets.table.TableDataset`."""
    archive = _Archive(request, "chexpert")
    tables = [archive.table(pattern) for pattern in (r"train\.csv", r"valid\.csv")]
    columns = ("Path", "AP/PA", "Frontal/Lateral", *CHEXPERT_LABELS)
    parts = [_columns(table, *columns) for table in tables]
    paths, projections, planes, *values = [first + second for first, second in zip(*parts, strict=True)]
    trained = len(parts[0][0])
    patients = [match[0] if (match := re.search(r"patient\d+", path)) else "" for path in paths]
    rows = Rows(
        tuple(table.name for table in tables),
        paths,
        labels_of_columns(CHEXPERT_LABELS, values, archive.classes, archive.settings),
        patients,
        ["train" if row < trained else "validation" for row in range(len(paths))],
        views=first_filled([projections, planes]),
        notes=(
            "valid.csv is the published validation split (--split given); the published test set is not part of "
            "the archive.",
        ),
    )
    return archive.dataset(rows)


# --- RSNA Pneumonia Detection Challenge -------------------------------------------------------------------------


def is_rsna(names: Sequence[str]) -> bool:
    """Whether it holds the labels of the second stage of the challenge."""
    return bool(_shallowest(names, _RSNA_TABLE))


def open_rsna(request: DatasetRequest) -> TableDataset:
    """Open the images of the challenge; raises as :class:`~pneumo_datasets.table.TableDataset`."""
    archive = _Archive(request, "rsna-pneumonia")
    table = archive.table(_RSNA_TABLE)
    patients, targets = _columns(table, "patientId", "Target")
    labels = labels_of_columns(["pneumonia"], [targets], archive.classes, archive.settings)
    tables = [table.name]
    subtypes: list[str] = []
    if detailed := archive.find(r"stage_2_detailed_class_info\.csv"):
        tables.append(detailed)
        finer = dict(zip(*_columns(table_below(archive.files, detailed), "patientId", "class"), strict=True))
        subtypes = [finer.get(patient, "") for patient in patients]
    rows = Rows(
        tuple(tables),
        patients,
        labels,
        patients,
        subtypes=subtypes,
        notes=("The images of stage_2_test_images have no published labels.",),
        joining="any",
    )
    within = "stage_2_train_images" if any("stage_2_train_images/" in path for path in archive.names) else ""
    return archive.dataset(rows, within)


# --- VinDr-CXR --------------------------------------------------------------------------------------------------


def is_vindr(names: Sequence[str]) -> bool:
    """Whether it holds the labels of the publication at PhysioNet."""
    return bool(_shallowest(names, _VINDR_TABLE))


def open_vindr(request: DatasetRequest) -> TableDataset:
    """Open VinDr-CXR, of PhysioNet or of Kaggle; raises as :class:`~pneumo_datasets.table.TableDataset`."""
    archive = _Archive(request, "vindr-cxr")
    if archive.find(_VINDR_TABLE):
        rows = _vindr_of_physionet(archive)
    else:
        rows = _vindr_of_kaggle(archive)
    return archive.dataset(rows)


def _vindr_of_physionet(archive: _Archive) -> Rows:
    """A row for each image and radiologist, with a column for each label."""
    train = archive.table(_VINDR_TABLE)
    test = archive.table(r"image_labels_test\.csv")
    titles = [column for column in train.columns if column and column not in ("image_id", "rad_id")]
    # The last label is called "Other diseases" in one table and "Other disease" in the other.
    others = [title if title in test.columns else title.removesuffix("s") for title in titles]
    paths: list[str] = []
    values: list[list[str]] = [[] for _ in titles]
    splits: list[SplitName | None] = []
    for table, columns, part in ((train, titles, "train"), (test, others, "test")):
        images, *labels = _columns(table, "image_id", *columns)
        paths += [f"{part}/{image}" for image in images]
        splits += ["test" if part == "test" else "train"] * len(images)
        for column, more in zip(values, labels, strict=True):
            column += more
    labels_ = labels_of_columns(titles, values, archive.classes, archive.settings)
    return Rows((train.name, test.name), paths, labels_, splits=splits, joining="majority")


def _vindr_of_kaggle(archive: _Archive) -> Rows:
    """A row for each box and radiologist, with the label in a column; the test images have no labels."""
    table = archive.table(r"train\.csv")
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image, title, radiologist in zip(*_columns(table, "image_id", "class_name", "rad_id"), strict=True):
        found[image, radiologist].add(title)
    titles = sorted({title for names in found.values() for title in names if not means_normal(title)})
    values = [[str(int(title in names)) for names in found.values()] for title in titles]
    labels = labels_of_columns(titles, values, archive.classes, archive.settings)
    paths = [f"train/{image}" for image, _ in found]
    note = "The test images of the Kaggle competition have no published labels."
    return Rows((table.name,), paths, labels, notes=(note,), joining="majority")


# --- files ------------------------------------------------------------------------------------------------------


class _Archive:
    """The files of one published archive.

    Attributes:
        name: of the dataset.
        settings: its options.
        files: below its root.
        names: of all files.
    """

    def __init__(self, request: DatasetRequest, name: str) -> None:
        self.name, self.settings = name, ArchiveSettings(**request.options)
        self.files = opened_files(request, name, INSTRUCTIONS[name])
        self.names = self.files.files()
        self._request = request

    @property
    def classes(self) -> tuple[str, ...]:
        """The wanted classes; empty: all."""
        return names_of(self.settings.classes)

    def find(self, pattern: str) -> str:
        """As :func:`_shallowest`."""
        return _shallowest(self.names, pattern)

    def table(self, pattern: str) -> Table:
        """The table with a name of a pattern; raises DataError if there is none, or it cannot be read."""
        found = self.find(pattern)
        if not found:
            shown = re.sub(r"\\w\*", "*", pattern).replace("\\", "")
            raise DataError(
                f"{self.files.root} is not {self.name}: it has no table {shown}; {INSTRUCTIONS[self.name]}"
            )
        return table_below(self.files, found)

    def lines(self, name: str) -> list[str]:
        """The words of a text file."""
        try:
            return self.files.read_bytes(name).decode("utf-8-sig").split()
        except (UnreadableImage, UnicodeError) as error:
            raise DataError(f"the list {name} cannot be read: {error}") from None

    def dataset(self, rows: Rows, within: str = "") -> TableDataset:
        """The dataset of some rows."""
        return TableDataset(
            self._request, self.files, rows, self.settings, self.name, ORIGINS[self.name], within
        )


def _shallowest(names: Sequence[str], pattern: str) -> str:
    """The file with a name of a pattern that lies in the fewest folders; empty: there is none."""
    matches = [name for name in names if re.fullmatch(pattern, name.rpartition("/")[2], re.IGNORECASE)]
    return min(matches, key=lambda name: (name.count("/"), name), default="")


def _columns(table: Table, *names: str) -> list[list[str]]:
    return table.select([column_named(table, name) for name in names])
