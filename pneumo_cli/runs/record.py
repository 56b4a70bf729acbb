"""What a run writes down about itself before it trains: its settings, and what they are applied with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.registry import Registries
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime import atomic
from pneumo_cli.settings.renamed import RENAMED
from pneumo_cli.settings.resolve import Resolved, read_toml, resolve


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


def recorded_facts(settings_file: Path) -> dict[str, Any]:
    """The table ``[run]`` of a ``run.toml``: what :meth:`Resolved.to_toml` was given.

    Raises:
        UsageError: the file is damaged.
    """
    facts = read_toml(settings_file).get("run")
    if not isinstance(facts, dict):
        raise UsageError(f"{settings_file} is damaged: it has no table [run]")
    return facts


def recorded_origins(settings_file: Path) -> dict[str, str]:
    """The table ``[origin]`` of a ``run.toml``; empty where it is missing."""
    origins = read_toml(settings_file).get("origin")
    if not isinstance(origins, dict):
        return {}
    return {RENAMED.get(name, name): str(origin) for name, origin in origins.items()}


def reopen_settings(registries: Registries, folder: RunFolder, flags: Mapping[str, Any]) -> Resolved:
    """The settings of an existing run, as it recorded them, with a few flags on top.

    The environment and ``pneumo.toml`` have no say: a run goes on as it began.

    Raises:
        UsageError: the run's trainer is not installed, or its settings do not fit the installed version.
    """
    entry = registries.trainers.get(str(recorded_facts(folder.settings).get("trainer")))
    origins = recorded_origins(folder.settings)
    resolved = resolve(registries, entry, flags, config=folder.settings, environ={})
    given = {name for name, value in flags.items() if value is not None}
    merged = {
        name: origin if name in given else str(origins.get(name, origin))
        for name, origin in resolved.origins.items()
    }
    machine = resolved.machine
    if "dataset" in given and "data_root" not in given:
        # The recorded place is that of the run's own dataset.
        machine = machine.model_copy(update={"data_root": None})
        merged["data_root"] = "default"
    return Resolved(entry, resolved.preset, resolved.trainer, machine, merged)


def finished_epochs(folder: RunFolder) -> int | None:
    """How many epochs the run's report covers; None where it has none (the run is not finished)."""
    try:
        report = read_report(folder.report_json)
        return len(report["history"]) - 1
    except (OSError, ValueError, KeyError, TypeError):
        return None
