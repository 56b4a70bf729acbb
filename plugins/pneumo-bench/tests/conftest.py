"""Measurements of the fake trainers: one convolution on tiny images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import Invocation

SHORT = ("--seconds", "0.01", "--precision", "fp32", "--threads", "1")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process's temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def bench(pneumo: Callable[..., Invocation], temporary: Path) -> Callable[..., dict[str, Any]]:
    """The JSON of a measurement: ``bench(*arguments)``."""

    def measured(*arguments: object) -> dict[str, Any]:
        ended = pneumo("bench", *arguments, *SHORT, "--json")
        assert ended.code == 0, ended.stderr
        content: dict[str, Any] = json.loads(ended.stdout)
        return content

    return measured
