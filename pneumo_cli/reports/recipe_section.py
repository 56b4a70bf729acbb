"""The sections of a report on how to repeat a run: settings, layers, environment, commands.

Nothing here raises: any part of a report may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.reports.document import Block, Commands, Folded, Paragraph, Table
from pneumo_cli.reports.formatting import command_text, count
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_cli.settings.schema import MachineSettings


def settings_shown(report: Mapping[str, Any]) -> Iterator[Block]:
    """The settings of a run or a group: those changed from the preset, those as in the preset, the machine's."""
    settings = [mapping(item) for item in sequence(report.get("settings"))]
    if not settings:
        return
    preset = text(report.get("preset") or "default")
    machine = [item for item in settings if item.get("name") in MachineSettings.model_fields]
    recipe = [item for item in settings if item not in machine]
    changed = [item for item in recipe if _was_changed(item)]
    unchanged = [item for item in recipe if item not in changed]
    if changed:
        plural = "setting differs" if len(changed) == 1 else "settings differ"
        yield Paragraph(f"{len(changed)} {plural} from the preset {preset}.")
        yield _settings_table(changed)
    else:
        yield Paragraph(f"All settings are those of the preset {preset}.")
    if unchanged:
        yield Folded(f"{len(unchanged)} settings as in the preset {preset}", (_settings_table(unchanged),))
    if machine:
        title = f"{len(machine)} machine settings, which are not part of the recipe"
        yield Folded(title, (_settings_table(machine),))


def _was_changed(setting: Mapping[str, Any]) -> bool:
    """Whether a flag, a variable or a file has set it to another value than the preset does."""
    untouched = text(setting.get("origin")).partition(" ")[0] in ("", "default", "preset")
    return setting.get("value") != setting.get("preset") and not untouched


def _settings_table(settings: Sequence[Mapping[str, Any]]) -> Table:
    body = tuple(
        (
            text(item.get("name")),
            *(value_text(item.get(key)) for key in ("value", "preset", "default")),
            text(item.get("origin")),
            text(item.get("help")),
        )
        for item in settings
    )
    head = ("Setting", "Value", "Preset", "Default", "Set by", "Meaning")
    return Table(head, body)


def layer_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """The model's parameters, and its layers for one image."""
    model = mapping(report.get("model"))
    total, trainable = number(model.get("parameters")), number(model.get("trainable"))
    if total is None or trainable is None:
        return
    yield Paragraph(
        f"{text(model.get('name'))} has {count(total)} parameters: {count(trainable)} trainable and "
        f"{count(total - trainable)} frozen."
    )
    layers = mapping(model.get("layers"))
    if lacking := text(layers.get("lacking")):
        yield Paragraph(f"There is no table of layers: {lacking.rstrip('.')}.")
    rows = tuple(
        (text(row.get("name")), _shape(row.get("shape")), count(row.get("parameters")))
        for row in map(mapping, sequence(layers.get("rows")))
    )
    if not rows:
        return
    note = f"Output shapes are those for one input of {_shape(layers.get('input_shape'))}"
    if (size := number(layers.get("total_mb"))) is not None:
        note += f"; estimated memory {count(size)} MB, outputs and their gradients in fp32 included"
    if (calls := number(layers.get("calls")) or 0) > len(rows):
        note += f". The first {count(len(rows))} of {count(calls)} calls of layers are listed"
    yield Table(("Layer", "Output shape", "Parameters"), rows, frozenset({2}), note=f"{note}.")


def _shape(value: Any) -> str:
    return " × ".join(count(size).replace(",", "") for size in sequence(value)) or "1"


def environment_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """Versions and machine; the command and the commit are among the commands."""
    values = {
        key: value
        for key, value in mapping(report.get("environment")).items()
        if key not in ("command", "git")
    }
    if rows := tuple(_flat(values)):
        yield Table(("", ""), rows)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of a nested mapping, with joined names; lists become one line."""
    for key, value in values.items():
        name = f"{above}{text(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            parts = (
                " ".join(value_text(part) for part in item.values())
                if isinstance(item, Mapping)
                else value_text(item)
                for item in value
            )
            yield name, ", ".join(parts) or "none"
        else:
            yield name, value_text(value)


def command_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """The command as it was typed, where; how to repeat the run, and what helps next."""
    environment = mapping(report.get("environment"))
    if typed := command_text(sequence(environment.get("command"))):
        yield Paragraph("The command as it was typed:")
        yield Commands((typed,))
    git = mapping(environment.get("git"))
    if commit := text(git.get("commit")):
        yield Paragraph(f"It was typed in a git repository at commit {commit}, or with changes to it.")
    titles = {"reproduce": "The same settings again:" if typed else "", "next": "Next steps:"}
    for key, title in titles.items():
        lines = tuple(text(line) for line in sequence(report.get(key)))
        if lines and title:
            yield Paragraph(title)
        if lines:
            yield Commands(lines)
