"""Registers the plugin's decoder, and makes ``dicom_files`` importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo_cli.data import decoders
from pneumo_dicom.plugin import register_decoders

sys.path.append(str(Path(__file__).parent))  # dicom_files; last, so that it hides no other module


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """Register the decoder as discovery does."""
    decoders.replace(register_decoders())
    yield
    decoders.replace(())
