"""A page for each command, with the rows of its ``--help``; of a trainer, with its settings and presets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer

from pneumo_cli.cli.help_pages import show_all
from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.settings.classes import settings_class
from pneumo_cli.settings.schema import TrainerSettings
from pneumo_docs import setting_tables
from pneumo_docs.markdown import code, page, plain, table, toctree


@dataclass(frozen=True)
class Command:
    """A visible command, with its parameters.

    Attributes:
        words: after ``pneumo``; none for the program itself.
        context: with the program as its parent.
    """

    words: tuple[str, ...]
    command: Any
    context: Any

    @property
    def title(self) -> str:
        """As it is typed."""
        return " ".join(("pneumo", *self.words))

    @property
    def name(self) -> str:
        """Of its page."""
        return "-".join(self.words)

    def sections(self) -> dict[str, list[tuple[str, str]]]:
        """The rows of ``--help-all``, name and text, by the title of their section."""
        rows = _Rows()
        show_all(self.context)
        self.command.format_options(self.context, rows)
        return rows.sections


@dataclass
class _Rows:
    """Takes what a command writes into its help."""

    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        self.sections[title] = []
        yield

    def write_dl(self, rows: Any) -> None:
        list(self.sections.values())[-1].extend(rows)


def commands(plugins: Plugins) -> list[Command]:
    """Every visible command, groups before what is in them."""
    root = typer.main.get_command(build_app(plugins))
    return list(_walk(root, (), typer.Context(root, info_name="pneumo", obj=plugins)))


def _walk(command: Any, words: tuple[str, ...], context: Any) -> Iterator[Command]:
    yield Command(words, command, context)
    if not hasattr(command, "list_commands"):
        return
    for name in command.list_commands(context):
        one = command.get_command(context, name)
        if one is not None and not one.hidden:
            own = one.make_context(name, [], parent=context, resilient_parsing=True)
            yield from _walk(own.command, (*words, name), own)


def command_pages(plugins: Plugins) -> dict[str, str]:
    """The pages by the names of their files."""
    found = [one for one in commands(plugins) if one.words]
    pages = {f"commands/{one.name}": _command_page(plugins, one) for one in found}
    rows = [(f"[`{one.title}`]({one.name}.md)", plain(_summary(one))) for one in found]
    pages["commands/index"] = page(
        "Commands",
        "Each page has what `--help-all` prints. `--plugin FILE.py` may stand anywhere in a command: it adds a "
        "plugin of one file. Results go to stdout, progress and problems to stderr; see "
        "[exit codes](../exit-codes.md) and, for lists, values and files of settings, "
        "[settings](../../settings.md).",
        table(("Command", "What it does"), rows, "commands"),
        toctree(one.name for one in found),
    )
    return pages


def _summary(one: Command) -> str:
    return str(one.command.get_short_help_str(400))


def _command_page(plugins: Plugins, one: Command) -> str:
    text = (one.command.help or "").split("\f")[0]
    parts = ["\n\n".join(plain(" ".join(part.split())) for part in text.split("\n\n"))]
    if hasattr(one.command, "list_commands"):
        names = one.command.list_commands(one.context)
        visible = [(n, c) for n in names if (c := one.command.get_command(one.context, n)) and not c.hidden]
        parts += [
            table(
                ("Command", ""),
                [
                    (f"[`{one.title} {n}`]({one.name}-{n}.md)", plain(c.get_short_help_str(400)))
                    for n, c in visible
                ],
                "commands",
            )
        ]
        if len(one.command.params) > 1:  # besides --help
            parts += [part for title, rows in one.sections().items() for part in _flags(title, rows) if rows]
        return page(code(one.title), *parts)
    usage = one.command.get_usage(one.context).removeprefix("Usage: ")
    parts += [f"```text\n{' '.join(usage.split())}\n```"]
    trainer = one.words[1] if one.words[0] == "run" else ""
    shared = []
    for title, rows in one.sections().items():
        if trainer and title.startswith("Recipe"):
            continue
        if trainer and title == "Presets":
            parts += _presets(plugins, trainer)
        elif target := _shared(title):
            flags = ", ".join(
                code(flag) for name, _ in rows for flag in re.findall(r"--[a-z][a-z0-9-]*", name)
            )
            shared.append((f"[{title.partition(' (--with')[0]}]({target})", flags))
        else:
            parts += _flags(title, rows)
    if trainer:
        parts += _recipe(plugins, trainer)
    if shared:
        parts += [
            "## Further flags",
            "Several commands have these; their pages have type, default and meaning.",
            table(("On the page", "Flags"), shared),
        ]
    return page(code(one.title), *parts)


def _flags(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"## {title}", table(("", ""), [(code(name), plain(text)) for name, text in rows], "flags")]


def _shared(title: str) -> str:
    """The page that a section of flags is on, if it is the same for several commands; else empty."""
    if title.startswith("Options of datasets"):
        return "../settings/datasets.md"
    if title == "Machine":
        return "../settings/machine.md"
    return "../settings/extensions.md" if title.startswith(("Extension ", "Observer ")) else ""


def _presets(plugins: Plugins, trainer: str) -> list[str]:
    entry = plugins.trainers.get(trainer)
    rows = [(code(preset.name), plain(preset.summary)) for preset in entry.spec.presets]
    where = entry.provenance.distribution
    return [
        f"The trainer {code(trainer)} comes from [{where}](../plugins/{where}.md), which says what it does.",
        "## Presets",
        "The first one is the default.",
        table(("Preset", "Recipe"), rows),
        "What they set, side by side; everything else has its default.",
        setting_tables.preset_table(entry, settings_class(entry)),
    ]


def _recipe(plugins: Plugins, trainer: str) -> list[str]:
    entry = plugins.trainers.get(trainer)
    recipe = settings_class(entry)
    general = list(TrainerSettings.model_fields)
    specific = [name for name in recipe.model_fields if name not in general]
    return [
        "## Recipe",
        "Settings that every trainer has.",
        setting_tables.setting_table(recipe, plugins, only=general, defaults={"model": entry.spec.model}),
        f"## Recipe of {trainer}",
        setting_tables.setting_table(recipe, plugins, only=specific),
    ]
