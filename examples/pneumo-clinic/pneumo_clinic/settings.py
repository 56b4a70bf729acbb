"""The options of the dataset ``clinic``, and how its files are recognized."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pneumo_cli.settings import DatasetSettings

TABLE = "studies.csv"
FILMS = "films/"


class ClinicSettings(DatasetSettings):
    """Flags of every command that opens the dataset."""

    positive_findings: str = Field(
        "pneumonia", min_length=1, description="findings that count as positive, separated by commas"
    )
    test_from: int = Field(
        2026,
        ge=1900,
        le=2100,
        description="year from which on patients are in the test set, by their last study",
    )


def is_clinic(names: Sequence[str]) -> bool:
    """Whether files are this dataset, for commands without ``--dataset``."""
    return TABLE in names and any(name.startswith(FILMS) for name in names)
