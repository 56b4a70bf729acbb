"""Tables of settings: name, flag, variable, type, bounds, choices, default, meaning, and the values of presets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.settings.classes import options_class, part_class
from pneumo_cli.settings.dataset_options import all_options
from pneumo_cli.settings.details import bounds_in_words, known_choices, setting_details
from pneumo_cli.settings.field_types import plain as plain_value
from pneumo_cli.settings.field_types import to_text
from pneumo_cli.settings.parts import installed_parts, kind_of
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.specs import TrainerSpec
from pneumo_docs.markdown import code, page, plain, table, toctree


def setting_table(
    cls: type[BaseModel],
    plugins: Plugins,
    *,
    part: str = "",
    only: Collection[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """A table of the settings of a class.

    Args:
        part: the extension or observer whose settings they are.
        only: their names; None: all.
        defaults: to show in place of the fields' own.
    """
    rows = []
    for one in setting_details(cls, part, known_choices(plugins)):
        name = one["name"]
        if only is not None and name not in only:
            continue
        own = "<br>".join((f"**`{name}`**", code(one["flag"]), code(one["variable"])))
        kind = ", ".join(code(choice) for choice in one["choices"]) or one["type"].replace("|", "or")
        if bounds := bounds_in_words(one["bounds"]):
            kind += f"; {bounds}"
        if one["optional"]:
            kind += "; may be left out"
        default = (defaults or {}).get(name, one["default"])
        rows.append((own, kind, _value(default), plain(one["description"])))
    return table(("Setting, flag, variable", "Values", "Default", "Meaning"), rows, "settings")


def preset_table(entry: Entry[TrainerSpec], recipe: type[BaseModel]) -> str:
    """The settings that a trainer's presets set, and their values side by side."""
    presets = entry.spec.presets
    names = [name for name in recipe.model_fields if any(name in preset.values for preset in presets)]
    defaults = {one["name"]: one["default"] for one in setting_details(recipe)} | {"model": entry.spec.model}
    rows = [
        (
            code(name),
            *(
                f"**{_value(preset.values[name])}**" if name in preset.values else _value(defaults[name])
                for preset in presets
            ),
        )
        for name in names
    ]
    return table(("Setting", *(code(preset.name) for preset in presets)), rows)


def _value(value: Any) -> str:
    value = plain_value(value, absolute=False)
    text = (
        ",".join(map(to_text, value)) if isinstance(value, list) else "" if value is None else to_text(value)
    )
    home = str(Path.home())
    return code(f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") else text)


def setting_pages(plugins: Plugins) -> dict[str, str]:
    """The pages of settings that several commands share, by the names of their files."""
    trainers = list(plugins.trainers.named())
    recipes = [f"- [the recipe of `{name}`](../commands/run-{name}.md#recipe)" for name in trainers]
    return {
        "settings/index": page(
            "Settings",
            "Where values come from, and how they are written, is in [settings](../../settings.md). "
            "Every setting has a flag, a variable, and a key of `pneumo.toml`; in Python it is an argument of "
            "`pneumo.run`. `pneumo show NAME --json` has the same as these pages for programs.",
            "\n".join(
                [
                    *recipes,
                    "- [settings of the machine](machine.md), which all trainers share",
                    "- [options of datasets](datasets.md)",
                    "- [settings of extensions and observers](extensions.md)",
                    "- [presets](presets.md) of all trainers",
                ]
            ),
            toctree(("machine", "datasets", "extensions", "presets")),
        ),
        "settings/machine": page(
            "Settings of the machine",
            "Where and how a run is computed; no part of the recipe.",
            setting_table(MachineSettings, plugins),
        ),
        "settings/datasets": _dataset_options(plugins),
        "settings/extensions": _extensions(plugins),
        "settings/presets": _presets(plugins),
    }


def _dataset_options(plugins: Plugins) -> str:
    parts = []
    for name, entry in plugins.datasets.named().items():
        text = f"{plain(entry.spec.summary)} (from [{entry.provenance.distribution}]"
        text += f"(../plugins/{entry.provenance.distribution}.md))."
        own = setting_table(options_class(entry), plugins)
        parts += [f"## {name}", text, own or "It has no options."]
    shared = [
        f"{code(name)} ({', '.join(sorted(owners))})"
        for name, (_, owners) in all_options(plugins).items()
        if len(owners) > 1
    ]
    return page(
        "Options of datasets",
        "Flags of every command that opens the dataset (`--dataset NAME`). A flag that the chosen dataset does not "
        "have is an error.",
        *parts,
        "## Shared names",
        f"Several datasets have {', '.join(shared)}." if shared else "No two datasets share a name.",
    )


def _extensions(plugins: Plugins) -> str:
    parts = []
    for entry in installed_parts(plugins):
        spec, where = entry.spec, entry.provenance.distribution
        own = setting_table(part_class(entry), plugins, part=spec.name)
        parts += [
            f"## {spec.name}",
            f"{plain(spec.summary)}. {kind_of(entry).capitalize()}, `--with {spec.name}`, from "
            f"[{where}](../plugins/{where}.md).",
            own or "It has no settings.",
        ]
    return page(
        "Settings of extensions and observers",
        "Off unless a run asks for them: [extensions and observers](../../settings.md#extensions-and-observers).",
        *parts,
    )


def _presets(plugins: Plugins) -> str:
    parts = []
    for name, entry in plugins.trainers.named().items():
        rows = [
            (
                code(preset.name),
                plain(preset.summary),
                ", ".join(f"{code(key)} {_value(value)}" for key, value in preset.values.items())
                or "the defaults",
                "; ".join(
                    f"{name}: " + ", ".join(f"{code(key)} {_value(value)}" for key, value in values.items())
                    for name, values in preset.options.items()
                ),
            )
            for preset in entry.spec.presets
        ]
        parts += [f"## {name}", table(("Preset", "Recipe", "Sets", "Sets of a dataset"), rows, "presets")]
    return page("Presets", "Named sets of values. The first one of a trainer is its default.", *parts)
