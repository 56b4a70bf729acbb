"""The reference is complete: nothing that a user can name is without a text, or without its place in the site."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.plugins.hookspecs import HOOKS, KNOWN_HOOKS
from pneumo_cli.settings.classes import options_class, part_class, settings_class
from pneumo_cli.settings.parts import installed_parts
from pneumo_cli.settings.schema import MachineSettings
from pneumo_docs.commands import Command, commands
from pneumo_docs.links import for_site
from pneumo_docs.markdown import plain
from pneumo_docs.pages import made_pages, write_pages
from pneumo_docs.plugin_pages import bundled, examples
from pneumo_docs.python_pages import names_of, rooms
from tests.documentation.pages import REPOSITORY


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return discover()


@pytest.fixture(scope="module")
def pages(plugins: Plugins) -> dict[str, str]:
    """Without the folder ``reference``."""
    return {name.removeprefix("reference/"): text for name, text in made_pages(plugins).items()}


@pytest.fixture(scope="module")
def every_command(plugins: Plugins) -> list[Command]:
    return [one for one in commands(plugins) if one.words]


def settings(plugins: Plugins) -> Iterator[tuple[str, Any]]:
    """The page of each class of settings, and the class."""
    for name, entry in plugins.trainers.named().items():
        yield f"commands/run-{name}", settings_class(entry)
    for entry in plugins.datasets.named().values():
        yield "settings/datasets", options_class(entry)
    for part in installed_parts(plugins):
        yield "settings/extensions", part_class(part)
    yield "settings/machine", MachineSettings


def test_every_hook_has_a_text_an_example_and_a_place(pages: dict[str, str]) -> None:
    for group in HOOKS:
        for name in (name for name in vars(group) if name in KNOWN_HOOKS):
            assert "Example" in (inspect.getdoc(getattr(group, name)) or ""), name
            assert f"{group.__name__}.{name}\n" in pages["hooks"]


def test_every_command_and_option_has_a_text_and_a_place(
    pages: dict[str, str], every_command: list[Command]
) -> None:
    assert len(every_command) > 25
    for one in every_command:
        assert one.command.help, f"{one.title} has no help"
        assert f"`{one.title}`" in pages["commands/index"]
        page = pages[f"commands/{one.name}"]
        for option in one.command.params:
            if getattr(option, "hidden", False):
                continue
            assert option.help, f"{one.title}: {option.name} has no help"
            for name in option.opts if option.param_type_name == "option" else ():
                assert re.search(rf"`[^`]*{name}\b[^`]*`", page), f"{one.title} {name}"


def test_every_setting_has_a_text_and_a_place(pages: dict[str, str], plugins: Plugins) -> None:
    for name, cls in settings(plugins):
        for field, info in cls.model_fields.items():
            assert info.description, f"{cls.__name__}.{field} has no description"
            assert f"**`{field}`**" in pages[name], f"{cls.__name__}.{field}"


def test_every_preset_has_its_values_on_two_pages(pages: dict[str, str], plugins: Plugins) -> None:
    for name, entry in plugins.trainers.named().items():
        for preset in entry.spec.presets:
            assert plain(preset.summary) in pages["settings/presets"]
            for setting in preset.values:
                assert f"| `{setting}` |" in pages[f"commands/run-{name}"], (
                    f"{name}, {preset.name}: {setting}"
                )


def test_every_plugin_has_a_page_with_what_it_registers(pages: dict[str, str], plugins: Plugins) -> None:
    registered = {
        (entry.provenance.distribution, entry.spec.name)
        for registry in plugins.registries()
        for entry in registry.entries()
    }
    for name in bundled():
        page = pages[f"plugins/{name}"]
        assert f"]({name}.md)" in pages["plugins/index"]
        assert "\nVersion " in page, f"{name} is not installed: pip install -r plugins/requirements.txt"
        for own in (own for distribution, own in registered if distribution == name):
            assert f"`{own}`" in page, f"{name}: {own}"
    assert all(f"examples/{name}" in pages for name in examples())
    written = (REPOSITORY / "docs" / "third-party.md").read_text(encoding="utf-8")
    assert {name for name, _ in registered} <= {*bundled(), "pneumo-cli"} | {
        name for name, _ in registered if name in written
    }


def test_every_public_name_has_a_text_and_a_place(pages: dict[str, str]) -> None:
    for room in rooms():
        page = pages[f"python/{'index' if room == 'pneumo_cli' else room.rpartition('.')[2]}"]
        for name in names_of(room):
            lines = [
                line for line in page.splitlines() if line.startswith(".. ") and line.endswith(f".{name}")
            ]
            assert len(lines) == 1, f"{room}.{name}"
            if lines[0].startswith(".. py:data::"):
                assert page.partition(lines[0])[2].split("\n")[2].strip(), f"{room}.{name} has no text"


def test_every_function_of_a_plugin_is_in_the_python_reference(
    pages: dict[str, str], plugins: Plugins
) -> None:
    for entry in plugins.functions.entries():
        assert f"`pneumo.{entry.spec.name}`" in pages["python/index"]
        assert entry.spec.function.replace(":", ".") in pages["python/index"]


def test_links_of_a_readme_lead_to_pages_of_the_site() -> None:
    text = "[a](../../docs/results.md#what) [b](../pneumo-gan/README.md) ![c](images/samples.png) "
    text += "[d](../../examples/pneumo-sam)"
    assert for_site(text, "plugins/pneumo-cnn", "docs/reference/plugins") == (
        "[a](../../results.md#what) [b](pneumo-gan.md) ![c](../../../plugins/pneumo-cnn/images/samples.png) "
        "[d](../examples/pneumo-sam.md)"
    )
    assert for_site("[x](../examples/comparison) [y](https://a.b)", "docs", "docs") == "x [y](https://a.b)"
    block = "```text\n[a](b.md)\n```\n[a](../README.md#commands)"
    assert for_site(block, "docs", "docs") == "```text\n[a](b.md)\n```\n[a](index.md)"


def test_pages_that_are_not_made_any_more_are_removed(tmp_path: Any) -> None:
    write_pages({"reference/a": "one", "reference/b/c": "two"}, tmp_path)
    write_pages({"reference/a": "one"}, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.md")] == ["a.md"]
