"""Runs that generate images, and ``image_folders`` importable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.trainers.loading import Trained, load_trained

sys.path.append(str(Path(__file__).parent))  # image_folders; last, so that it hides no other module


@pytest.fixture
def painter(trained_run: Callable[..., Path]) -> Path:
    """A run that generates images of PNEUMONIA; not to be changed."""
    return trained_run("painter")


@pytest.fixture
def normal_painter(trained_run: Callable[..., Path]) -> Path:
    """A run that generates images of NORMAL; not to be changed."""
    return trained_run("painter", images_of="NORMAL")


@pytest.fixture
def trained(painter: Path) -> Trained:
    """The model of the first."""
    return load_trained(discover(), RunFolder.open(painter))
