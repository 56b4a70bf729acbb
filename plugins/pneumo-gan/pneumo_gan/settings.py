"""The settings of the trainer ``gan``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import GenerativeSettings, SplitPolicy


class GanSettings(GenerativeSettings):
    """Task 4. Defaults are SOURCE 7."""

    split: SplitPolicy = Field(
        "all",
        description="how the training pool is divided: 'all' as the report does, nothing is held out but the test "
        "images; 'patient' so that no patient and no identical image is on both sides; 'source' at random, "
        "'last' the last of each class validate",
    )
    epochs: int = Field(200, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(100, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(32, ge=8, le=256, description="height and width of the images, in pixels")
    lr: float = Field(0.0001, gt=0, le=1, description="learning rate of Adam, of both networks")
    lr_ratio: float = Field(
        1.0, gt=0, le=100, description="learning rate of the discriminator as a multiple of the generator's"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the mean squared gradient")
    z_dim: int = Field(100, ge=1, le=4096, description="random numbers that an image is made of")
    width: int = Field(
        0, ge=0, le=4096, description="width of the networks' narrowest layer; 0: the model's own"
    )
    r1: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="weight of a penalty on the discriminator's gradient at real images; 0: none",
    )
    r1_every: int = Field(
        1,
        ge=1,
        le=1000,
        description="steps from one such penalty to the next, which is so many times as heavy",
    )
    translate: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="largest shift of what the discriminator sees, real or not, as a share of the side; 0: none",
    )
    brighten: float = Field(
        0.0,
        ge=0,
        le=1,
        description="largest change of the brightness and contrast of what the discriminator sees; 0: none",
    )
    keep: Literal["last", "kid", "generator_loss"] = Field(
        "last",
        description="which epoch's networks are kept as the best: the last one's; those whose images are nearest "
        "to validation images; or those of the smallest generator loss, which is mostly the first epoch's, when "
        "the discriminator is weak",
    )
