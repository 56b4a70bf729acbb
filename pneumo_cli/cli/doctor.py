"""``pneumo doctor``: checks this machine; whatever is broken is reported and does not stop the other checks."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_line, print_text
from pneumo_cli.errors import Interrupted, PneumoError
from pneumo_cli.plugins.discovery import Plugin, Plugins, health_checks
from pneumo_cli.runtime.streams import stdout_to_stderr
from pneumo_cli.specs import HealthCheck, load_reference


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="What is installed")(doctor)


def doctor(ctx: typer.Context, json: JsonFlag = False) -> None:
    """Check this machine: versions, devices, folders, plugins.

    Exit code 1 on problems. Imports everything that the plugins name, and tells how long each plugin takes to load.
    """
    sections = {"versions": _versions, "devices": _devices, "folders": _folders}
    results = {name: _guarded(section) for name, section in sections.items()}
    plugins: Plugins = ctx.obj
    found = health_checks(plugins)
    checks, healthy = _checks(plugins, found)
    if checks:
        results["checks"] = checks
    results["plugins"] = _plugins(plugins)
    results["loading"] = _loading(plugins)
    if broken := _references(plugins, found):
        results["references"], healthy = broken, False
    if json:
        print_json(results)
    else:
        for name, values in results.items():
            print_line(name.upper())
            width = max((len(key) for key in values), default=0)
            for key, value in values.items():
                print_text(_text(value), f"  {key:<{width}}  ")
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
    from pneumo_cli.runtime import load
    from pneumo_cli.runtime.accelerators import missing_devices
    from pneumo_cli.runtime.devices import available, choose_device, device_name, precisions
    from pneumo_cli.runtime.threads import usable_cores

    devices: dict[str, Any] = {"cores": usable_cores(), "busy cores": f"{load.busy_cores():.1f}, by others"}
    for device in available():
        support = ", ".join(f"{name} {how}" for name, how in precisions(device).items())
        devices[str(device)] = f"{device_name(device)}: {support}"
    devices |= missing_devices()
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


def _checks(plugins: Plugins, checks: Sequence[tuple[HealthCheck, Plugin]]) -> tuple[dict[str, str], bool]:
    """The results of the plugins' health checks, and whether all of them passed."""
    results: dict[str, str] = {}
    healthy = True
    with plugins.watch:
        for spec, plugin in checks:
            name = spec.name if spec.name not in results else f"{plugin.provenance.distribution}:{spec.name}"
            try:
                with plugins.watch.doing(f"running the health check {spec.name} of {plugin}"):
                    results[name] = _result(spec)
            except Interrupted:
                raise
            except BaseException as error:
                healthy = False
                reason = str(error) if isinstance(error, PneumoError) else f"{type(error).__name__}: {error}"
                results[name] = f"problem: {' '.join(reason.split())} ({plugin.provenance})"
    return results, healthy


def _result(spec: HealthCheck) -> str:
    """What a health check says, in one line. Raises whatever it raises, and TypeError if it says nothing."""
    with stdout_to_stderr():
        result = load_reference(spec.check)()
    if not isinstance(result, str) or not result.strip():
        raise TypeError(f"{spec.check} returned {result!r}, not a line of text")
    return " ".join(result.split())


def _loading(plugins: Plugins) -> dict[str, str]:
    """How long each plugin takes to import, at every start of pneumo."""
    times = {}
    for plugin in plugins.loaded:
        took = f"{1e3 * plugin.seconds:.0f} ms"
        if plugin.heavy:
            took = f"warning: {took}, and it imports {', '.join(plugin.heavy)}, for which every command waits"
        times[plugin.name if plugin.name not in times else str(plugin)] = took
    return times


def _references(plugins: Plugins, checks: Sequence[tuple[HealthCheck, Plugin]]) -> dict[str, str]:
    """What the plugins name and cannot be imported, with the reason."""
    from pneumo_cli.plugins.references import broken_references

    return {
        f"{one.part}, {one.attribute}": f"problem: {one.reference}: {one.error} ({one.provenance})"
        for one in broken_references(plugins, checks)
    }


def _plugins(plugins: Plugins) -> dict[str, Any]:
    states: dict[str, Any] = {p.name: f"{p.provenance}: ok" for p in plugins.loaded}
    states |= {name: f"{provenance}: disabled" for name, provenance in plugins.disabled}
    states["problems"] = [str(problem) for problem in plugins.problems] or "none"
    return states


def _text(value: Any) -> str:
    return "\n    ".join(["", *value]) if isinstance(value, list) else str(value)
