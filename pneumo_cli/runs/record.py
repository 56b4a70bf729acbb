"""What a run writes down about itself before it trains: its settings, and what they are applied with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime import atomic


def facts_of(run: Run) -> dict[str, str]:
    """Which registered parts a new run uses, and when it began: the table ``[run]`` of its ``run.toml``."""
    return {
        "trainer": run.resolved.entry.qualified_name,
        "model": run.model_entry.qualified_name,
        "dataset": run.dataset_entry.qualified_name,
        "started": run.started.isoformat(timespec="seconds"),
    }


def record_settings(run: Run, facts: Mapping[str, Any], command: list[str]) -> None:
    """Write ``run.toml`` and ``environment.json``.

    Raises:
        PneumoError: the folder cannot be written.
    """
    try:
        atomic.write_text(run.folder.settings, run.resolved.to_toml(facts))
        atomic.write_json(run.folder.environment, describe_environment(run, command))
    except OSError as error:
        raise PneumoError(f"{run.folder.path} cannot be written: {error.strerror}") from error
