"""The settings of the trainer ``fine-tuning``: those of every transfer trainer, and the share that is frozen."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import TransferSettings


class FineTuningSettings(TransferSettings):
    """Task 3: as task 2, except for the share that is frozen (SOURCE 6)."""

    main_settings = ("weights", "freeze")
    freeze: float = Field(
        0.66,
        ge=0,
        le=1,
        description="share of the parameter tensors that is frozen, counted from the input; never the head",
    )
