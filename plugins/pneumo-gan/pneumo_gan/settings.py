"""The settings of the trainer ``gan``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import GenerativeSettings, SplitPolicy


class GanSettings(GenerativeSettings):
    """Task 4. Defaults are SOURCE 7."""

    split: SplitPolicy = Field(
        "all",
        description="how the training pool is divided: 'all' as in the report, only the test images are held out; "
        "'patient': no patient and no identical image is in both training and validation; 'source' at random, "
        "'last' the last images of each class validate",
    )
    epochs: int = Field(200, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(100, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(32, ge=8, le=256, description="height and width of the images, in pixels")
    lr: float = Field(0.0001, gt=0, le=1, description="learning rate of Adam, for both networks")
    lr_ratio: float = Field(
        1.0, gt=0, le=100, description="the discriminator's learning rate, divided by the generator's"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's beta1, decay of the mean gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's beta2, decay of the mean squared gradient")
    z_dim: int = Field(100, ge=1, le=4096, description="dimension of the noise vector")
    width: int = Field(
        0, ge=0, le=4096, description="width of the networks' narrowest layer; 0: the model's default"
    )
    r1: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="weight of the R1 penalty on the discriminator's gradient at real images; 0: none",
    )
    r1_every: int = Field(
        1,
        ge=1,
        le=1000,
        description="steps from one R1 penalty to the next, whose weight is multiplied by as many",
    )
    translate: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="discriminator augmentation: maximum translation, as a share of the side; 0: none",
    )
    brighten: float = Field(
        0.0,
        ge=0,
        le=1,
        description="discriminator augmentation: maximum change of brightness and contrast; 0: none",
    )
    keep: Literal["last", "kid", "generator_loss"] = Field(
        "last",
        description="epoch that becomes the checkpoint best: the last, the one with the smallest KID to validation "
        "images, or the one with the smallest generator loss: mostly the first, when the discriminator is weak",
    )
