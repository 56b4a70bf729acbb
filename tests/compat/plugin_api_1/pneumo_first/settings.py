"""The settings of the trainer, and the options of the dataset."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pneumo_cli.settings import DatasetSettings, TrainerSettings


class FirstSettings(TrainerSettings):
    """A learning rate, and one setting of each type."""

    lr: float = Field(0.02, gt=0, le=1, description="learning rate")
    decay: bool = Field(True, description="lower it in the course of the run")
    width: int = Field(8, ge=1, description="channels of the network")
    head: Literal["linear", "deep"] = Field("linear", description="head of the network")
    remark: str | None = Field(None, description="a remark for the report")
    table: Path | None = Field(None, description="a table that is not read")


class DiscOptions(DatasetSettings):
    """What the generated images look like."""

    discs: int = Field(64, ge=16, le=1024, description="number of images")
