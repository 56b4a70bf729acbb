"""The order of the rooms of ``pneumo_cli``: each imports only what lies below it, in types and lazily too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pneumo_cli

ROOMS = [
    *("_exports", "compat", "errors", "installation", "specs", "registry", "api"),
    *("runtime", "settings", "data", "evaluation", "runs", "reports", "plugins"),
    *("trainers", "inference", "training", "workflows", "cli", "testing"),
    *("__init__", "__main__"),
]
"""From the bottom up. What each is for is in its docstring, and in the map of the architecture page."""

PACKAGE = Path(pneumo_cli.__file__).parent
REPOSITORY = Path(__file__).parents[1]
KINDS = ("Task", "Dataset")  # of plugins that have a line of their own in the map


def room_of(module: str) -> str:
    """``data`` of ``pneumo_cli.data.loader``; the package's own face is ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Every module of pneumo_cli that a source imports, with the line: at the top, lazily, or for types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "pneumo_cli")


def wrong_imports(room: str, source: str) -> list[str]:
    """What a source in a room imports from a room above it."""
    place = ROOMS.index(room)
    return [f"line {line}: {name}" for line, name in imported(source) if ROOMS.index(room_of(name)) > place]


def test_a_room_imports_only_rooms_below_it() -> None:
    wrong = {}
    for path in sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi"))):
        room = path.relative_to(PACKAGE).parts[0].partition(".")[0]
        if found := wrong_imports(room, path.read_text(encoding="utf-8")):
            wrong[str(path.relative_to(PACKAGE))] = found
    assert wrong == {}


def test_one_wrong_import_is_found_wherever_it_stands() -> None:
    fine = "from pneumo_cli.data.loader import Loader\nimport pneumo_cli.errors\n"
    assert wrong_imports("runs", fine) == []
    for wrong in (
        "import pneumo_cli.cli.main",
        "from pneumo_cli import training",
        "def lazily():\n    from pneumo_cli.trainers.base import Trainer",
        "if TYPE_CHECKING:\n    from pneumo_cli.reports.html import render_html",
    ):
        assert len(wrong_imports("runs", fine + wrong)) == 1


def test_the_core_imports_no_plugin_and_no_library_that_only_a_plugin_needs() -> None:
    others = re.compile(r"\b(pneumo_(?!cli\b)|torchvision|timm|onnx|pydicom)")
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not others.search(" ".join(names)), (path, names)


def test_modules_of_one_room_do_not_import_each_other_in_a_circle() -> None:
    below: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found = [target for _, target in imported(path.read_text(encoding="utf-8"))]
        below[name] = {*found, *(target.rpartition(".")[0] for target in found)}
    while free := [name for name, targets in below.items() if not targets & below.keys() - {name}]:
        for name in free:
            del below[name]
    assert below == {}


def first_line(package: Path) -> tuple[str, str]:
    """The kind and the purpose of a package, from its docstring: ``Task 1: a convolutional network.``"""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None, package
    kind, _, purpose = docstring.partition("\n")[0].partition(": ")
    return kind, purpose.rstrip(".")


def made_map() -> str:
    """The map of the repository: a line per room, task and dataset, and one for all features."""
    rooms = [(f"  {room}/", first_line(PACKAGE / room)[1]) for room in ROOMS if (PACKAGE / room).is_dir()]
    plugins = {
        package.parent.name: first_line(package)
        for package in (REPOSITORY / "plugins").glob("pneumo-*/pneumo_*")
        if package.is_dir()
    }
    by_kind = sorted(
        plugins.items(), key=lambda item: (item[1][0].startswith("Dataset"), item[1][0], item[0])
    )
    own = [(f"  {name}/", purpose) for name, (kind, purpose) in by_kind if kind.startswith(KINDS)]
    features = sorted(
        name.removeprefix("pneumo-") for name, (kind, _) in plugins.items() if kind == "Feature"
    )
    lines = [("pneumo_cli/", "the core, bottom up")]
    lines += [*rooms, ("plugins/", "each a distribution of its own"), *own]
    lines += [("  pneumo-*/", f"one feature each: {', '.join(features)}")]
    return "\n".join(f"{place:<30}{purpose}".rstrip() for place, purpose in lines)


def test_the_architecture_page_has_the_map_that_the_docstrings_make() -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert f"```text\n{made_map()}\n```" in page
    assert len(made_map().splitlines()) <= 25
    assert all(line[30:] for line in made_map().splitlines())
    named = re.findall(r"\b(\w+)\.py\b", made_map())
    assert {"runner", "run_hooks", "binary", "trainer"} <= set(named)
    files = {path.stem for path in (*PACKAGE.rglob("*.py"), *(REPOSITORY / "plugins").rglob("*.py"))}
    assert set(named) <= files
