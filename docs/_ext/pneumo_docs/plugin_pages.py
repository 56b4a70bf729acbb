"""The plugin directory: a page for each bundled plugin and each example, with its README and what it registers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pneumo_cli.plugins.discovery import Plugins, health_checks
from pneumo_docs import REPOSITORY
from pneumo_docs.links import for_site
from pneumo_docs.markdown import HEADER, code, page, plain, table, toctree

LISTED = """A plugin of your own is listed here when its package is on PyPI or in a public repository: add a row to
the table in `docs/third-party.md`, with name, place, and what it registers, and open a pull request. `pneumo check
NAME` has to pass, and the name begins with `pneumo-`, so that people find it. Nothing here was reviewed: a plugin
is code that runs on your computer."""


def bundled() -> list[str]:
    """The distributions in the folder of plugins."""
    return sorted(path.parent.name for path in REPOSITORY.glob("plugins/*/pyproject.toml"))


def examples() -> list[str]:
    """The packages in the folder of examples."""
    return sorted(path.parent.name for path in REPOSITORY.glob("examples/*/pyproject.toml"))


def registered(plugins: Plugins, distribution: str) -> Iterator[tuple[str, str, str]]:
    """What a distribution adds: kind, name, summary."""
    for registry in plugins.registries():
        for entry in registry.entries():
            if entry.provenance.distribution == distribution:
                yield registry.noun, entry.spec.name, entry.spec.summary
    for family in plugins.models.families:
        if family.provenance.distribution == distribution:
            yield "models", f"{family.spec.name}/…", family.spec.summary
    for plugin in plugins.loaded:
        if plugin.provenance.distribution == distribution and "register_commands" in plugin.hooks:
            app = typer.Typer()
            plugin.module.register_commands(app)
            for path, command in _commands(app):
                yield "command", f"pneumo {path}", command
    adding: list[tuple[str, list[tuple[Any, Any]]]] = [
        ("file format", list(plugins.decoders)),
        ("check of pneumo doctor", list(health_checks(plugins))),
    ]
    for noun, found in adding:
        for spec, plugin in found:
            if plugin.provenance.distribution == distribution:
                yield noun, spec.name, spec.summary


def _commands(app: typer.Typer, path: str = "") -> Iterator[tuple[str, str]]:
    """The visible commands of an app, each with the first line of its help."""
    for one in app.registered_commands:
        if not one.hidden and one.callback is not None:
            name = one.name or one.callback.__name__.replace("_", "-")
            yield f"{path}{name}", (one.callback.__doc__ or "").strip().partition("\n")[0]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(
                group.typer_instance, f"{path}{group.name or group.typer_instance.info.name} "
            )


def plugin_pages(plugins: Plugins) -> dict[str, str]:
    """The pages by the names of their files."""
    pages = {f"plugins/{name}": _plugin_page(plugins, name) for name in bundled()}
    pages |= {f"examples/{name}": _readme(f"examples/{name}") for name in examples()}
    pages["plugins/index"] = page(
        "Plugin directory",
        "Everything that pneumo trains, reads and shows comes from a plugin, and a plugin of yours is found in the "
        "same way. `pneumo list-plugins` shows what is installed. Each can be left out: the rest works without it.",
        "## Bundled plugins",
        table(
            ("Plugin", "What it adds"),
            [(f"[{name}]({name}.md)", plain(_description(f"plugins/{name}"))) for name in bundled()],
            "commands",
        ),
        "## Examples",
        "Packages to begin with, each tested as somebody else's would be.",
        table(
            ("Example", "What it shows"),
            [
                (f"[{name}](../examples/{name}.md)", plain(_description(f"examples/{name}")))
                for name in examples()
            ],
            "commands",
        ),
        "## Plugins of others",
        _third_parties(),
        toctree([*bundled(), *(f"../examples/{name}" for name in examples())]),
    )
    return pages


def _third_parties() -> str:
    listed = (REPOSITORY / "docs" / "third-party.md").read_text(encoding="utf-8").partition("\n\n")[2].strip()
    return f"{listed}\n\n{LISTED}" if len(listed.splitlines()) > 2 else LISTED


def _description(folder: str) -> str:
    text = re.sub(r"^[^:]*\bplugin\b[^:]*: ", "", str(_project(folder)["description"]))
    return text[:1].upper() + text[1:]


def _project(folder: str) -> dict[str, Any]:
    content = tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(content["project"])


def _readme(folder: str) -> str:
    path = REPOSITORY / folder / "README.md"
    where = Path("docs/reference") / Path(folder).parent.name
    return HEADER + "\n" + for_site(path.read_text(encoding="utf-8"), folder, where.as_posix())


def _plugin_page(plugins: Plugins, name: str) -> str:
    """The README of a plugin, and what its code registers; that is empty if it is not installed."""
    own = [plugin for plugin in plugins.loaded if plugin.provenance.distribution == name]
    if not own:
        return f"{_readme(f'plugins/{name}')}\n\nIt is not installed where this page was made."
    rows = [(kind, code(one), plain(summary)) for kind, one, summary in registered(plugins, name)]
    hooks = sorted({hook for plugin in own for hook in plugin.hooks})
    versions = ", ".join(str(number) for number in sorted({plugin.module.api_version for plugin in own}))
    facts = f"Version {_project(f'plugins/{name}')['version']}, API version {versions}. Hooks: "
    facts += ", ".join(f"[`{hook}`](../hooks.md#{hook.replace('_', '-')})" for hook in hooks) + "."
    return "\n\n".join(
        (
            _readme(f"plugins/{name}"),
            "## What it registers, from its code",
            table(("", "Name", "Summary"), rows, "registered"),
            facts,
        )
    )
