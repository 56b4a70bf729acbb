"""The public names: all of them exist, the documentation lists them, and plugins get by with them."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli._exports import public_names

ROOT = Path(__file__).parent.parent
PACKAGE = Path(pneumo_cli.__file__).parent
FACES = sorted(
    ".".join(stub.parent.relative_to(PACKAGE.parent).parts) for stub in PACKAGE.rglob("__init__.pyi")
)
NAMED_IN_MODULES = ("pneumo_cli.api", "pneumo_cli.testing")
"""Public packages that list their names as ``__all__``."""

WITH_PUBLIC_NAMES_ALONE = [
    *(ROOT / "plugins" / name for name in (
        "pneumo-cnn", "pneumo-feature-extraction", "pneumo-fine-tuning", "pneumo-gan", "pneumo-autoencoder",
        "pneumo-chest-xray", "pneumo-datasets", "pneumo-phantom",
    )),
    *(ROOT / "examples" / name for name in ("pneumo-lenet", "pneumo-efficientnet-lite")),
]  # fmt: skip
"""The plugins that third parties take as patterns. Those that add commands to pneumo itself reach inside."""


def every_public_name() -> Iterator[tuple[str, str]]:
    for face in FACES:
        importlib.import_module(face)
        yield from ((face, name) for name in public_names(face))
    for module in NAMED_IN_MODULES:
        yield from ((module, name) for name in importlib.import_module(module).__all__)


def test_every_public_name_is_there_and_is_explained() -> None:
    for module, name in every_public_name():
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{module}.{name}"
    with pytest.raises(AttributeError, match="no attribute 'Lodaer'"):
        _ = importlib.import_module("pneumo_cli.data").Lodaer


def test_the_documentation_lists_every_public_name_and_no_other() -> None:
    text = (ROOT / "docs" / "public-names.md").read_text(encoding="utf-8")
    listed: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `pneumo_cli"):
            module, names = line.strip("| ").split(" | ")[:2]
            listed[module.strip("`")] = {name.strip(" `") for name in names.split(",")}
    public: dict[str, set[str]] = {}
    for module, name in every_public_name():
        public.setdefault(module, set()).add(name)
    assert listed == public


@pytest.mark.parametrize("folder", WITH_PUBLIC_NAMES_ALONE, ids=lambda folder: folder.name)
def test_plugins_get_by_with_public_names(folder: Path) -> None:
    public = set(every_public_name())
    used = set()
    (package,) = folder.glob("pneumo_*")
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "pneumo_cli":
                used |= {(str(node.module), alias.name) for alias in node.names}
            assert not (isinstance(node, ast.Import) and node.names[0].name.startswith("pneumo_cli")), path
    assert used
    assert used <= public, sorted(used - public)


def test_a_package_of_public_names_imports_none_of_them_before_somebody_asks() -> None:
    code = (
        "import sys, pneumo_cli, pneumo_cli.data, pneumo_cli.evaluation, pneumo_cli.trainers, pneumo_cli.runs\n"
        "assert not {'torch', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "from pneumo_cli.settings import STRONG\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
