"""The settings of the trainer ``fine-tuning``: those of every transfer trainer, and how much is frozen."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import TransferSettings


class FineTuningSettings(TransferSettings):
    """Task 3: everything as task 2, but for the share that is frozen (SOURCE 6)."""

    freeze: float = Field(
        0.66,
        ge=0,
        le=1,
        description="share of the parameter tensors that is frozen, the first of them; the head never is",
    )
