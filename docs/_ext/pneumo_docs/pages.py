"""All pages that are made from the code, and writing them below ``docs``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pneumo_cli.plugins.discovery import Plugins
from pneumo_docs import REPOSITORY
from pneumo_docs.commands import command_pages
from pneumo_docs.links import for_site
from pneumo_docs.markdown import HEADER, page, toctree
from pneumo_docs.plugin_pages import plugin_pages
from pneumo_docs.python_pages import error_page, hook_page, python_pages
from pneumo_docs.setting_tables import setting_pages

MADE_FOLDERS = ("reference/", "project/")
"""Below ``docs``. git ignores them."""
_PROJECT = ("CHANGELOG", "CONTRIBUTING", "SECURITY")


def made_pages(plugins: Plugins) -> dict[str, str]:
    """The text of each page, by its file below ``docs`` without ``.md``."""
    reference = {
        "index": _index(),
        "hooks": hook_page(),
        "exit-codes": error_page(),
        **command_pages(plugins),
        **setting_pages(plugins),
        **python_pages(plugins),
        **plugin_pages(plugins),
    }
    return {f"reference/{name}": text for name, text in reference.items()} | _project_pages()


def _index() -> str:
    return page(
        "Reference",
        "Commands, settings, functions, hooks and plugins, as the code has them.",
        "\n".join(
            (
                "- [Commands](commands/index.md): each with its options; the settings of each trainer",
                "- [Settings](settings/index.md): of the machine, of datasets, of extensions; presets",
                "- [Settings, presets, run folders](../settings.md): where values come from, what a run leaves",
                "- [Python](python/index.md): the functions, what they return, and the public names by room",
                "- [Hooks](hooks.md), and [the objects that they receive](../objects.md)",
                "- [Errors and exit codes](exit-codes.md)",
                "- [`report.json`](../report-json.md): the results, for programs",
                "- [Public names](../public-names.md): what to import, and how long it stays",
                "- [Plugin directory](plugins/index.md): what each plugin registers, and its own page",
            )
        ),
        toctree(
            (
                "commands/index",
                "settings/index",
                "../settings",
                "python/index",
                "hooks",
                "../objects",
                "exit-codes",
                "../report-json",
                "../public-names",
                "plugins/index",
            )
        ),
    )


def _project_pages() -> dict[str, str]:
    """The repository's own pages, such as the changelog: those that there are."""
    return {
        f"project/{name.lower()}": HEADER
        + "\n"
        + for_site((REPOSITORY / f"{name}.md").read_text(encoding="utf-8"), ".", "docs/project")
        for name in _PROJECT
        if (REPOSITORY / f"{name}.md").is_file()
    }


def write_pages(pages: Mapping[str, str], docs: Path) -> None:
    """Write the pages that have changed, and remove those that are not made any more."""
    for folder in MADE_FOLDERS:
        for path in (docs / folder).rglob("*.md"):
            if path.relative_to(docs).with_suffix("").as_posix() not in pages:
                path.unlink()
    for name, text in pages.items():
        path = docs / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
