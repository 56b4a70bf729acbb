"""The options of the dataset ``phantom``."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import DatasetSettings

TRAIN_IMAGES = 1200
"""Training images of every phantom; more are of further patients."""


class PhantomSettings(DatasetSettings):
    """How many patients are simulated."""

    train_images: int = Field(
        TRAIN_IMAGES,
        ge=TRAIN_IMAGES,
        le=100_000,
        description="images of the training pool. Those beyond the default are of further patients; the others "
        "and the test images stay the same",
    )
