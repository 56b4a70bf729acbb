"""Shared by the tests of pneumo's functions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def library(fakes: Path) -> ModuleType:
    """``import pneumo_cli``, with the plugins of this test."""
    import pneumo_cli

    return pneumo_cli
