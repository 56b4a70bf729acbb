"""``list-trainers``, ``-models``, ``-datasets``, ``-extensions``, ``-plugins``. Nothing listed is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import cell_text, print_columns, print_json, print_table
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry, ModelRegistry
from pneumo_cli.specs import ExtensionSpec, ObserverSpec


def add_commands(app: typer.Typer) -> None:
    """Add the list commands to the program."""
    panel = "What is installed"
    app.command(rich_help_panel=panel)(list_trainers)
    # A typer.Argument would import pydantic, which takes longer than the list.
    app.command(
        rich_help_panel=panel,
        context_settings={"allow_extra_args": True},
        options_metavar="[TEXT] [OPTIONS]",
    )(list_models)
    app.command(rich_help_panel=panel)(list_datasets)
    app.command(rich_help_panel=panel)(list_extensions)
    app.command(rich_help_panel=panel)(list_plugins)


def list_trainers(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the trainers that `pneumo run` offers."""
    _print_specs(ctx.obj.trainers.named(), ("kind", "model", "presets"), json)


def list_models(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the models that `--model` accepts.

    TEXT: only models whose names contain it, or match it as a pattern (timm/convnext*); those of families too.
    """
    models: ModelRegistry = ctx.obj.models
    if not ctx.args:
        families = {f"{family.spec.name}/*": family for family in models.families}
        _print_specs({**models.named(), **families}, ("kind",), json)
        return
    wanted = " ".join(ctx.args)
    found = models.search(wanted if set(wanted) & set("*?[") else f"*{wanted}*")
    if not found:
        raise UsageError(f"no model's name contains or matches {wanted!r} (pneumo list-models shows all)")
    _print_specs(found, ("kind",), json)


def list_datasets(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the datasets that `--dataset` accepts."""
    _print_specs(ctx.obj.datasets.named(), ("synthetic",), json)


def list_extensions(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the extensions and observers that `--with` accepts. Observers cannot change a run."""
    entries = [*ctx.obj.extensions.entries(), *ctx.obj.observers.entries()]
    names = [entry.spec.name for entry in entries]
    named = {
        entry.qualified_name if names.count(entry.spec.name) > 1 else entry.spec.name: entry
        for entry in entries
    }
    _print_specs(named, ("kind",), json)


def list_plugins(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List every plugin: whether it works and, if not, why."""
    plugins: Plugins = ctx.obj
    states = [(p.name, p.provenance, "ok", list(p.hooks)) for p in plugins.loaded]
    states += [(name, provenance, "disabled", []) for name, provenance in plugins.disabled]
    if json:
        print_json(
            {
                "plugins": [
                    {"name": name, "distribution": where.distribution, "version": where.version}
                    | {"state": state, "hooks": hooks}
                    for name, where, state, hooks in states
                ],
                "problems": [
                    {
                        "plugin": problem.plugin,
                        "distribution": problem.provenance.distribution,
                        "version": problem.provenance.version,
                        "stage": problem.stage,
                        "error": problem.error,
                        "traceback": problem.traceback,
                    }
                    for problem in plugins.problems
                ],
            }
        )
        return
    print_table(
        ["plugin", "from", "state", "hooks"],
        [[name, where, state, cell_text(hooks)] for name, where, state, hooks in states],
    )
    for problem in plugins.problems:
        print(f"\nproblem: {problem}")
        for line in problem.traceback.rstrip().splitlines():
            print(f"    {line}")


def _print_specs(named: Mapping[str, Entry[Any]], attributes: tuple[str, ...], as_json: bool) -> None:
    rows = [
        {
            "name": name,
            **{attribute: _value(entry.spec, attribute) for attribute in attributes},
            "distribution": entry.provenance.distribution,
            "version": entry.provenance.version,
            "summary": entry.spec.summary,
        }
        for name, entry in named.items()
    ]
    if as_json:
        print_json(rows)
        return
    columns = {name: [cell_text(row[name]) for row in rows] for name in ("name", *attributes)}
    columns["from"] = [f"{row['distribution']} {row['version']}" for row in rows]
    columns["summary"] = [row["summary"] for row in rows]
    print_columns(columns, ("from", "presets", "model", "kind", "synthetic"), wrapped=36)


def _value(spec: Any, attribute: str) -> Any:
    if isinstance(spec, (ExtensionSpec, ObserverSpec)):
        return "extension" if isinstance(spec, ExtensionSpec) else "observer"
    value = getattr(spec, attribute)
    return [preset.name for preset in value] if attribute == "presets" else value
