"""The extensions of a run as a part of its recipe: recorded when it starts, and compared when it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import UsageError
from pneumo_cli.installation import pip_install
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.json_values import sequence


def extensions_of(run: Run) -> dict[str, Any]:
    """The entry ``extensions`` of the table ``[run]``, and of ``report.json``; empty without any."""
    return {"extensions": dict(run.extensions)} if run.extensions else {}


def reproduction_remarks(run: Run) -> list[str]:
    """Comments for the command that repeats a run: the extensions that take part in it."""
    parts = {part.entry.spec.name for part in run.resolved.parts}
    remarks = []
    for name, version in run.extensions.items():
        origin = f" ({version})" if version else ""
        if name in parts:
            remarks.append(f"# run.toml asks for it: --with {name}{origin}")
        else:
            remarks.append(f"# takes part wherever it is installed: {name}{origin}")
    return remarks


def recorded_extensions(facts: Mapping[str, Any], folder: RunFolder) -> dict[str, str] | None:
    """Distribution and version of the extensions of a run, by name.

    Runs of versions before 0.3 recorded the names alone, which have an empty value. None: nothing is known.

    Args:
        facts: the table ``[run]`` of its ``run.toml``.
    """
    recorded = facts.get("extensions")
    if recorded is not None and not isinstance(recorded, Mapping):
        raise UsageError(f"{folder.settings} is damaged: [run] extensions is {recorded!r}, not a table")
    if isinstance(recorded, Mapping):
        return {str(name): str(version) for name, version in recorded.items()}
    try:
        content = json.loads(folder.environment.read_text(encoding="utf-8"))
        return {str(name): "" for name in sequence(content["extensions"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_extensions(run: Run, facts: Mapping[str, Any], folder: RunFolder) -> list[str]:
    """Check that the extensions that take part now are those that a run was trained with.

    Returns:
        a remark about each of another version, and about each that is missing from a run of version 0.2 or before,
        which went on without.

    Raises:
        UsageError: one is missing, or was not there before.
    """
    recorded = recorded_extensions(facts, folder)
    if recorded is None:
        return []
    remarks = []
    for name in sorted(recorded.keys() - run.extensions.keys()):
        if "extensions" not in facts:
            remarks.append(f"the run was trained with the extension {name}, which takes no part now")
            continue
        origin = f" ({recorded[name]})" if recorded[name] else ""
        raise UsageError(
            f"{folder.path} was trained with the extension {name}{origin}, which takes no part now: "
            f"{_how_to_get(run, name, recorded[name].rpartition(' ')[0])}"
        )
    parts = {part.entry.spec.name for part in run.resolved.parts}
    for name in sorted(run.extensions.keys() - recorded.keys()):
        origin = f" ({run.extensions[name]})" if run.extensions[name] else ""
        plugin = name.partition(":")[0]
        how = f"without --with {name}" if name in parts else f"PNEUMO_DISABLE_PLUGINS={plugin} leaves it out"
        raise UsageError(
            f"{folder.path} was trained without the extension {name}{origin}, which takes part now: {how}; a new "
            "run can use it"
        )
    return remarks + [
        f"the extension {name} is of {run.extensions[name]} now; the run was trained with {version}"
        for name, version in recorded.items()
        if version and run.extensions[name] and version != run.extensions[name]
    ]


def _how_to_get(run: Run, name: str, distribution: str) -> str:
    if any(entry.spec.name == name for entry in run.registries.extensions.entries()):
        return f"--with {name}"
    plugin, _, made = name.partition(":")
    if made and plugin in run.participants:
        return f"the plugin {plugin} does not add it to this run (plugins_for_run)"
    if not distribution:
        return "install the plugin that it comes from, or enable it (pneumo list-plugins)"
    why = run.registries.why_absent(distribution)
    return f"it comes with {distribution}, which {why}" if why else pip_install(distribution)
