"""Fixtures of the tests of listed runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pneumo_cli.testing import Invocation


@pytest.fixture
def listed(pneumo: Callable[..., Invocation]) -> Callable[..., Any]:
    """``pneumo list-runs ARGUMENTS --json``: the names in order, and the problems."""

    def list_runs(*arguments: object) -> tuple[list[str], list[dict[str, str]]]:
        ended = pneumo("list-runs", *arguments, "--json")
        assert ended.code == 0, ended.stderr
        content = json.loads(ended.stdout)
        return [run["name"] for run in content["runs"]], content["problems"]

    return list_runs
