"""Shared by the tests of runs and groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def count_accesses(fake_environ: dict[str, str]) -> Callable[[Path], int]:
    """The number of recorded test-set accesses by a run or group."""

    def count(folder: Path) -> int:
        logs = Path(fake_environ["PNEUMO_DATA_HOME"]).glob("test-access/*.jsonl")
        lines = [line for path in logs for line in path.read_text().splitlines()]
        return sum(json.loads(line)["run"].startswith(str(folder)) for line in lines)

    return count
