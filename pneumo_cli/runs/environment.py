"""The environment of a run: versions, machine, plugins, command line. For its record and for ``doctor``."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.runs.git_revision import git_revision

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_PACKAGES = (
    *("pneumo-cli", "torch", "torchvision", "torchmetrics", "numpy", "pillow", "matplotlib"),
    *("pydantic", "pydantic-settings", "typer", "pluggy"),
)


def package_versions() -> dict[str, str]:
    """The versions of the main dependencies; ``missing`` for a package that is not installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _plugin_versions(participants: Sequence[str]) -> dict[str, str]:
    """Distribution and version of each plugin of a run, by entry point."""
    return {
        point.name: f"{point.dist.name} {point.dist.version}"
        for point in sorted(entry_points(group="pneumo"), key=lambda point: point.name)
        if point.dist is not None and point.name in participants
    }


def _git() -> dict[str, Any]:
    try:
        return git_revision(Path.cwd())
    except OSError:  # the folder was removed
        return {}


def describe_environment(run: Run, command: list[str]) -> dict[str, Any]:
    """The content of ``environment.json``."""
    import torch

    return {
        "command": command,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "device": str(run.device.torch),
        "device_name": run.device.name,
        "precision": run.device.precision,
        "processes": run.ranks.world,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "",
        "git": _git(),
        "packages": package_versions(),
        "plugins": {
            **_plugin_versions(run.participants),
            **{file.path.stem: str(file.provenance) for file in run.registries.files},
        },
        "extensions": list(run.extensions),
    }
