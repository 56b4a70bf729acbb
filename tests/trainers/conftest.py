"""Fixtures of the tests of pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], Path]:
    """Save something with torch.save."""

    def save(content: Any) -> Path:
        path = tmp_path / "weights.pt"
        torch.save(content, path)
        return path

    return save
