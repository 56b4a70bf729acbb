"""``pneumo show NAME``: the details of one trainer, model, dataset, extension or observer, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import cell_text, print_json, print_table, print_text
from pneumo_cli.errors import PneumoError, UsageError, nearest
from pneumo_cli.plugins.discovery import Plugins

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pneumo_cli.data.records import Dataset
    from pneumo_cli.registry import Entry
    from pneumo_cli.settings.parts import PartEntry
    from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="What is installed")(show)


def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A trainer, model, dataset, extension or observer.", show_default=False
        ),
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
    """Show a trainer, model, dataset or extension in detail.

    Settings and layers of a trainer, layers of a model, options of a dataset, settings of an extension."""
    plugins: Plugins = ctx.obj
    if plugins.trainers.knows(name):
        flags = {"model": model, "image_size": image_size}
        _show_trainer(plugins, plugins.trainers.get(name), preset, flags, json)
    elif plugins.models.knows(name):
        _show_model(plugins, plugins.models.get(name), image_size, json)
    elif plugins.datasets.knows(name):
        _show_dataset(plugins.datasets.get(name), json)
    elif plugins.extensions.knows(name):
        _show_part(plugins.extensions.get(name), json)
    elif plugins.observers.knows(name):
        _show_part(plugins.observers.get(name), json)
    else:
        shown = (plugins.trainers, plugins.models, plugins.datasets, plugins.extensions, plugins.observers)
        hint = nearest(name, [n for registry in shown for n in registry.names()])
        if hint.startswith("known:"):
            hint = "see pneumo list-trainers, list-models, list-datasets and list-extensions"
        raise UsageError(f"unknown trainer, model, dataset, extension or observer {name!r}; {hint}")


def _show_trainer(
    plugins: Plugins, entry: Entry[TrainerSpec], preset: str | None, flags: dict[str, Any], as_json: bool
) -> None:
    from pneumo_cli.cli.model_layers import measured, on_meta
    from pneumo_cli.settings.details import known_choices, setting_details
    from pneumo_cli.settings.resolve import plain_values, resolve
    from pneumo_cli.trainers.backbone import stages_of
    from pneumo_cli.trainers.session import set_up

    resolved = resolve(plugins, entry, flags, preset=preset)
    setup = set_up(plugins, resolved)
    model = on_meta(setup.model, setup.trainer.model_options())
    facts = setup.trainer.freeze(setup.model, model)
    size = resolved.trainer.image_size
    stages = stages_of(setup.model.spec, model)
    layers = measured(setup.model, model, size, stages, flags["image_size"] is not None)
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
                "fields": setting_details(type(resolved.trainer), choices=known_choices(plugins)),
                "model": setup.model.spec.name,
                "facts": facts,
                "layers": layers.plain(),
            }
        )
        return
    print_text(f"{entry.spec.name}: {entry.spec.summary}  ({entry.provenance})")
    print("\nPresets")
    print_table(
        ["name", "summary", "sets"],
        [
            [p.name, p.summary, ", ".join(f"{k} = {v}" for k, v in p.values.items()) or "the defaults"]
            for p in entry.spec.presets
        ],
    )
    print()
    print_text(f"Settings with the preset {resolved.preset.name}")
    print_table(
        ["setting", "value", "from", "meaning"],
        [
            [name, cell_text(getattr(resolved.trainer, name)), resolved.origins[name], info.description or ""]
            for name, info in fields.items()
        ],
    )
    print()
    print_text(f"Layers of {setup.model.spec.name} ({setup.model.provenance}) for images of {size} px")
    layers.show(facts)


def _show_model(plugins: Plugins, entry: Entry[ModelSpec], size: int | None, as_json: bool) -> None:
    from pneumo_cli.cli.model_layers import layers_of

    spec = entry.spec
    layers = layers_of(plugins, entry, size)
    if as_json:
        print_json({"model": spec.name, "kind": spec.kind} | _origin_of(entry) | {"layers": layers.plain()})
        return
    print_text(f"{spec.name}: {spec.summary}  ({entry.provenance}, kind {spec.kind})")
    print()
    print_text(f"Layers for images of {layers.size} px")
    layers.show({})


def _show_dataset(entry: Entry[DatasetSpec], as_json: bool) -> None:
    from pneumo_cli.settings.classes import options_class
    from pneumo_cli.settings.details import setting_details

    spec = entry.spec
    options = options_class(entry)
    opened = None if spec.needs_root else _opened(entry)
    if as_json:
        content: dict[str, Any] = {
            "dataset": spec.name,
            **_origin_of(entry),
            "synthetic": spec.synthetic,
            "needs_root": spec.needs_root,
            "instructions": spec.instructions,
            "fields": setting_details(options),
        }
        if isinstance(opened, str):
            content["note"] = opened
        elif opened is not None:
            content |= {
                "classes": list(opened.classes),
                "targets": [
                    {"name": target.name, "kind": target.kind, "summary": target.summary}
                    for target in opened.targets
                ],
                "images": len(opened.records),
                "channels": opened.channels,
                "bits": opened.bits,
            }
        print_json(content)
        return
    print_text(f"{spec.name}: {spec.summary}  ({entry.provenance})")
    if spec.instructions:
        print()
        for line in spec.instructions.splitlines():
            print_text(line)
    if isinstance(opened, str):
        print()
        print_text(opened)
    elif opened is not None:
        print()
        print_text(f"{len(opened.records):,} (channels: {opened.channels}, bits: {opened.bits})", "Images   ")
        print_text(", ".join(opened.classes) or "none", "Classes  ")
        for target in opened.targets:
            print_text(f"{target.name} ({target.kind}): {target.summary}", "Target   ")
    if options.model_fields:
        print("\nOptions")
        _print_details(options)
    print()
    print_text(f"To check its images: pneumo data check --dataset {spec.name}")


def _opened(entry: Entry[DatasetSpec]) -> Dataset | str:
    """A dataset that needs no files of the user, with its default options; or why it cannot be opened."""
    from pneumo_cli.runtime.progress import for_stderr
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.trainers.session import open_dataset

    try:
        return open_dataset(entry, resolve_machine({}), for_stderr())
    except PneumoError as error:
        return f"It cannot be opened: {error}"


def _show_part(entry: PartEntry, as_json: bool) -> None:
    from pneumo_cli.settings.classes import part_class
    from pneumo_cli.settings.details import setting_details
    from pneumo_cli.settings.parts import kind_of
    from pneumo_cli.specs import ExtensionSpec

    spec, kind, settings = entry.spec, kind_of(entry), part_class(entry)
    order: dict[str, tuple[str, ...]] = {}
    if isinstance(spec, ExtensionSpec):
        order = {"inside": spec.inside, "conflicts": spec.conflicts}
    if as_json:
        print_json(
            {kind: spec.name, **_origin_of(entry)}
            | {name: list(names) for name, names in order.items()}
            | {"fields": setting_details(settings, spec.name)}
        )
        return
    print_text(f"{spec.name}: {spec.summary}  ({entry.provenance}, {kind})")
    for title, names in zip(("Inside of", "Not with"), order.values(), strict=False):
        if names:
            print_text(", ".join(names), f"{title:<10} ")
    if settings.model_fields:
        print("\nSettings")
        _print_details(settings, spec.name)
    print()
    print_text(f"To use it: pneumo run NAME --with {spec.name}")


def _print_details(cls: type[BaseModel], part: str = "") -> None:
    """Print a table of the settings of a class."""
    from pneumo_cli.settings.details import setting_details, type_in_words

    print_table(
        ["setting", "type", "default", "meaning"],
        [
            [
                one["flag"],
                type_in_words(one),
                "" if one["default"] is None else cell_text(one["default"]),
                one["description"],
            ]
            for one in setting_details(cls, part)
        ],
    )


def _origin_of(entry: Entry[Any]) -> dict[str, str]:
    return {
        "summary": entry.spec.summary,
        "distribution": entry.provenance.distribution,
        "version": entry.provenance.version,
    }
