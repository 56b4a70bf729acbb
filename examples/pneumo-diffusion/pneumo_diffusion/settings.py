"""The settings of the trainer ``diffusion``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import GenerativeSettings, SplitPolicy


class DiffusionSettings(GenerativeSettings):
    """Defaults are for 32 px and some thousand images."""

    split: SplitPolicy = Field(
        "patient",
        description="how the training pool is divided: 'patient': no patient and no identical image is in both "
        "training and validation; 'all': no validation images, and the last epoch is kept",
    )
    epochs: int = Field(300, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(32, ge=1, le=65_536, description="images per step, over all devices")
    image_size: int = Field(
        32, ge=8, le=128, multiple_of=8, description="height and width of the images, in pixels"
    )
    ema: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay per update of an exponential moving average of the weights, from which images are "
        "sampled; 0: none",
    )
    clip_norm: float = Field(1.0, ge=0, description="maximum norm of the gradient; 0: no clipping")
    lr: float = Field(0.001, gt=0, le=1, description="learning rate of Adam")
    warmup: int = Field(100, ge=0, description="updates over which the learning rate rises from 0")
    width: int = Field(64, ge=8, le=1024, multiple_of=8, description="channels of the finest level")
    schedule: Literal["cosine", "linear"] = Field(
        "cosine", description="how the share of noise grows over the steps of the diffusion"
    )
    diffusion_steps: int = Field(1000, ge=10, le=10_000, description="steps of the diffusion that is learnt")
    sampling_steps: int = Field(
        25, ge=1, le=10_000, description="steps in which an image is sampled (DDIM); at most diffusion_steps"
    )
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of images that are trained on without their class"
    )
    guidance: float = Field(
        1.0,
        ge=0,
        le=20,
        description="weight of the class in sampling; 1: as learnt, above: more typical images",
    )
