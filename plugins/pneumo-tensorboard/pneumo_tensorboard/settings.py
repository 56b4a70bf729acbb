"""The settings of the observer ``tensorboard``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pneumo_cli.settings import PartSettings


class TensorBoardSettings(PartSettings):
    """Where the event files go."""

    folder: Path | None = Field(
        None, description="parent folder, in which each run has its own; by default the run's own folder"
    )
