"""The digest of what a notebook cell defines changes with everything that its code uses, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from pneumo_cli.runtime.code_digest import CodeDigest, code_digest

SOURCE = """
import functools, threading
import numpy as np
import {module} as levels

WINDOW = {window}
TABLE = {{"a": [1, 2.5], "b": np.arange({count})}}

def helper(image):
    return image + {shift}

class Base:
    def scaled(self, image):
        return image * {scale}

class Reader(Base):
    "{docstring}"
    gain = {gain}

    @functools.cached_property
    def table(self):
        return TABLE

    def read(self, image):
        def clipped(values):
            return [value for value in values if value < WINDOW]
        return clipped(helper(self.scaled(image))) or levels.low(image) or self.read(image) or Reader

class Unused:
    number = {unused}

{more}
"""
VALUES: dict[str, Any] = {
    "module": "json", "window": 5, "count": 3, "shift": 1, "scale": 2, "docstring": "Reads.", "gain": 1.5,
    "unused": 0, "more": "",
}  # fmt: skip


def digest(**changes: Any) -> CodeDigest:
    cell = ModuleType("__main__")
    exec(compile(SOURCE.format(**(VALUES | changes)), "<cell>", "exec", dont_inherit=True), vars(cell))
    return code_digest(cell.Reader)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["window", "count", "shift", "scale", "gain"])
def test_a_change_of_anything_that_the_code_uses_is_another_digest(name: str) -> None:
    assert digest(**{name: 7}).sha256 not in ("", digest().sha256)


def test_what_the_code_does_not_use_is_no_change_and_neither_is_where_it_stands() -> None:
    assert digest() == digest(unused=9, docstring="Other words.", more="print")
    assert "json" in digest().modules


def test_a_module_that_is_used_is_named_for_its_source() -> None:
    assert digest(module="csv").modules - digest().modules == {"csv"}


def test_a_value_that_cannot_be_told_has_no_digest() -> None:
    assert digest(more="WINDOW = threading.Lock()").sha256 == ""
    assert digest(more="WINDOW = (value for value in range(3))").sha256 == ""


def test_functions_with_closures_defaults_and_decorators_are_followed() -> None:
    def made(number: int, default: int = 0) -> Any:
        cell = ModuleType("__main__")
        vars(cell)["number"] = number
        exec(
            "import functools\ndef outer(n):\n @functools.lru_cache\n"
            f" def inner(x, y={default}):\n  return x + n\n"
            " return functools.partial(inner, 1)\nmade = outer(number)",
            vars(cell),
        )
        return code_digest(cell.made).sha256  # type: ignore[attr-defined]

    assert made(1) == made(1) != ""
    assert len({made(1), made(2), made(1, 3)}) == 3


def of_cell(source: str, name: str = "found") -> CodeDigest:
    cell = ModuleType("__main__")
    exec(compile(f"import functools, json\n{source}", "<cell>", "exec", dont_inherit=True), vars(cell))
    return code_digest(vars(cell)[name])


@pytest.mark.parametrize(
    "source",
    [
        "@functools.wraps(json.dumps)\ndef found(x):\n    return x + {}",
        "class Scaled:\n    def __init__(self, n):\n        self.n = n\n"
        "        functools.update_wrapper(self, json.dumps)\nfound = Scaled({})",
        "def found(): pass\nfound.window = {}",
        "class Meta(type):\n    window = {}\nclass found(metaclass=Meta): pass",
        "class found:\n    __getitem__ = functools.partial(max, {})",
        "class found:\n    __window__ = ({},)",
        "class found:\n    __bool__ = property(lambda self: {})",
    ],
)
def test_no_part_of_a_value_is_left_out(source: str) -> None:
    assert len({of_cell(source.format(number)).sha256 for number in (1, 2)} - {""}) == 2


def test_modules_that_functions_import_and_functions_of_libraries_are_named() -> None:
    found = of_cell("def found():\n    def inner():\n        from csv import reader\n    import wave.tones")
    assert {"csv", "wave.tones"} <= found.modules
    wrapped = of_cell("@functools.wraps(json.dumps)\ndef found(x):\n    return x")
    assert "json" in wrapped.modules
    assert "numpy" in of_cell("import numpy as np\nsum = np.sum\ndef found(x):\n    return sum(x)").modules


def test_classes_of_dataclasses_and_settings_have_a_digest_that_stays() -> None:
    source = (
        "import dataclasses, enum, pydantic\n@dataclasses.dataclass\nclass One:\n    'One.'\n    n: list = "
        "dataclasses.field(default_factory=list)\nclass Two(pydantic.BaseModel):\n    n: int = 3\n"
        "class Kind(enum.Enum):\n    A = 1\nfound = [One, Two, Kind.A]"
    )
    assert of_cell(source) == of_cell(source.replace("'One.'", "'Words.'"))
    assert of_cell(source).sha256 not in ("", of_cell(source.replace("=list", "=dict")).sha256)


def test_the_digest_is_the_same_in_another_process_with_other_hashes() -> None:
    code = (
        f"from types import ModuleType\nfrom pneumo_cli.runtime.code_digest import code_digest\n"
        f"cell = ModuleType('__main__')\nexec({SOURCE.format(**VALUES)!r}, vars(cell))\n"
        "print(code_digest(cell.Reader).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest().sha256
