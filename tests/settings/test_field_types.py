"""The types of settings: each is the same value as a flag, a variable, in a file, in ``run.toml`` and on resume."""

from __future__ import annotations

import json
import sys
import types
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from pneumo_cli.cli.flags import parameters, with_lists
from pneumo_cli.cli.runs import _trainer_command
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.settings.field_types import field_type, plain, to_text
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.settings.schema import DatasetSettings, PartSettings, TrainerSettings
from pneumo_cli.specs import ExtensionSpec, Preset, TrainerSpec


class Shade(Enum):
    DARK = "dark"
    LIGHT = "light, nearly white"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Depth(IntEnum):
    EIGHT = 8
    SIXTEEN = 16


class Kinds(PartSettings):
    yes: bool = False
    whole: int = 3
    share: float = 0.5
    text: str = "a"
    place: Path = Path("here")
    mode: Literal["fast", "with, comma"] = "fast"
    scale: Literal[1, 2, 4] = 1
    shade: Shade = Shade.DARK
    level: Level = Level.LOW
    depth: Depth = Depth.EIGHT
    maybe: int | None = None
    perhaps: Path | None = None
    milestones: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    names: list[str] = Field(default_factory=list)
    places: list[Path] = []
    scales: tuple[Literal[1, 2, 4], ...] = ()
    shades: list[Shade] = [Shade.LIGHT]
    flags_of: list[bool] = []
    some: list[int] | None = None


class RecipeOfKinds(TrainerSettings):
    """The same types in a recipe, whose names have no prefix."""

    steps: list[int] = Field([3], description="steps")
    tone: Shade = Field(Shade.DARK, description="tone")
    factor: Literal[1, 2, 4] = Field(4, description="factor")


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PATHS = TEXTS.filter(lambda text: text and not text.startswith("~") and "\0" not in text).map(Path)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "yes": st.booleans(),
    "whole": st.integers(-(2**70), 2**70),
    "share": FLOATS,
    "text": TEXTS,
    "place": PATHS,
    "mode": st.sampled_from(["fast", "with, comma"]),
    "scale": st.sampled_from([1, 2, 4]),
    "shade": st.sampled_from(Shade),
    "level": st.sampled_from(Level),
    "depth": st.sampled_from(Depth),
    "maybe": st.none() | st.integers(),
    "perhaps": st.none() | PATHS,
    "milestones": st.lists(st.integers()).map(tuple),
    "pair": st.tuples(FLOATS, FLOATS),
    "names": st.lists(TEXTS),
    "places": st.lists(PATHS),
    "scales": st.lists(st.sampled_from([1, 2, 4])).map(tuple),
    "shades": st.lists(st.sampled_from(Shade)),
    "flags_of": st.lists(st.booleans()),
    "some": st.none() | st.lists(st.integers()),
}


@pytest.fixture(scope="module")
def kinds():
    """Everything installed, the extension ``kinds`` and the trainer ``of-kinds``, and its command."""
    plugins = discover([])
    here = Provenance("a-test", "1")
    plugins.extensions.add(
        ExtensionSpec(name="kinds", summary="All", factory="a:b", settings=f"{__name__}:Kinds"), here
    )
    spec = TrainerSpec(
        name="of-kinds",
        summary="All",
        trainer="a:b",
        settings=f"{__name__}:RecipeOfKinds",
        kind="classifier",
        model="m",
        presets=(Preset(name="source", summary="As published"),),
    )
    plugins.trainers.add(spec, here)
    entry = plugins.trainers.get("of-kinds")
    return plugins, entry, _trainer_command(plugins, entry)


def parsed(command: Any, *arguments: str) -> dict[str, Any]:
    """The flags of a command line, as the command hands them on."""
    own = [one.replace(name=f"kinds_{one.name}") for one in parameters(Kinds, "", {})]
    params = command.make_context("of-kinds", list(arguments)).params
    values = {name: None if value == () else value for name, value in params.items()}  # as typer does
    values = with_lists([*own, *parameters(RecipeOfKinds, "", {})], values)
    for name in ("preset", "config", "print_config", "dry_run", "json"):
        del values[name]
    return {"with": values.pop("_with"), **values}


def absolute(values: Any) -> dict[str, Any]:
    """Field values with absolute paths, as they are recorded."""

    def one(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(one, value))
        return value.absolute() if isinstance(value, Path) else value

    return {name: one(value) for name, value in dict(values).items()}


