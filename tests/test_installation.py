"""Hints in error messages: what they tell people to install is what the pages of the repository say."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo_cli import installation
from pneumo_cli.installation import pip_install, with_places
from tests.documentation.pages import REPOSITORY

PAGES = ("README.md", "docs/settings.md", "docs/how-to/*.md", "plugins/*/README.md", "examples/*/README.md")
NAMED = re.compile(r"\./(?:plugins|examples)/([\w-]+(?:\[[\w,]+\])?)")


def installed_by_pages() -> Iterator[str]:
    """What a line of a page installs from a folder of the repository, as ``./plugins/pneumo-x[extra]``."""
    for pattern in PAGES:
        for page in REPOSITORY.glob(pattern):
            for line in page.read_text(encoding="utf-8").splitlines():
                if "pip install" in line:
                    yield from (found[0] for found in NAMED.finditer(line))


def test_in_a_clone_hints_name_the_folders_that_the_pages_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    places = set(installed_by_pages())
    assert len(places) > 20
    for place in places:
        assert pip_install(place.rpartition("/")[2]) == f"pip install {shlex.quote(place)}"
    hint = "its weights come with: pip install pneumo-efficientnet-lite"
    shown = with_places(hint)
    assert shown == "its weights come with: pip install ./examples/pneumo-efficientnet-lite"
    assert with_places(shown) == shown


def test_hints_of_a_clone_work_in_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert pip_install("pneumo-export") == f"pip install {REPOSITORY / 'plugins' / 'pneumo-export'}"


def test_a_hint_is_made_also_where_the_working_folder_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert pip_install("pneumo-export") == f"pip install {REPOSITORY / 'plugins' / 'pneumo-export'}"


def test_without_a_clone_hints_name_the_distribution_as_the_readme_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installation, "_clone", lambda: None)
    assert "pip install pneumo-something\n" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert pip_install("pneumo-something") == "pip install pneumo-something"
    assert (
        pip_install("pneumo-datasets[dicom]", "pydicom>=3")
        == "pip install 'pneumo-datasets[dicom]' 'pydicom>=3'"
    )


def test_all_hints_are_made_by_one_function() -> None:
    """Except those that a plugin gives as data, which pass through it when they are shown."""
    found = []
    for path in (*REPOSITORY.glob("pneumo_cli/**/*.py"), *REPOSITORY.glob("plugins/*/pneumo_*/**/*.py")):
        if path.name in ("installation.py", "plugin.py") or "templates" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{path.relative_to(REPOSITORY)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and id(node) not in documentation
            if isinstance(node.value, str) and re.search(r"pip install ['\w./]", node.value)
        ]
    assert found == []
