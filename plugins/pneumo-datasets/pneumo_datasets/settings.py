"""The options of the datasets. Must not import torch: ``pneumo run --help`` imports this module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pneumo_cli.settings import DatasetSettings

UnknownLabel = Literal["ignore", "zeros", "ones"]


class ClassSettings(DatasetSettings):
    """Which classes are told apart; all the options of ``chest-mnist``."""

    classes: str = Field(
        "",
        description="classes to tell apart, in order, separated by commas; empty: all that the dataset has",
    )


class PatientSettings(ClassSettings):
    """Where the patient of an image is found, and how a missing test set is made."""

    patient: Literal["image", "dicom"] = Field(
        "image",
        description="image: each image counts as a patient, unless a pattern, a table or a column names its "
        "patient; dicom: the patient ID of the DICOM header, as a hash",
    )
    patient_pattern: str = Field(
        "",
        max_length=1000,
        description="regular expression that is searched in the file name without suffix, then in the path below "
        "the class folder; the patient is its group 'patient', else all its groups joined by '-', else the match; "
        "a group 'subtype' is the subtype",
    )
    patient_table: Path | None = Field(
        None, description="CSV, TSV or Parquet file with a column of files and a column 'patient'"
    )
    test_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the patients for the test set, if the data have no test set of their own",
    )

    @field_validator("patient_table", "manifest", check_fields=False)
    @classmethod
    def _of_the_working_folder(cls, value: Path | None) -> Path | None:
        """A table of the working folder as an absolute path; others are looked for below the root."""
        return value.absolute() if value is not None and os.path.isfile(value) else value

    @model_validator(mode="after")
    def _one_source_of_patients(self) -> Self:
        given = [
            name
            for name, used in (
                ("patient = 'dicom'", self.patient == "dicom"),
                ("patient_pattern", bool(self.patient_pattern)),
                ("patient_table", self.patient_table is not None),
            )
            if used
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: choose one source of patients")
        return self


class FolderSettings(PatientSettings):
    """The options of the dataset ``folder``."""


class LabelSettings(PatientSettings):
    """How labels of a table are read."""

    uncertain: UnknownLabel = Field(
        "ignore",
        description="what a label of -1 (uncertain) counts as; ignore: as unknown, for that label alone",
    )
    missing: UnknownLabel = Field(
        "ignore", description="what an empty label counts as; ignore: as unknown, for that label alone"
    )
    views: str = Field("", description="views to keep, separated by commas (PA,AP); empty: all, known or not")
    repeated_rows: Literal["auto", "refuse", "any", "majority"] = Field(
        "auto",
        description="several rows of one image: refuse those that differ; any: a label is present if any row says "
        "so; majority: if more than half of the rows do; auto: majority for vindr-cxr, any for rsna-pneumonia, "
        "else refuse",
    )
    skip_missing_files: bool = Field(
        False, description="leave out rows whose file is missing, and count them, instead of stopping"
    )


class ArchiveSettings(LabelSettings):
    """The options of public datasets whose labels are in tables."""


class TableSettings(LabelSettings):
    """The options of the dataset ``table``."""

    manifest: Path | None = Field(
        None,
        description="CSV, TSV or Parquet file with a row per image, in the working folder or else in the images' "
        "folder; by default the only one at the top level of the latter",
    )
    path_column: str = Field("", description="column with the image's path, file name or name without suffix")
    label_column: str = Field(
        "",
        description="column with the class, with several labels separated by '|', ';' or ',', or with 0 and 1",
    )
    label_columns: str = Field(
        "", description="columns with 1, 0, -1 or nothing for one label each, separated by commas"
    )
    patient_column: str = Field("", description="column with the patient")
    split_column: str = Field("", description="column with train, val or test")
    subtype_column: str = Field("", description="column with a finer class")
    view_column: str = Field(
        "",
        description="column with the view (PA, AP, lateral); of several, separated by commas, the first filled",
    )

    @model_validator(mode="after")
    def _one_kind_of_label(self) -> Self:
        if self.label_column and self.label_columns:
            raise ValueError("label_column and label_columns: choose one of them")
        return self


def names_of(value: str) -> tuple[str, ...]:
    """The names in a list that is separated by commas.

    >>> names_of(" PA, AP,")
    ('PA', 'AP')
    """
    return tuple(name.strip() for name in value.split(",") if name.strip())