@given(chosen=st.fixed_dictionaries({}, optional=VALUES))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_are_the_same_from_flags_environment_file_and_when_reopened(
    chosen: dict[str, Any], kinds, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plugins, entry, command = kinds
    expected = absolute({**dict(Kinds()), **chosen})
    plain_values = {name: plain(value) for name, value in chosen.items() if value is not None}
    texts = {name: to_text(value) for name, value in plain_values.items()}
    folder = RunFolder(tmp_path_factory.mktemp("run"))

    flags = [f"--kinds-{name.replace('_', '-')}={text}" for name, text in texts.items() if name != "yes"]
    if "yes" in chosen:
        flags.append("--kinds-yes" if chosen["yes"] else "--no-kinds-yes")
    resolved = resolve(plugins, entry, parsed(command, "--with", "kinds", *flags), environ={})
    assert absolute(resolved.parts[0].settings) == expected

    folder.settings.write_text(resolved.to_toml({"trainer": "of-kinds"}), encoding="utf-8", newline="")
    assert absolute(reopen_settings(plugins, folder, {}).parts[0].settings) == expected
    folder.settings.write_text(resolved.explained(), encoding="utf-8", newline="")
    again = resolve(plugins, entry, {}, config=folder.settings, environ={})
    assert absolute(again.parts[0].settings) == expected

    environ = {
        "PNEUMO_WITH": "kinds",
        **{f"PNEUMO_KINDS_{name.upper()}": text for name, text in texts.items()},
    }
    assert absolute(resolve(plugins, entry, {}, environ=environ).parts[0].settings) == expected

    folder.settings.write_text(tomli_w.dumps({"with": ["kinds"], "kinds": plain_values}), encoding="utf-8")
    in_file = resolve(plugins, entry, {}, config=folder.settings, environ={})
    assert absolute(in_file.parts[0].settings) == expected


def test_lists_are_separated_by_commas_or_repeated(kinds) -> None:
    plugins, entry, command = kinds

    def resolved(*flags: str) -> Any:
        return resolve(plugins, entry, parsed(command, *flags), environ={})

    assert resolved("--steps", "10,20").trainer.steps == [10, 20]
    assert resolved("--steps", "10", "--steps", "20, 30").trainer.steps == [10, 20, 30]
    assert resolved("--steps", "[10, 20]").trainer.steps == [10, 20]
    assert resolved("--steps", "").trainer.steps == []
    of_part = (
        resolved("--with", "kinds", "--names", "[a],b", "--scales", "2", "--scales", "4").parts[0].settings
    )
    assert (of_part.names, of_part.scales) == (["[a]", "b"], (2, 4))
    with pytest.raises(UsageError) as caught:
        resolved("--steps", "10,x")
    assert str(caught.value).startswith("item 2 of steps = 'x' (--steps): input should be a valid integer")
    with pytest.raises(UsageError, match=r"factor = '3' \(--factor\): input should be 1, 2 or 4"):
        resolved("--factor", "3")


def test_the_home_folder_is_expanded_in_lists_of_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Kinds(places="~/a,b").places == [tmp_path / "a", Path("b")]


@pytest.mark.parametrize(
    "annotation",
    [
        dict,
        dict[str, int],
        set[int],
        list,
        tuple,
        list[list[int]],
        list[int | None],
        tuple[int, str],
        int | str,
        int | str | None,
        bytes,
        complex,
        Any,
        object,
        Kinds,
        Literal[1.5],
        Literal[True, "auto"],
        Literal["1", 1],
        Enum("Odd", {"A": 1.5}),
        Enum("Empty", {}),
    ],
    ids=str,
)
def test_other_types_are_refused_and_say_what_to_use(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"use|choose|choices|bool, int, float"):
        field_type(annotation)


BASES = {"trainer": TrainerSettings, "dataset": DatasetSettings, "extension": PartSettings}


def refused(kind: str, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error about a settings class of this body."""
    from pneumo_cli.settings import classes

    module = types.ModuleType("class_of_a_test")
    base = BASES[kind].__name__
    monkeypatch.setitem(sys.modules, "class_of_a_test", module)
    exec(  # the class of a plugin, imported by its reference
        "from __future__ import annotations\nimport random\nfrom enum import Enum\nfrom pathlib import Path\n"
        "from typing import *\nfrom pydantic import *\nfrom pneumo_cli.settings.schema import *\n"
        f"class Own({base}):\n    {source}\n",
        vars(module),
    )
    spec = types.SimpleNamespace(name="own", settings="class_of_a_test:Own")
    with pytest.raises(UsageError) as caught:
        classes._imported(Entry(spec, Provenance("a-test", "1")), BASES[kind], f"the settings of {kind} own")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "table: dict[str, int] = {}",
            "the field table has a type that cannot be written as a flag or in a file: dict",
        ),
        (
            "both: int | str = 1",
            "the field both has a type that cannot be written as a flag or in a file: int | str",
        ),
        ("needed: int", "the field needed has no default: every setting has one"),
        ("other: int = Field(1, alias='o')", "the field other has an alias: a setting has one name"),
        ("_hidden: int = 1", "the field _hidden begins with an underscore and is no setting: rename it"),
        ("loud: int = Field(0, ge=1)", "the default 0 of the field loud is refused: "),
        ("Rate: float = 1", "the field Rate cannot be a flag and a variable: use lower-case letters"),
        ("rate: float = Field(default_factory=random.random)", "a default differs from call to call"),
        ("rate: float = Field(default_factory=dict)", "the default {} of the field rate is refused: "),
        (
            "most: int | None = 3",
            "the field most may be None, which nobody can write: use None as its default",
        ),
        ("exact: int = Field(1, strict=True)", "the default '1' of the field exact is refused as text: "),
        ("steps: list[int] = ['x']", "the default 'x' of the field steps is refused"),
    ],
)
def test_a_class_that_cannot_be_set_everywhere_is_refused_with_its_distribution_and_field(
    kind: str, source: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused(kind, source, monkeypatch)
    assert message.startswith(f"the settings of {kind} own (a-test 1, class_of_a_test:Own) cannot be used: ")
    assert words in message


@pytest.mark.parametrize(
    "name", ["preset", "config", "print_config", "origin", "run", "trainer", "plugin", "device"]
)
def test_the_names_of_flags_keys_and_machine_settings_are_reserved(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"the field {name} has a name that pneumo uses itself: rename it"
    assert words in refused("trainer", f"{name}: int = 1", monkeypatch)
    assert words in refused("dataset", f"{name}: int = 1", monkeypatch)


def test_bundled_and_installed_settings_are_all_supported() -> None:
    for cls in (Kinds, RecipeOfKinds):
        for name, info in cls.model_fields.items():
            assert field_type(info.annotation).name, name
    assert json.loads(to_text(plain(Kinds().pair))) == [0.0, 1.0]
