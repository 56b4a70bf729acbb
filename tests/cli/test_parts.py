"""``--with`` on the command line: flags of extensions and observers, their help, and the list of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest

from pneumo_cli.testing.program import invoke

PLUGIN = """
from pneumo_cli.api import (
    ExtensionSpec, ObserverSpec, Preset, SplitSpec, SamplerSpec, TrainerSpec, hookimpl
)

api_version = 1

@hookimpl
def register_extensions():
    yield ExtensionSpec(
        name="blend", summary="Blends images", factory="blend_parts:Blend", settings="blend_parts:Blend"
    )
    yield ExtensionSpec(name="broken", summary="Broken", factory="a:b", settings="blend_parts:Broken")

@hookimpl
def register_observers():
    yield ObserverSpec(name="diary", summary="Writes", factory="a:b", settings="blend_parts:Diary")

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="odd", summary="Odd", kind="classifier", model="tiny-net", trainer="a:b", settings="blend_parts:Odd",
        presets=(Preset(name="source", summary="As published"),),
    )

@hookimpl
def register_splits():
    yield SplitSpec(name="by-year", summary="By year", split="a:b")

@hookimpl
def register_samplers():
    yield SamplerSpec(name="one-each", summary="One each", sample="a:b")
"""
PARTS = """
from pydantic import Field
from pneumo_cli.settings import PartSettings, TrainerSettings

class Blend(PartSettings):
    alpha: float = Field(0.2, gt=0, description="of the Beta distribution")
    both: bool = Field(True, description="blend the labels, too")
    epochs: int = Field(3, description="how long")
    shade: str = Field("x", description="shared with the other part")
    flip_test: int = Field(1, description="a former name of a setting")
    steps: list[int] = Field([3], description="of the shades")
    words: list[str] = Field(["x"], description="of the shades")

class Diary(PartSettings):
    shade: str = Field("y", description="shared with the other part")

class Broken(PartSettings):
    table: dict[str, int] = {}

class Odd(TrainerSettings):
    needed: int
