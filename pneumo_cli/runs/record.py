"""A run's record of its settings and environment, written before it trains, and reading it back."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pneumo_cli.data.records import Task
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.installation import pip_install
from pneumo_cli.registry import REGISTERED, Registries, absent_source, is_file
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.extensions import extensions_of
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.report_format import covered_epochs, read_report
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, sequence
from pneumo_cli.settings.parts import found_as, listed
from pneumo_cli.settings.renamed import RENAMED
from pneumo_cli.settings.resolve import Resolved, read_toml, resolve

_log = logging.getLogger("pneumo")


def facts_of(run: Run, model_options: Mapping[str, Any]) -> dict[str, Any]:
    """The table ``[run]`` of the ``run.toml`` of a new run.

    Its registered plugins and start time, and what cannot be told from the settings alone: the classes, the outputs
    of a network that was trained on subtypes, and images that are not gray with 8 bits.

    Args:
        model_options: those that its model was built with.
    """
    data, dataset = run.data, run.data.dataset
    learnt: dict[str, Any] = {"classes": list(dataset.classes)}
    if data.task != "binary" and dataset.classes:
        learnt = {"task": data.task, **learnt}
    elif getattr(run.settings, "subtypes", False):
        learnt |= {"outputs": model_options["outputs"]}
    if (dataset.channels, dataset.bits) != (1, 8):
        learnt |= {"channels": dataset.channels, "bits": dataset.bits}
    return {
        "trainer": run.resolved.entry.qualified_name,
        "model": run.model_entry.qualified_name,
        "dataset": run.dataset_entry.qualified_name,
        "started": run.started.isoformat(timespec="seconds"),
        **files_of(run.registries),
        **(
            {"registered": registered}
            if (registered := registered_parts(run.registries, run.resolved))
            else {}
        ),
        **extensions_of(run),
        **learnt,
    }


def files_of(registries: Registries) -> dict[str, Any]:
    """The entry of the table ``[run]``, and of ``report.json``, for plugins of one file; empty without any."""
    files = [{"path": str(file.path), "sha256": file.sha256} for file in registries.files]
    return {"plugin_files": files} if files else {}


def registered_parts(registries: Registries, resolved: Resolved) -> dict[str, str]:
    """What of a run the running program registered, such as ``model mine``, with the SHA-256 of its code.

    Without observers, which are no part of the recipe. Other processes do not have these parts.
    """
    settings = resolved.trainer
    named = [("trainer", resolved.entry.spec.name)]
    for setting in ("model", "dataset", "split", "sampling", "extractor"):
        named.append((setting, str(getattr(settings, setting, "")).rpartition(":")[2]))
    named += [("extension", part.name) for part in resolved.parts if part.is_extension]
    wanted = {f"{noun} {name}" for noun, name in named}
    return {
        part: digest
        for part, digest in registries.registered.items()
        if part in wanted or part.startswith("plugin ")
    }


def registration_remarks(run: Run) -> list[str]:
    """Comments for the command that repeats a run: what a notebook or script has to register before."""
    return [
        f"# only in Python, where the {part} is registered: pneumo.run({run.spec.name!r}, config=…)"
        for part in registered_parts(run.registries, run.resolved)
    ]


def file_flags(registries: Registries) -> str:
    """The flags that name the same plugins of one file, with a space before each."""
    return "".join(f" --plugin {shlex.quote(str(file.path))}" for file in registries.files)


def check_files(registries: Registries, folder: RunFolder) -> None:
    """Check, before a run is resumed, that its plugins of one file, and what a program registered, are here again.

    Changed ones are a warning.

    Raises:
        UsageError: one is missing.
    """
    facts = recorded_facts(folder.settings)
    for part, recorded_digest in mapping(facts.get("registered")).items():
        if part not in registries.registered:
            raise UsageError(f"{folder.path} needs the {part}, which {absent_source(REGISTERED)}")
        now = registries.registered[part]
        if now and recorded_digest and now != recorded_digest:
            _log.warning("the registered %s is not the same as when %s was started", part, folder.path)
    given = {file.path.name: file.sha256 for file in registries.files}
    for recorded in map(mapping, sequence(facts.get("plugin_files"))):
        path, digest = Path(str(recorded.get("path"))), str(recorded.get("sha256"))
        if path.name not in given:
            raise UsageError(f"{folder.path} needs the plugin file that it was started with: --plugin {path}")
        if given[path.name] != digest:
            _log.warning(
                "the plugin file %s is another one than that which %s was started with: its SHA-256 was %s, and "
                "is %s", path.name, folder.path, digest[:12], given[path.name][:12],
            )  # fmt: skip


def recorded_task(facts: Mapping[str, Any]) -> tuple[Task, tuple[str, ...]]:
    """What a run's dataset asks to decide, and its classes (until version 0.2 only if they are not two).

    Args:
        facts: see :func:`recorded_facts`.

    Raises:
        UsageError: the facts are damaged.
    """
    task, classes = facts.get("task", "binary"), facts.get("classes", [])
    if task not in get_args(Task) or not isinstance(classes, list):
        raise UsageError(f"the run's settings are damaged: the task is {task!r}")
    return task, tuple(map(str, classes))


def recorded_images(facts: Mapping[str, Any]) -> tuple[int, int]:
    """The channels and the bits of the images that a run was trained on.

    Args:
        facts: see :func:`recorded_facts`.

    Raises:
        UsageError: the facts are damaged.
    """
    channels, bits = facts.get("channels", 1), facts.get("bits", 8)
    if not isinstance(channels, int) or channels < 1 or bits not in (8, 16):
        raise UsageError(f"the run's settings are damaged: {channels!r} channels of {bits!r} bits")
    return channels, bits


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
    facts = recorded_facts(folder.settings)
    entry = registries.trainers.get(str(facts.get("trainer")))
    recorded = read_toml(folder.settings)
    table = mapping(recorded.get("origin"))
    origins = {RENAMED.get(name, name): str(origin) for name, origin in table.items()}
    parts = recorded_parts(registries, folder.settings, recorded.get("with", []), facts)
    resolved = resolve(registries, entry, {**flags, "with": parts}, config=folder.settings, environ={})
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


def recorded_parts(registries: Registries, file: Path, names: Any, facts: Mapping[str, Any]) -> list[str]:
    """What ``--with`` has to say to get the extensions and observers of a run.

    An observer that is not installed any more is left out, with a warning: it is no part of the recipe.

    Args:
        names: as recorded under ``with``.
        facts: see :func:`recorded_facts`.

    Raises:
        UsageError: an extension is not installed.
    """
    found = []
    extensions, observers = mapping(facts.get("extensions")), sequence(facts.get("observers"))
    for name in listed(names, str(file)):
        bare = name.rpartition(":")[2]
        distribution, _, version = str(extensions.get(bare, "")).rpartition(" ")
        wanted = f"{distribution}:{bare}" if distribution else name
        if found_as(registries, wanted):
            found.append(wanted)
        elif bare in observers:
            _log.warning("the observer %s is not installed, so it is left out", name)
        else:
            source = f" of {distribution} {version}" if distribution else ""
            get = pip_install(distribution) if distribution else "install the plugin that brings it"
            if extensions.get(bare) == REGISTERED:
                raise UsageError(
                    f"{file.parent} needs the extension {bare}, which {absent_source(REGISTERED)}"
                )
            raise UsageError(
                f"{file.parent} was trained with the extension {bare}{source}, which is not here: "
                f"{'name its file with --plugin' if is_file(distribution) else get}"
            )
    return found


def finished_epochs(folder: RunFolder) -> int | None:
    """How many epochs a run's report answers for (:func:`~pneumo_cli.runs.report_format.covered_epochs`).

    None if there is no report: the run is not finished.
    """
    try:
        return covered_epochs(read_report(folder.report_json))
    except (OSError, ValueError, KeyError, TypeError):
        return None
