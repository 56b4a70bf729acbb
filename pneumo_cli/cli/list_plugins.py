"""``pneumo list-…``: what is installed. Imports nothing of what it lists."""

from __future__ import annotations

from typing import Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Registry

_PANEL = "What is installed"


def add_commands(app: typer.Typer) -> None:
    """Add the list commands to the program."""

    @app.command("list-trainers", rich_help_panel=_PANEL)
    def list_trainers(ctx: typer.Context, json: JsonFlag = False) -> None:
        """List the trainers that `pneumo run` offers."""
        plugins: Plugins = ctx.obj
        extras = {
            "kind": lambda spec: spec.kind,
            "model": lambda spec: spec.model,
            "presets": lambda spec: [preset.name for preset in spec.presets],
        }
        _show(plugins.trainers, extras, json)

    @app.command("list-models", rich_help_panel=_PANEL)
    def list_models(ctx: typer.Context, json: JsonFlag = False) -> None:
        """List the models that `--model` accepts."""
        plugins: Plugins = ctx.obj
        _show(plugins.models, {"kind": lambda spec: spec.kind}, json)

    @app.command("list-datasets", rich_help_panel=_PANEL)
    def list_datasets(ctx: typer.Context, json: JsonFlag = False) -> None:
        """List the datasets that `--dataset` accepts."""
        plugins: Plugins = ctx.obj
        _show(plugins.datasets, {"synthetic": lambda spec: spec.synthetic}, json)

    @app.command("list-plugins", rich_help_panel=_PANEL)
    def list_plugins(ctx: typer.Context, json: JsonFlag = False) -> None:
        """List every plugin: what works, what does not, and why."""
        _show_plugins(ctx.obj, json)


def _show(registry: Registry[Any], extras: dict[str, Any], as_json: bool) -> None:
    conflicts = registry.conflicts()
    rows = [
        {
            # A name that two distributions register is of use only with the distribution before it.
            "name": entry.qualified_name if entry.spec.name in conflicts else entry.spec.name,
            **{column: value(entry.spec) for column, value in extras.items()},
            "distribution": entry.provenance.distribution,
            "version": entry.provenance.version,
            "summary": entry.spec.summary,
        }
        for entry in registry.entries()
    ]
    if as_json:
        print_json(rows)
        return
    headers = ["name", *extras, "from", "summary"]
    print_table(
        headers,
        [
            [
                row["name"],
                *(_text(row[column]) for column in extras),
                f"{row['distribution']} {row['version']}",
                row["summary"],
            ]
            for row in rows
        ],
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _show_plugins(plugins: Plugins, as_json: bool) -> None:
    rows = [
        {"name": p.name, "distribution": p.provenance.distribution, "version": p.provenance.version}
        | {"state": "ok", "hooks": list(p.hooks)}
        for p in plugins.loaded
    ]
    rows += [
        {"name": name, "distribution": where.distribution, "version": where.version}
        | {"state": "disabled", "hooks": []}
        for name, where in plugins.disabled
    ]
    problems = [
        {
            "plugin": problem.plugin,
            "distribution": problem.provenance.distribution,
            "version": problem.provenance.version,
            "stage": problem.stage,
            "error": problem.error,
            "traceback": problem.traceback,
        }
        for problem in plugins.problems
    ]
    if as_json:
        print_json({"plugins": rows, "problems": problems})
        return
    print_table(
        ["plugin", "from", "state", "hooks"],
        [
            [row["name"], f"{row['distribution']} {row['version']}", row["state"], ", ".join(row["hooks"])]
            for row in rows
        ],
    )
    for problem in plugins.problems:
        print(f"\nproblem: {problem}")
        for line in problem.traceback.rstrip().splitlines():
            print(f"    {line}")
