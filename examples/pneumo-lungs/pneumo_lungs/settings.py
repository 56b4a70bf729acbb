"""The settings of the trainer ``segmentation`` and the options of its dataset."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import DatasetSettings, SplitPolicy, TrainerSettings


class CohortSettings(DatasetSettings):
    """Options of ``phantom-lungs``."""

    cohort: int = Field(
        600, ge=40, le=100_000, description="number of images, of which a fifth are for the test"
    )


class SegmentationSettings(TrainerSettings):
    """The recipe."""

    dataset: str = Field("phantom-lungs", description="registered dataset to train on")
    split: SplitPolicy = Field("patient", description="how the training pool is divided")
    epochs: int = Field(6, ge=1, le=10_000, description="passes over the training images")
    batch_size: int = Field(16, ge=1, le=4096, description="images per step")
    image_size: int = Field(64, ge=16, le=1024, description="height and width of the input, in pixels")
    lr: float = Field(3e-3, gt=0, le=1, description="highest learning rate of AdamW")
    target: str = Field("lungs", description="name of the dataset's mask to learn")
