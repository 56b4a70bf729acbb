"""``pneumo new``: packages that are whole, typed and clean; names that are refused; nothing overwritten."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pneumo_author.commands import KINDS
from pneumo_author.scaffold import make_package
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete(kind: str, pneumo: Callable[..., Any], tmp_path: Path) -> None:
    ended = pneumo("new", "second-look", "--kind", kind, "--output", tmp_path)
    assert ended.code == 0, ended.stderr
    files = contents(tmp_path / "pneumo-second-look")
    wanted = {"plugin.py", f"{kind}.py", "__init__.py", "py.typed"}
    assert {f"pneumo_second_look/{name}" for name in wanted} <= files.keys()
    assert {"pyproject.toml", "README.md", ".gitignore", "tests/test_conformance.py"} <= files.keys()
    project = tomllib.loads(files["pyproject.toml"].decode())
    assert project["project"]["entry-points"]["pneumo"] == {"second-look": "pneumo_second_look.plugin"}
    for name, content in files.items():
        assert b"$" not in content, name
        if name.endswith(".py"):
            tree = ast.parse(content)
            assert ast.get_docstring(tree), name
    for name in files:
        if name.startswith("pneumo_second_look/") and name.endswith(".py") and "__init__" not in name:
            assert f"`{name}`".encode() in files["README.md"], name


@pytest.mark.slow
def test_what_is_rendered_passes_the_linter_and_the_type_checker(tmp_path: Path) -> None:
    plugins = discover()
    for kind in KINDS:
        make_package(plugins, f"look-{kind}", kind, tmp_path)
    for tool in ("ruff", "mypy"):
        if shutil.which(tool, path=str(Path(sys.executable).parent)) is None:
            pytest.skip(f"{tool} is not installed")
    commands: list[list[str]] = [["ruff", "check", "."], ["ruff", "format", "--check", "."]]
    packages = [f"{folder}/{folder.name.replace('-', '_')}" for folder in sorted(tmp_path.glob("pneumo-*"))]
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nplugins = pydantic.mypy\ndisallow_untyped_calls = False\n")
    commands.append(["mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), *packages])
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../x", "lower-case words"),
        ("/tmp/x", "lower-case words"),
        ("two words", "lower-case words"),
        ("Upper", "lower-case words"),
        ("-x", "no such option|lower-case words"),
        ("x\n", "lower-case words"),
        ("größe", "lower-case words"),
        ("x" * 41, "at most 40"),
        ("", "lower-case words"),
        ("class", "a word of Python; free is class-model"),
        ("none", "a word of Python"),
        ("cli", "pneumo-cli is installed; free is cli-2"),
        ("tiny-net", "there is the model tiny-net of pneumo-fake 1.0; free is tiny-net-2"),
        ("fake", "there is the plugin fake of pneumo-fake 1.0; free is fake-2"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    name: str, said: str, pneumo: Callable[..., Any], tmp_path: Path
) -> None:
    ended = pneumo("new", "--kind", "model", "--output", tmp_path / "here", "--", name)
    assert (ended.code, ended.stdout) == (2, ""), ended
    assert re.search(said, ended.stderr), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "here").exists()


def test_the_prefix_may_be_given(pneumo: Callable[..., Any], fakes: Path) -> None:
    assert pneumo("new", "pneumo-look", "--kind", "model").code == 0
    assert (fakes / "pneumo-look" / "pneumo_look" / "model.py").is_file()


def test_nothing_is_overwritten(pneumo: Callable[..., Any], tmp_path: Path) -> None:
    for make in (
        lambda path: path.mkdir(),
        lambda path: path.write_text("mine"),
        lambda path: path.symlink_to("x"),
    ):
        target = tmp_path / "pneumo-look"
        make(target)
        ended = pneumo("new", "look", "--kind", "observer", "--output", tmp_path)
        assert ended.code == 2
        assert "exists" in ended.stderr
        assert sorted(path.name for path in tmp_path.glob("*look*")) == ["pneumo-look"]
        target.rmdir() if target.is_dir() else target.unlink()


def test_a_folder_that_cannot_be_written_leaves_nothing(pneumo: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = pneumo("new", "look", "--kind", "model", "--output", tmp_path / "file")
    assert ended.code == 1
    assert len(ended.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "work"}


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("second-look", {"SecondLookTrainer", "SecondLookSettings"}),
        ("second-trainer", {"SecondTrainer", "SecondTrainerSettings"}),
        ("trainer", {"OwnTrainer", "OwnTrainerSettings"}),
    ],
)
def test_no_class_says_its_kind_twice_or_has_the_name_of_its_base(
    name: str, classes: set[str], tmp_path: Path
) -> None:
    make_package(discover(), name, "trainer", tmp_path)
    sources = "".join(path.read_text() for path in tmp_path.rglob("pneumo_*/*.py"))
    assert set(re.findall(r"^class (\w+)", sources, re.MULTILINE)) == classes


def test_an_unknown_kind_is_refused(pneumo: Callable[..., Any]) -> None:
    ended = pneumo("new", "look", "--kind", "loss")
    assert ended.code == 2
    assert "trainer, model, dataset, observer, extension, command or decoder, not 'loss'" in ended.stderr


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=20), kind=st.sampled_from(KINDS))
def test_any_text_makes_one_folder_or_is_refused(name: str, kind: str, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        make_package(discover(), name, kind, folder)
    except UsageError:
        assert list(folder.iterdir()) == []
    else:
        (made,) = folder.iterdir()
        for path in made.rglob("*.py"):
            ast.parse(path.read_text(encoding="utf-8"))
