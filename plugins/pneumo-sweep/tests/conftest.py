"""Sweeps of the fake trainer: a few epochs of one convolution, a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.testing import Invocation

QUICK = ("--preset", "quick", "--precision", "fp32", "--threads", "1")


@pytest.fixture
def swept(pneumo: Callable[..., Invocation], fakes: Path) -> Callable[..., Path]:
    """The folder of a finished sweep of the fake trainer: ``swept(*flags, code=0)``."""

    def sweep(*flags: object, code: int = 0) -> Path:
        before = set(fakes.glob("runs/fake/*-sweep"))
        ended = pneumo("sweep", "fake", *QUICK, *flags)
        assert ended.code == code, ended.stderr
        (folder,) = set(fakes.glob("runs/fake/*-sweep")) - before
        return folder

    return sweep
