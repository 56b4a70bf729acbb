"""The options of the dataset ``chest-xray``."""

from __future__ import annotations

from pydantic import Field, field_validator

from pneumo_cli.settings import DatasetSettings

CLASSES = ("NORMAL", "PNEUMONIA")
"""The classes of both publications, which are the folders."""

CHOICES = (CLASSES, ("normal", "bacteria", "virus"), ("bacteria", "virus"))
"""The sets of classes to choose from; the second and third ones are subtypes of PNEUMONIA."""


class ChestXraySettings(DatasetSettings):
    """The options of the dataset ``chest-xray``."""

    classes: str = Field(
        "",
        description="classes to tell apart, separated by commas; empty: all that the dataset has. chest-xray: "
        "NORMAL,PNEUMONIA (if empty), normal,bacteria,virus or bacteria,virus",
    )

    @field_validator("classes")
    @classmethod
    def _a_known_choice(cls, value: str) -> str:
        chosen_classes(value)
        return value


def chosen_classes(value: str) -> tuple[str, ...]:
    """The classes that the option ``classes`` names, in any order and case.

    Raises:
        ValueError: it is none of :data:`CHOICES`.
    """
    named = sorted(name.strip().casefold() for name in value.split(",") if name.strip())
    for choice in CHOICES:
        if named == sorted(name.casefold() for name in choice):
            return choice
    if named:
        allowed = " or ".join(",".join(choice) for choice in CHOICES)
        raise ValueError(f"chest-xray tells apart {allowed}")
    return CLASSES
