"""The settings of the trainer ``age`` and the options of its dataset: flags, variables, keys of ``pneumo.toml``."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import DatasetSettings, SplitPolicy, TrainerSettings


class CohortSettings(DatasetSettings):
    """Options of ``phantom-age``."""

    cohort: int = Field(
        1500, ge=40, le=100_000, description="number of images, of which a fifth are for the test"
    )


class AgeSettings(TrainerSettings):
    """The recipe."""

    dataset: str = Field("phantom-age", description="registered dataset to train on")
    split: SplitPolicy = Field("patient", description="how the training pool is divided")
    epochs: int = Field(25, ge=1, le=10_000, description="passes over the training images")
    batch_size: int = Field(32, ge=1, le=4096, description="images per step")
    image_size: int = Field(96, ge=32, le=1024, description="height and width of the input, in pixels")
    lr: float = Field(2e-3, gt=0, le=1, description="highest learning rate of AdamW")
    typical: float = Field(3.0, description="the number that an untrained network predicts, in its unit")
