"""The plugin's decoder registered, and the files that tests make."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo_cli.data import decoders
from pneumo_dicom.plugin import register_decoders

sys.path.insert(0, str(Path(__file__).parent))  # dicom_files


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """The decoder, as discovery registers it."""
    decoders.replace(register_decoders())
    yield
    decoders.replace(())
