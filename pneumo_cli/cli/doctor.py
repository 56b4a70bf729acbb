"""``pneumo doctor``: checks this machine; whatever is broken is reported and does not stop the other checks."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json
from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.discovery import Plugins, health_checks
from pneumo_cli.specs import load_reference


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="What is installed")(doctor)


def doctor(ctx: typer.Context, json: JsonFlag = False) -> None:
    """Check versions, devices, precisions, folders and plugins of this machine (exit code 1 on problems)."""
    sections = {"versions": _versions, "devices": _devices, "folders": _folders}
    results = {name: _guarded(section) for name, section in sections.items()}
    checks, healthy = _checks(ctx.obj)
    if checks:
        results["checks"] = checks
    results["plugins"] = _plugins(ctx.obj)
    if json:
        print_json(results)
    else:
        for name, values in results.items():
            print(name.upper())
            width = max((len(key) for key in values), default=0)
            for key, value in values.items():
                print(f"  {key:<{width}}  {_text(value)}")
            print()
    if not healthy:
        raise typer.Exit(1)


def _guarded(section: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A section, or the reason why it failed."""
    try:
        return section()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _versions() -> dict[str, Any]:
    from pneumo_cli.runs.environment import package_versions

    return {"python": f"{platform.python_version()} ({sys.executable})", **package_versions()}


def _devices() -> dict[str, Any]:
    from pneumo_cli.runtime.devices import available, choose_device, device_name, precisions
    from pneumo_cli.runtime.threads import usable_cores

    devices: dict[str, Any] = {"cores": usable_cores()}
    for device in available():
        support = ", ".join(f"{name} {how}" for name, how in precisions(device).items())
        devices[str(device)] = f"{device_name(device)}: {support}"
    chosen = choose_device("auto", "auto")
    devices["auto"] = f"{chosen.torch}, {chosen.precision}"
    return devices


def _folders() -> dict[str, Any]:
    from pneumo_cli.data.cache import cache_usage
    from pneumo_cli.data.imports import places
    from pneumo_cli.runtime.atomic import try_folder
    from pneumo_cli.settings.resolve import resolve_machine

    machine = resolve_machine({})
    entries, size = cache_usage(machine.cache)
    folders = {
        "output": str(machine.output.absolute()),
        "cache": f"{machine.cache} ({entries} decoded datasets, {size / 1e6:,.0f} MB; may be deleted)",
        "data": str(machine.data_home),
    }
    for name, folder in (("output", machine.output), ("cache", machine.cache), ("data", machine.data_home)):
        try:
            try_folder(folder)
        except OSError as error:
            folders[name] += f": cannot be written ({error.strerror})"
    for name, path in places(machine.data_home).items():
        folders[f"data of {name}"] = f"{path}{'' if Path(path).exists() else ' (missing)'}"
    return folders


def _checks(plugins: Plugins) -> tuple[dict[str, str], bool]:
    """The results of the plugins' health checks, and whether all of them passed."""
    results: dict[str, str] = {}
    healthy = True
    for spec, plugin in health_checks(plugins):
        name = spec.name if spec.name not in results else f"{plugin.provenance.distribution}:{spec.name}"
        try:
            results[name] = str(load_reference(spec.check)())
        except Exception as error:
            healthy = False
            reason = str(error) if isinstance(error, PneumoError) else f"{type(error).__name__}: {error}"
            results[name] = f"problem: {' '.join(reason.split())} ({plugin.provenance})"
    return results, healthy


def _plugins(plugins: Plugins) -> dict[str, Any]:
    states: dict[str, Any] = {p.name: f"{p.provenance}: ok" for p in plugins.loaded}
    states |= {name: f"{provenance}: disabled" for name, provenance in plugins.disabled}
    states["problems"] = [str(problem) for problem in plugins.problems] or "none"
    return states


def _text(value: Any) -> str:
    return "\n    ".join(["", *value]) if isinstance(value, list) else str(value)
