"""Registers the model ``lenet`` and an observer. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pneumo_cli.api import ModelSpec, hookimpl

if TYPE_CHECKING:
    from pneumo_cli.runs import Run

api_version = 1


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """One small classifier."""
    yield ModelSpec(
        name="lenet",
        kind="classifier",
        summary="LeNet-5 with batch normalisation: a fast baseline for larger networks",
        factory="pneumo_lenet.model:build_lenet",
    )


@hookimpl
def plugins_for_run(run: Run) -> Iterable[object]:
    """A new observer for each run."""
    from pneumo_lenet.table import MetricsTable

    yield MetricsTable()
