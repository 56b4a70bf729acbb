"""The settings of the extensions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import PartSettings


class EarlyStoppingSettings(PartSettings):
    """When training ends early."""

    patience: int = Field(5, ge=1, description="epochs without improvement after which training ends")
    min_delta: float = Field(
        0.0, ge=0, description="smallest change of the metric that counts as an improvement"
    )


class MixupSettings(PartSettings):
    """How images are mixed."""

    alpha: float = Field(
        0.2,
        gt=0,
        le=100,
        description="of the distribution Beta(alpha, alpha) of the share of the first image",
    )


class CompileSettings(PartSettings):
    """How training steps are compiled."""

    mode: Literal["default", "reduce-overhead", "max-autotune"] = Field(
        "default",
        description="of torch.compile; on CUDA the second and third replay the kernels as a CUDA graph",
    )
    dynamic: bool = Field(
        False, description="one graph for batches of any size, the last one of an epoch too; usually slower"
    )
