"""The settings of the observer ``wandb``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumo_cli.settings import PartSettings


class WandbSettings(PartSettings):
    """Where runs are recorded."""

    mode: Literal["offline", "online"] = Field(
        "offline",
        description="offline: into the run folder, for wandb sync; online: to the server (wandb login)",
    )
    project: str = Field("pneumo", min_length=1, description="name of the project")
    entity: str = Field("", description="user or team; by default the one that is logged in")
