"""A run's record of its settings and environment, written before it trains, and reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pneumo_cli.data.records import Task
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.registry import Registries
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping
from pneumo_cli.settings.renamed import RENAMED
from pneumo_cli.settings.resolve import Resolved, read_toml, resolve


def facts_of(run: Run, model_options: Mapping[str, Any]) -> dict[str, Any]:
    """The table ``[run]`` of the ``run.toml`` of a new run.

    Its registered plugins and start time, and what cannot be told from the settings alone: more classes than two,
    and the outputs of a network that was trained on subtypes.

    Args:
        model_options: those that its model was built with.
    """
    data = run.data
    several: dict[str, Any] = {}
    if data.task != "binary":
        several = {"task": data.task, "classes": list(data.dataset.classes)}
    elif getattr(run.settings, "subtypes", False):
        several = {"outputs": model_options["outputs"]}
    return {
        "trainer": run.resolved.entry.qualified_name,
        "model": run.model_entry.qualified_name,
        "dataset": run.dataset_entry.qualified_name,
        "started": run.started.isoformat(timespec="seconds"),
        **several,
    }


def recorded_task(facts: Mapping[str, Any]) -> tuple[Task, tuple[str, ...]]:
    """What a run's dataset asks to decide, and its classes; those of two classes are not recorded.

    Args:
        facts: see :func:`recorded_facts`.

    Raises:
        UsageError: the facts are damaged.
    """
    task, classes = facts.get("task", "binary"), facts.get("classes", [])
    if task not in get_args(Task) or not isinstance(classes, list):
        raise UsageError(f"the run's settings are damaged: the task is {task!r}")
    return task, tuple(map(str, classes))


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
    """The table ``[run]`` of a ``run.toml``, as given to :meth:`Resolved.to_toml`.

    Raises:
        UsageError: the file is damaged.
    """
    facts = read_toml(settings_file).get("run")
    if not isinstance(facts, dict):
        raise UsageError(f"{settings_file} is damaged: it has no table [run]")
    return facts


def reopen_settings(registries: Registries, folder: RunFolder, flags: Mapping[str, Any]) -> Resolved:
    """The recorded settings of an existing run, with a few flags on top.

    The environment and ``pneumo.toml`` are ignored: a run continues as it began.

    Raises:
        UsageError: the run's trainer is not installed, or its settings do not fit the installed version.
    """
    entry = registries.trainers.get(str(recorded_facts(folder.settings).get("trainer")))
    recorded = read_toml(folder.settings)
    table = mapping(recorded.get("origin"))
    origins = {RENAMED.get(name, name): str(origin) for name, origin in table.items()}
    resolved = resolve(registries, entry, flags, config=folder.settings, environ={})
    given = {name for name, value in flags.items() if value is not None}
    merged = {
        name: origin if name in given else origins.get(name, origin)
        for name, origin in resolved.origins.items()
    }
    resolved = replace(resolved, origins=merged)
    if "dataset" in given and resolved.trainer.dataset != recorded.get("dataset"):
        # The recorded folder and options are those of the run's own dataset.
        own = {name: getattr(resolved.options, name) for name in given & resolved.options.model_fields_set}
        resolved = replace(resolved, options=type(resolved.options)(**own))
        if "data_root" not in given:
            machine = resolved.machine.model_copy(update={"data_root": None})
            resolved = replace(resolved, machine=machine, origins={**merged, "data_root": "default"})
    return resolved


def finished_epochs(folder: RunFolder) -> int | None:
    """How many epochs a run's report covers; None if there is no report (the run is not finished)."""
    try:
        return len(read_report(folder.report_json)["history"]) - 1
    except (OSError, ValueError, KeyError, TypeError):
        return None