"""


@pytest.fixture
def installed(install):
    install("pneumo-blend", {"blend": "blend_plugin"}, {"blend_plugin": PLUGIN, "blend_parts": PARTS})


def config(pneumo, *arguments: str):
    ended = pneumo("run", "fake", *arguments, "--print-config")
    assert (ended.code, ended.stderr) == (0, ""), ended.stderr
    return tomllib.loads(ended.stdout)


def test_a_flag_has_a_short_form_where_no_other_has_this_name(installed, pneumo) -> None:
    text = pneumo("run", "fake", "--help-all").stdout
    assert "\nExtension blend (--with blend):\n" in text
    assert "\nObserver diary (--with diary):\n" in text
    assert "--blend-alpha, --alpha NUMBER" in text
    assert "--blend-epochs INTEGER" in text
    assert "--blend-shade TEXT" in text
    assert "--diary-shade TEXT" in text
    assert ", --shade" not in text
    assert "--blend-flip-test INTEGER" in text
    assert "--split source|patient|last|all|given|by-year" in text
    assert "--sampling none|over|under|one-each" in text


def test_long_and_short_flags_set_the_part_alone(installed, pneumo) -> None:
    shown = config(
        pneumo, "--with", "blend", "--alpha", "0.3", "--no-both", "--blend-epochs", "4", "--epochs", "5"
    )
    assert shown["with"] == ["blend"]
    assert (shown["blend"]["alpha"], shown["blend"]["both"], shown["blend"]["epochs"]) == (0.3, False, 4)
    assert shown["epochs"] == 5
    shown = config(pneumo, "--with", "blend,diary", "--with=", "--blend-both", "--diary-shade", "z")
    assert (shown["with"], shown["diary"]) == (["blend", "diary"], {"shade": "z"})


def test_a_short_flag_that_several_parts_have_is_that_of_the_one_that_takes_part(installed, pneumo) -> None:
    assert config(pneumo, "--with", "blend", "--shade", "z")["blend"]["shade"] == "z"
    assert config(pneumo, "--with", "diary", "--shade", "z")["diary"]["shade"] == "z"
    ended = pneumo("run", "fake", "--with", "blend,diary", "--shade", "z")
    assert (ended.code, ended.stderr) == (
        2,
        "pneumo: --shade is a setting of pneumo-blend:blend and of pneumo-blend:diary: choose --blend-shade or "
        "--diary-shade\n",
    )
    ended = pneumo("run", "fake", "--shade", "z")
    assert ended.code == 2
    assert "add --with blend or --with diary" in ended.stderr


def test_a_flag_of_a_part_that_does_not_take_part_says_how_to_add_it(installed, pneumo) -> None:
    ended = pneumo("run", "fake", "--alpha", "0.3")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        "pneumo: --blend-alpha is a setting of the extension blend, which does not take part: add --with blend\n"
    )


def test_a_broken_settings_class_is_named_when_it_is_used_and_breaks_no_other(installed, pneumo) -> None:
    words = (
        "the settings of extension broken (pneumo-blend 1.0, blend_parts:Broken) cannot be used: the field table "
        "has a type that cannot be written as a flag or in a file: dict[str, int] is no type of a setting: bool, "
        "int, float, str, Path, Literal, Enum, X | None, and lists and tuples of these"
    )
    for command in (("run", "fake", "--with", "broken"), ("show", "broken")):
        ended = pneumo(*command)
        assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"pneumo: {words}\n")


def test_a_trainer_with_a_broken_settings_class_is_refused_and_breaks_no_other(installed, pneumo) -> None:
    for command in (("run", "odd"), ("run", "odd", "--help"), ("show", "odd")):
        ended = pneumo(*command)
        assert (ended.code, ended.stdout) == (2, "")
        assert ended.stderr == (
            "pneumo: the settings of trainer odd (pneumo-blend 1.0, blend_parts:Odd) cannot be used: the field "
            "needed has no default: every setting has one\n"
        )
    assert config(pneumo)["trainer"] == "fake"


def test_the_list_has_extensions_and_observers(installed, pneumo) -> None:
    rows = json.loads(pneumo("list-extensions", "--json").stdout)
    assert [(row["name"], row["kind"]) for row in rows] == [
        ("blend", "extension"),
        ("broken", "extension"),
        ("diary", "observer"),
    ]
    assert rows[0]["distribution"] == "pneumo-blend"
    assert "Blends images" in pneumo("list-extensions").stdout


def test_the_list_and_the_start_import_no_settings_of_parts(installed, pneumo) -> None:
    program = (
        "import sys; from pneumo_cli.cli.main import main; import atexit; "
        "heavy = {'blend_parts', 'pydantic'}; "
        "atexit.register(lambda: print('loaded', *(heavy & set(sys.modules)), file=sys.stderr)); "
        f"sys.path[:] = {sys.path!r}; sys.argv[1:] = ['list-extensions']; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr == "loaded\n"
    assert "blend" in ended.stdout


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (["--blend-steps", "10,20"], [10, 20]),
        (["--steps=-1"], [-1]),
        (["--steps", "[4, 5]"], [4, 5]),
        (["--steps", "10", "--steps", "20,30"], [10, 20, 30]),
        (["--steps", ""], []),
        ([], [3]),
    ],
)
def test_a_list_is_given_with_commas_or_repeated(
    flags: list[str], steps: list[int], installed, pneumo
) -> None:
    assert config(pneumo, "--with", "blend", *flags)["blend"]["steps"] == steps


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b", ["a", "b"]), ('["a, b", "c"]', ["a, b", "c"]), ("[", ["["]), ("word", ["word"]), ("", [])],
)
def test_a_list_of_texts_is_not_one_of_their_letters(text: str, words: list[str], installed, pneumo) -> None:
    assert config(pneumo, "--with", "blend", f"--blend-words={text}")["blend"]["words"] == words


def test_a_list_in_brackets_without_end_is_no_crash(installed, pneumo) -> None:
    ended = pneumo("run", "fake", "--with", "blend", "--steps", "[" * 100_000, "--print-config")
    assert ended.code == 2
    assert ended.stderr.startswith("pneumo: item 1 of blend.steps = '[[[")
    assert len(ended.stderr) < 400


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("wrapper=True)\n    def evaluate(self, run): return 3", "not a generator function"),
        (")\n    def around_train_step(self, run, epoch): pass", "{'epoch'}"),
    ],
    ids=["no yield", "argument"],
)
def test_a_part_whose_hooks_are_not_as_specified_is_refused(
    hook: str, words: str, install, fakes, tmp_path
) -> None:
    source = (
        "from pneumo_cli.api import ExtensionSpec, hookimpl\napi_version = 1\n"
        f"class Wrong:\n    def __init__(self, settings): pass\n    @hookimpl({hook}\n"
        "@hookimpl\ndef register_extensions():\n"
        "    yield ExtensionSpec(name='wrong', summary='W', factory='wrong_plugin:Wrong')\n"
    )
    install("pneumo-wrong", {"wrong": "wrong_plugin"}, {"wrong_plugin": source})
    found = invoke("run", "fake", "--with", "wrong", "--device", "cpu", "--output", tmp_path / "runs")
    assert found.code == 2
    assert "the extension wrong (pneumo-wrong " in found.stderr
    assert words in found.stderr
    assert not list((tmp_path / "runs").glob("*/*"))
