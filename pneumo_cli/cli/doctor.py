"""``pneumo doctor``: can this machine do the work, and what is in the way? Works whatever is broken."""

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

    @app.command(rich_help_panel="What is installed")
    def doctor(ctx: typer.Context, json: JsonFlag = False) -> None:
        """Check versions, devices, precisions, caches and plugins of this machine."""
        parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("versions", _versions),
            ("devices", _devices),
            ("folders", _folders),
        ]
        found = {name: _guarded(part) for name, part in parts}
        checks, healthy = _checks(ctx.obj)
        if checks:
            found["checks"] = checks
        found["plugins"] = _plugins(ctx.obj)
        if json:
            print_json(found)
            raise typer.Exit(0 if healthy else 1)
        for name, values in found.items():
            print(name.upper())
            width = max((len(key) for key in values), default=0)
            for key, value in values.items():
                print(f"  {key:<{width}}  {_text(value)}")
            print()
        if not healthy:
            raise typer.Exit(1)


def _guarded(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part that fails says so; the others are still worth reading."""
    try:
        return part()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _versions() -> dict[str, Any]:
    from pneumo_cli.runs.environment import package_versions

    return {"python": f"{platform.python_version()} ({sys.executable})", **package_versions()}


def _devices() -> dict[str, Any]:
    from pneumo_cli.runtime.devices import available, choose_device, device_name, precisions
    from pneumo_cli.runtime.threads import usable_cores

    found: dict[str, Any] = {"cores": usable_cores()}
    for device in available():
        support = ", ".join(f"{name} {how}" for name, how in precisions(device).items())
        found[str(device)] = f"{device_name(device)}: {support}"
    chosen = choose_device("auto", "auto")
    found["auto"] = f"{chosen.torch}, {chosen.precision}"
    return found


def _folders() -> dict[str, Any]:
    from pneumo_cli.data.cache import cache_usage
    from pneumo_cli.data.imports import places
    from pneumo_cli.runtime.atomic import try_folder
    from pneumo_cli.settings.resolve import resolve_machine

    machine = resolve_machine({})
    entries, size = cache_usage(machine.cache)
    found = {
        "output": str(machine.output.absolute()),
        "cache": f"{machine.cache} ({entries} decoded datasets, {size / 1e6:,.0f} MB; may be deleted)",
        "data": str(machine.data_home),
    }
    for name, folder in (("output", machine.output), ("cache", machine.cache), ("data", machine.data_home)):
        try:
            try_folder(folder)
        except OSError as error:
            found[name] += f": cannot be written ({error.strerror})"
    for name, path in places(machine.data_home).items():
        found[f"data of {name}"] = f"{path}{'' if Path(path).exists() else ' (missing)'}"
    return found


def _checks(plugins: Plugins) -> tuple[dict[str, str], bool]:
    """What plugins look at (the hook ``health_checks``), and whether all is well."""
    found: dict[str, str] = {}
    healthy = True
    for spec, plugin in health_checks(plugins):
        name = spec.name if spec.name not in found else f"{plugin.provenance.distribution}:{spec.name}"
        try:
            found[name] = str(load_reference(spec.check)())
        except Exception as error:
            healthy = False
            reason = str(error) if isinstance(error, PneumoError) else f"{type(error).__name__}: {error}"
            found[name] = f"problem: {' '.join(reason.split())} ({plugin.provenance})"
    return found, healthy


def _plugins(plugins: Plugins) -> dict[str, Any]:
    found: dict[str, Any] = {p.name: f"{p.provenance}: ok" for p in plugins.loaded}
    found |= {name: f"{where}: disabled" for name, where in plugins.disabled}
    found["problems"] = [str(problem) for problem in plugins.problems] or "none"
    return found


def _text(value: Any) -> str:
    return "\n    ".join(["", *value]) if isinstance(value, list) else str(value)
