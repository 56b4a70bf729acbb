"""``list-trainers``, ``-models``, ``-datasets``, ``-extensions``, ``-plugins``. Nothing listed is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import cell_text, print_columns, print_json, print_line, print_text
from pneumo_cli.plugins.discovery import Plugins

if TYPE_CHECKING:
    from pneumo_cli.workflows.tables import Table


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
    from pneumo_cli.workflows.lists import trainer_table

    _print(trainer_table(ctx.obj), ("kind", "model", "presets"), json)


def list_models(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the models that `--model` accepts.

    TEXT: only models whose names contain it, or match it as a pattern (timm/convnext*); those of families too.
    """
    from pneumo_cli.workflows.lists import model_table

    _print(model_table(ctx.obj, " ".join(ctx.args)), ("kind",), json)


def list_datasets(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the datasets that `--dataset` accepts."""
    from pneumo_cli.workflows.lists import dataset_table

    _print(dataset_table(ctx.obj), ("synthetic",), json)


def list_extensions(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the extensions and observers that `--with` accepts. Observers cannot change a run."""
    from pneumo_cli.workflows.lists import extension_table

    _print(extension_table(ctx.obj), ("kind",), json)


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
    columns = {
        "plugin": [name for name, *_ in states],
        "from": [str(where) for _, where, _, _ in states],
        "state": [state for _, _, state, _ in states],
        "hooks": [cell_text(hooks) for *_, hooks in states],
    }
    print_columns(columns, ("from",), prose=24)
    for problem in plugins.problems:
        print()
        print_text(f"problem: {problem}")
        for line in problem.traceback.rstrip().splitlines():
            print_line(f"    {line}")


def _print(parts: Table, attributes: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json(parts)
        return
    columns = {name: [cell_text(row[name]) for row in parts] for name in ("name", *attributes)}
    columns["from"] = [f"{row['distribution']} {row['version']}" for row in parts]
    columns["summary"] = [row["summary"] for row in parts]
    print_columns(columns, ("from", "presets", "model", "kind", "synthetic"), prose=36)
