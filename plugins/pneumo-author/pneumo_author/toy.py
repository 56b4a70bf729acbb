"""The dataset ``toy``: so small that a plugin is tried in seconds."""

from __future__ import annotations

from pneumo_cli.data import Dataset, DatasetRequest
from pneumo_cli.testing import TinyDataset


def open_toy(request: DatasetRequest) -> Dataset:
    """64 images of 32 px: noise, with a bright disc where the label is 1."""
    return TinyDataset("toy")
