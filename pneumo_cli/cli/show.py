"""``pneumo show NAME``: the details of one trainer, model or dataset, without running anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import cell_text, print_json, print_table
from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.plugins.discovery import Plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec
    from pneumo_cli.trainers.model_summary import LayerTable

_READABLE = 100  # layers; of a model with more of them the stages are listed


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="What is installed")(show)


def show(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A trainer, model or dataset.", show_default=False)
    ],
    preset: Annotated[
        str | None, typer.Option("--preset", help="Show a trainer with this preset.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Show a trainer with this model.", show_default=False)
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size", help="Input size for the table of layers, in pixels.", show_default=False
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show a trainer's settings and layers, a model's layers, or a dataset."""
    plugins: Plugins = ctx.obj
    if plugins.trainers.knows(name):
        flags = {"model": model, "image_size": image_size}
        _show_trainer(plugins, plugins.trainers.get(name), preset, flags, json)
    elif plugins.models.knows(name):
        _show_model(plugins.models.get(name), image_size or 256, json)
    elif plugins.datasets.knows(name):
        _show_dataset(plugins.datasets.get(name), json)
    else:
        names = [n for registry in plugins.registries() for n in registry.names()]
        raise UsageError(f"unknown trainer, model or dataset {name!r}; {nearest(name, names)}")


def _show_trainer(
    plugins: Plugins, entry: Entry[TrainerSpec], preset: str | None, flags: dict[str, Any], as_json: bool
) -> None:
    from pneumo_cli.settings.resolve import plain_values, resolve
    from pneumo_cli.trainers.backbone import stages_of
    from pneumo_cli.trainers.session import set_up

    resolved = resolve(plugins, entry, flags, preset=preset)
    setup = set_up(plugins, resolved)
    model = _on_meta(setup.model, setup.trainer.model_options())
    facts = setup.trainer.freeze(setup.model, model)
    size = resolved.trainer.image_size
    table = _layers(setup.model, model, size)
    fields = type(resolved.trainer).model_fields
    if as_json:
        print_json(
            {
                "trainer": entry.spec.name,
                "summary": entry.spec.summary,
                "distribution": entry.provenance.distribution,
                "version": entry.provenance.version,
                "preset": resolved.preset.name,
                "settings": plain_values(resolved.trainer),
                "origin": {name: resolved.origins[name] for name in fields},
                "model": setup.model.spec.name,
                "facts": facts,
                "layers": _plain(table),
            }
        )
        return
    print(f"{entry.spec.name}: {entry.spec.summary}  ({entry.provenance})")
    print("\nPresets")
    print_table(
        ["name", "summary", "sets"],
        [
            [p.name, p.summary, ", ".join(f"{k} = {v}" for k, v in p.values.items()) or "the defaults"]
            for p in entry.spec.presets
        ],
    )
    print(f"\nSettings with the preset {resolved.preset.name}")
    print_table(
        ["setting", "value", "from", "meaning"],
        [
            [name, cell_text(getattr(resolved.trainer, name)), resolved.origins[name], info.description or ""]
            for name, info in fields.items()
        ],
    )
    print(f"\nLayers of {setup.model.spec.name} ({setup.model.provenance}) for images of {size} px")
    _print_layers(table, facts, stages_of(setup.model.spec, model), size)


def _show_model(entry: Entry[ModelSpec], size: int, as_json: bool) -> None:
    from pneumo_cli.trainers.backbone import stages_of

    spec = entry.spec
    model = _on_meta(entry, {})
    table = _layers(entry, model, size)
    if as_json:
        print_json(
            {
                "model": spec.name,
                "kind": spec.kind,
                "summary": spec.summary,
                "distribution": entry.provenance.distribution,
                "version": entry.provenance.version,
                "layers": _plain(table),
            }
        )
        return
    print(f"{spec.name}: {spec.summary}  ({entry.provenance}, kind {spec.kind})")
    print(f"\nLayers for images of {size} px")
    _print_layers(table, {}, stages_of(spec, model), size)


def _show_dataset(entry: Entry[DatasetSpec], as_json: bool) -> None:
    spec = entry.spec
    if as_json:
        print_json(
            {
                "dataset": spec.name,
                "summary": spec.summary,
                "distribution": entry.provenance.distribution,
                "version": entry.provenance.version,
                "synthetic": spec.synthetic,
                "needs_root": spec.needs_root,
                "instructions": spec.instructions,
            }
        )
        return
    print(f"{spec.name}: {spec.summary}  ({entry.provenance})")
    if spec.instructions:
        print(f"\n{spec.instructions}")
    print(f"\nTo check its images: pneumo data check --dataset {spec.name}")


def _on_meta(entry: Entry[ModelSpec], options: dict[str, Any]) -> nn.Module:
    """A model on the meta device: shapes without memory or arithmetic."""
    import torch

    from pneumo_cli.runs.model_factory import build_registered

    with torch.device("meta"):
        return build_registered(entry, {"channels": 3, "outputs": 1, **options})


def _layers(entry: Entry[ModelSpec], model: nn.Module, size: int) -> LayerTable:
    from pneumo_cli.trainers.model_summary import layer_table

    try:
        return layer_table(model, getattr(model, "input_shape", (3, size, size)))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"the model {entry.qualified_name} cannot take images of 3 x {size} x {size}: {reason}"
        ) from error


def _print_layers(table: LayerTable, facts: dict[str, str], stages: Sequence[nn.Module], size: int) -> None:
    shown = table.rows
    if len(shown) > _READABLE and stages:
        from pneumo_cli.trainers.model_summary import stage_rows

        print(f"{len(stages)} stages with {len(shown)} layers; --json lists each layer")
        shown = stage_rows(stages, (3, size, size))
    rows = [("LAYER", "OUTPUT SHAPE", "PARAMETERS")]
    rows += [(row.name, str([*row.shape]), f"{row.parameters:,}") for row in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, shape, count in rows:
        print(f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}")
    totals = {
        "Total parameters": f"{table.parameters:,}",
        "Trainable parameters": f"{table.trainable:,}",
        **facts,
        "Input size": f"{table.input_mb:.2f} MB",
        "Forward/backward": f"{table.forward_backward_mb:.2f} MB",
        "Parameters": f"{table.parameters_mb:.2f} MB",
        "Estimated total": f"{table.total_mb:.2f} MB  (one image, fp32)",
    }
    print()
    for title, value in totals.items():
        print(f"{title:<20}  {value}")


def _plain(table: LayerTable) -> dict[str, Any]:
    sizes = ("input_mb", "forward_backward_mb", "parameters_mb", "total_mb")
    return {
        "rows": [asdict(row) for row in table.rows],
        "parameters": table.parameters,
        "trainable": table.trainable,
        **{name: round(getattr(table, name), 2) for name in sizes},
    }
