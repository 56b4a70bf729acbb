"""The rows of a table of images, read from the columns that the user names or that are called as usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pneumo_cli import DataError, UsageError
from pneumo_datasets.labels import Labels, labels_of_column, labels_of_columns
from pneumo_datasets.manifest import (
    PATH_COLUMNS,
    PATIENT_COLUMNS,
    Table,
    column_named,
    find_column,
    shown_columns,
    usual_column,
)
from pneumo_datasets.settings import TableSettings, names_of
from pneumo_datasets.split_folders import SplitName, split_named

_LABELS = (
    "label", "labels", "class", "classes", "finding", "findings", "findinglabels", "diagnosis", "target",
    "category",
)  # fmt: skip
_SPLITS = ("split", "set", "subset", "partition", "dataset")
_SUBTYPES = ("subtype", "subclass")
_VIEWS = ("view", "viewposition", "projection")


@dataclass(frozen=True)
class Rows:
    """The rows of one table, or of several; lists have an item per row, or none at all.

    Attributes:
        tables: files that they are from, as messages show them, first the one that messages name.
        paths: what a row calls its image.
        labels: of the rows.
        patients, subtypes, views: empty where they are not known.
        splits: None where it is not known.
        notes: how they were read, in sentences.
        folder: of the table below the root, which paths may be relative to.
        joining: of several rows of one image, where the user leaves it open: ``refuse``, ``any`` or ``majority``.
    """

    tables: tuple[str, ...]
    paths: Sequence[str]
    labels: Labels
    patients: Sequence[str] = ()
    splits: Sequence[SplitName | None] = ()
    subtypes: Sequence[str] = ()
    views: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    folder: str = ""
    joining: str = "refuse"


def read_rows(table: Table, folder: str, settings: TableSettings) -> Rows:
    """Read the rows of a table.

    Args:
        table: the manifest.
        folder: of it below the root.
        settings: name the columns; those that they do not name are found if they are called as usual.

    Raises:
        DataError: a column does not exist, there are no rows, or the labels cannot be read.
        UsageError: a wanted class does not occur.
    """

    def named(name: str, usual: tuple[str, ...]) -> str:
        return column_named(table, name) if name else usual_column(table, usual)

    path = (
        column_named(table, settings.path_column)
        if settings.path_column
        else find_column(table, PATH_COLUMNS, "the image", "--path-column")
    )
    label_columns = _label_columns(table, settings)
    singles = {
        "patient": named(settings.patient_column, PATIENT_COLUMNS),
        "split": named(settings.split_column, _SPLITS),
        "subtype": named(settings.subtype_column, _SUBTYPES),
    }
    if settings.patient_pattern or settings.patient_table or settings.patient == "dicom":
        if settings.patient_column:
            raise UsageError("patient_column and another source of patients: choose one of them")
        singles["patient"] = ""
    views = [column_named(table, name) for name in names_of(settings.view_column)] or [
        column for column in [usual_column(table, _VIEWS)] if column
    ]
    wanted = [path, *label_columns, *(column for column in singles.values() if column), *views]
    values = dict(zip(dict.fromkeys(wanted), table.select(list(dict.fromkeys(wanted))), strict=True))
    if not values[path]:
        raise DataError(f"the table {table.name} has no rows below its header")
    classes = names_of(settings.classes)
    if settings.label_columns:
        labels = labels_of_columns(label_columns, [values[name] for name in label_columns], classes, settings)
    else:
        labels = labels_of_column(label_columns[0], values[label_columns[0]], classes, settings)
    used = [f"image {path!r}"] + [f"{what} {column!r}" for what, column in singles.items() if column]
    used += [f"view {column!r}" for column in views]
    return Rows(
        tables=(table.name,),
        paths=values[path],
        labels=labels,
        patients=values.get(singles["patient"], ()),
        splits=splits_of(values.get(singles["split"], ()), singles["split"]),
        subtypes=values.get(singles["subtype"], ()),
        views=first_filled([values[column] for column in views]),
        notes=(f"Columns of {table.name}: {', '.join(used)}.",),
        folder=folder,
    )


def _label_columns(table: Table, settings: TableSettings) -> list[str]:
    if settings.label_columns:
        names = [column_named(table, name) for name in names_of(settings.label_columns)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"label_columns: {twice[0]!r} is named twice")
        return names
    if settings.label_column:
        return [column_named(table, settings.label_column)]
    if column := usual_column(table, _LABELS):
        return [column]
    raise DataError(
        f"the table {table.name} has no column with the class: name it with --label-column, or one column for each "
        f"label with --label-columns; it has: {shown_columns(table)}"
    )


def splits_of(values: Sequence[str], column: str) -> list[SplitName | None]:
    """The splits that the values of a column are called after.

    Raises:
        DataError: a value is none.
    """
    known = {value: split_named(value) for value in set(values)}
    for value, split in known.items():
        if split is None and value:
            raise DataError(f"the split column {column!r} has {value[:40]!r}: a split is train, val or test")
    return [known[value] for value in values]


def first_filled(columns: Sequence[Sequence[str]]) -> list[str]:
    """Of each row the first value that is not empty."""
    return [next(filter(None, values), "") for values in zip(*columns, strict=True)]
