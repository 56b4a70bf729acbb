"""Links in the documentation lead somewhere; the commands and flags that it names exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import discover

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/*.md", "plugins/*/*.md", "examples/*/*.md", "tests/fixtures/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
]
UNINSTALLED = {
    *("lenet", "efficientnet-lite", "age", "lungs", "segmentation", "probe"),
    *("diffusion", "sam", "clinic", "count-runs"),
}  # names that only the example packages register


def code(text: str) -> Iterator[str]:
    """Lines of indented and fenced blocks, and code within sentences."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def commands(text: str) -> Iterator[list[str]]:
    """The words after ``pneumo`` of each command, without comments."""
    for line in code(text):
        for found in re.findall(r"(?:^|\| |&& )(?:\$ )?pneumo ([a-z][^|#>]*)", line):
            yield shlex.split(re.split(r"\s{3,}", found)[0])


def anchor(heading: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert text.strip(), "an empty page"
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, wanted = link.partition("#")
        target = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert target.exists(), f"{page} links to {link}"
        if wanted:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert wanted in map(anchor, headings), f"{page} links to {link}"


def find(root: Any, words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words begin with, and the words after it."""
    command, rest = root, words
    while rest and not rest[0].startswith("-") and hasattr(command, "get_command"):
        command = command.get_command(typer.Context(command), rest[0])
        assert command is not None, f"pneumo {' '.join(words)}: no such command"
        rest = rest[1:]
    return command, rest


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_flags_exist(page: str) -> None:
    root = typer.main.get_command(build_app(discover()))
    for words in commands((REPOSITORY / page).read_text(encoding="utf-8")):
        if words[:2] == ["run", "NAME"] or UNINSTALLED & set(words):
            continue
        command, rest = find(root, words)
        # A trainer's command gets its settings when it is used.
        command = command.make_context("pneumo", [], resilient_parsing=True).command
        flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= {*flags, "--help", "--plugin"}, f"pneumo {' '.join(words)}"
