"""The settings of the trainer ``autoencoder``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import GenerativeSettings, SplitPolicy


class AutoencoderSettings(GenerativeSettings):
    """Task 5. Defaults are SOURCE 8."""

    main_settings = ("images_of", "latent")
    split: SplitPolicy = Field(
        "last",
        description="how the training pool is divided: 'last' as in the report, the last images of each class "
        "validate; 'patient': no patient and no identical image is in both training and validation; 'source' at "
        "random, 'all' none validates",
    )
    validation_fraction: float = Field(0.2, gt=0, lt=1, description="share of the pool used for validation")
    epochs: int = Field(100, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(2, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(256, ge=16, le=1024, description="height and width of the images, in pixels")
    channels: Literal[1, 3] = Field(
        3, description="channels of the images: 3 as in the report, which repeats the gray image, or 1"
    )
    lr: float = Field(0.001, gt=0, le=1, description="learning rate of Adam")
    latent: int = Field(
        128, ge=1, le=65_536, description="dimension of the latent, where the model lets it be chosen"
    )
    width: int = Field(
        0,
        ge=0,
        le=1024,
        description="channels of the layer nearest the image, where the model lets them be chosen; 0: its default",
    )
    beta: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="weight of the KL divergence of a variational model; 1: the evidence lower bound",
    )
    shift: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="maximum shift of training images, as a share of the side; borders are replicated",
    )
    zoom: float = Field(0.0, ge=0, le=0.9, description="maximum relative change of scale of training images")
    brightness: float = Field(
        0.0, ge=0, le=1, description="maximum relative change of brightness of training images"
    )
