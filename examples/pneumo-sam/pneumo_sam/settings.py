"""The settings of the extension ``sam``."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import PartSettings


class SamSettings(PartSettings):
    """Flags ``--sam-…``, the table ``[sam]`` of ``pneumo.toml``."""

    rho: float = Field(
        0.05, gt=0, le=10, description="distance to the weights at which the gradient is taken, as an L2 norm"
    )
