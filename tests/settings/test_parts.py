"""Extensions and observers of a run: what ``--with`` asks for, in which order, and their settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Provenance
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.settings.resolve import Resolved, resolve
from pneumo_cli.specs import ExtensionSpec, ObserverSpec

MODULE = """
from pathlib import Path
from pydantic import Field
from pneumo_cli.settings import PartSettings

class Blend(PartSettings):
    alpha: float = Field(0.2, gt=0, description="of the Beta distribution")
    classes: list[str] = Field([], description="to blend")

class Diary(PartSettings):
    file: Path | None = Field(None, description="to write")
    alpha: float = Field(0.5, description="shade")

class Learning(PartSettings):
    rate: float = Field(1.0, description="factor")

class Clash(PartSettings):
    size: int = Field(1, description="of what")
"""


def extension(name: str, settings: str = "", **options) -> ExtensionSpec:
    reference = f"parts_of_a_test:{settings}" if settings else ""
    return ExtensionSpec(name=name, summary="A test's", factory="a:b", settings=reference, **options)


@pytest.fixture
def plugins(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is installed, and extensions and observers of the distribution ``a-test``."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "parts_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    found = discover()
    own = Provenance("a-test", "1")
    for spec in (
        extension("blend", "Blend"),
        extension("early-end", "Learning"),
        extension("inner", inside=("outer", "a-test:blend")),
        extension("outer"),
        extension("hostile", conflicts=("blend",)),
    ):
        found.extensions.add(spec, own)
    found.observers.add(
        ObserverSpec(name="diary", summary="A test's", factory="a:b", settings="parts_of_a_test:Diary"), own
    )
    return found


@pytest.fixture
def resolved(plugins):
    def run(parts=None, flags=None, environ=None, **options) -> Resolved:
        flags = {"with": parts, **(flags or {})}
        return resolve(plugins, plugins.trainers.get("fake"), flags, environ=environ or {}, **options)

    return run


def names(settings: Resolved) -> list[str]:
    return [part.name for part in settings.parts]


def test_nothing_takes_part_unless_it_is_asked_for(resolved) -> None:
    assert resolved().parts == ()
    assert "with" not in resolved().origins
    assert "with" not in tomllib.loads(resolved().to_toml({}))


@pytest.mark.parametrize(
    "value", ["diary,blend", ["diary", "blend"], ["diary, blend"], ["a-test:diary", "blend"]]
)
def test_names_are_separated_by_commas_or_repeated(value, resolved) -> None:
    assert names(resolved(value)) == ["diary", "blend"]
    assert [part.is_extension for part in resolved(value).parts] == [False, True]


def test_with_comes_from_the_file_the_environment_or_a_flag_as_all_settings_do(resolved, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text('with = ["outer"]\n')
    assert (names(resolved()), resolved().origins["with"]) == (["outer"], "pneumo.toml")
    environ = {"PNEUMO_WITH": "blend,inner"}
    assert names(resolved(environ=environ)) == ["blend", "inner"]
    assert resolved(environ=environ).origins["with"] == "PNEUMO_WITH"
    assert names(resolved("diary", environ=environ)) == ["diary"]
    assert names(resolved("", environ=environ)) == []
    (fakes / "pneumo.toml").write_text('with = "outer"\n[fake]\nwith = "inner, outer"\n')
    assert names(resolved()) == ["outer", "inner"]


def test_settings_come_from_defaults_table_environment_and_flags(resolved, fakes: Path) -> None:
    assert dict(resolved("blend").parts[0].settings) == {"alpha": 0.2, "classes": []}
    (fakes / "pneumo.toml").write_text('[blend]\nalpha = 0.3\nclasses = ["A", "B"]\n[early-end]\nrate = 2\n')
    settings = resolved("blend,early-end")
    assert dict(settings.parts[0].settings) == {"alpha": 0.3, "classes": ["A", "B"]}
    assert dict(settings.parts[1].settings) == {"rate": 2.0}
    settings = resolved("blend", environ={"PNEUMO_BLEND_ALPHA": "0.4", "PNEUMO_EARLY_END_RATE": "3"})
    assert dict(settings.parts[0].settings) == {"alpha": 0.4, "classes": ["A", "B"]}
    flags = {"blend_alpha": "0.6", "early_end_rate": "4"}
    settings = resolved("blend,early-end", flags, {"PNEUMO_BLEND_ALPHA": "0.4"})
    assert settings.parts[0].settings.alpha == 0.6
    assert settings.parts[1].settings.rate == 4
    origins = {name: origin for name, origin in settings.origins.items() if "." in name}
    assert origins == {
        "blend.alpha": "--blend-alpha",
        "blend.classes": "pneumo.toml",
        "early-end.rate": "--early-end-rate",
    }


def test_the_table_and_variables_of_a_part_that_does_not_take_part_are_fine(resolved, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text("[blend]\nalpha = 0.3\n")
    assert resolved(environ={"PNEUMO_DIARY_FILE": "x"}).parts == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"flags": {"blend_alpha": "1"}},
            "--blend-alpha is a setting of the extension blend, which does not take part: add --with blend",
        ),
        ({"parts": "blent"}, "unknown extension or observer 'blent' (--with); did you mean blend?"),
        ({"parts": "b:blend"}, "unknown extension or observer 'b:blend' (--with)"),
        ({"parts": "blend,blend"}, "blend is named twice (--with): a part takes part once"),
        (
            {"parts": "blend,hostile"},
            "the extensions hostile (a-test 1) and blend (a-test 1) cannot be combined",
        ),
        ({"parts": 3}, "with = 3 (--with): a list of names of extensions and observers"),
        ({"file": "with = [3]"}, "with = [3] (pneumo.toml): a list of names"),
        (
            {"parts": "blend", "flags": {"blend_alpha": "-1"}},
            "blend.alpha = '-1' (--blend-alpha): input should be greater than 0",
        ),
        (
            {"parts": "blend", "file": "[blend]\nalpha = 'x'"},
            "blend.alpha = 'x' (pneumo.toml): input should be a valid number",
        ),
        (
            {"parts": "blend", "file": "[blend]\nalfa = 1"},
            "pneumo.toml: [blend]: unknown setting 'alfa'; did you mean alpha?",
        ),
        (
            {"parts": "blend", "environ": {"PNEUMO_BLEND_ALPHA": "x"}},
            "blend.alpha = 'x' (PNEUMO_BLEND_ALPHA): input should be a valid number",
        ),
        (
            {"environ": {"PNEUMO_BLEND_ALFA": "1"}},
            "unknown environment variable PNEUMO_BLEND_ALFA; did you mean PNEUMO_BLEND_ALPHA",
        ),
        (
            {"file": "[bland]\nalpha = 1"},
            "pneumo.toml: there is no trainer, extension or observer for the table [bland]; did you mean blend?",
        ),
        ({"parts": "fake"}, "unknown extension or observer 'fake' (--with)"),
        (
            {"parts": "mixup"},
            "the extension mixup comes with pneumo-extensions, which is not installed: pip install",
        ),
        (
            {"file": "[mixup]\nalpha = 1"},
            "pneumo.toml: [mixup]: the extension mixup comes with pneumo-extensions",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_a_wrong_name_or_value_is_one_line_that_says_where_and_what_to_do(
    options, words: str, resolved, fakes: Path
) -> None:
    options = dict(options)
    if content := options.pop("file", ""):
        (fakes / "pneumo.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        resolved(options.pop("parts", None), **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_order_is_that_of_with_corrected_by_what_has_to_be_inside(resolved) -> None:
    assert names(resolved("outer,diary,inner")) == ["outer", "diary", "inner"]
    assert names(resolved("inner,diary,outer")) == ["diary", "outer", "inner"]
    assert names(resolved("inner,diary")) == ["inner", "diary"]
    assert names(resolved("inner,outer,blend")) == ["outer", "blend", "inner"]


def test_a_cycle_names_all_of_its_extensions(plugins, resolved) -> None:
    for name, outside in (("one", "two"), ("two", "three"), ("three", "one")):
        plugins.extensions.add(extension(name, inside=(outside,)), Provenance("b-test", "1"))
    with pytest.raises(UsageError) as caught:
        resolved("blend,one,two,three")
    assert str(caught.value) == (
        "extensions cannot be put in order: one inside of two (b-test 1), two inside of three (b-test 1), three "
        "inside of one (b-test 1); leave one of them out of --with"
    )
    assert names(resolved("one,two")) == ["two", "one"]


def test_a_name_of_two_parts_is_chosen_with_its_distribution_which_is_recorded(plugins, resolved) -> None:
    plugins.observers.add(
        ObserverSpec(name="blend", summary="Another", factory="a:b"), Provenance("b-test", "1")
    )
    with pytest.raises(UsageError) as caught:
        resolved("blend")
    assert str(caught.value) == (
        "blend (--with) may be the extension of a-test 1 and the observer of b-test 1: choose a-test:blend or "
        "b-test:blend"
    )
    settings = resolved("a-test:blend", {"blend_alpha": "3"})
    assert settings.parts[0].settings.alpha == 3
    assert tomllib.loads(settings.to_toml({}))["with"] == ["a-test:blend"]
    with pytest.raises(UsageError, match="--blend-alpha is a setting of the extension blend"):
        resolved("b-test:blend", {"blend_alpha": "3"})
    with pytest.raises(UsageError, match="blend is named twice"):
        resolved("a-test:blend,b-test:blend")


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("duel", "", "its table [duel] is that of the trainer duel"),
        ("epochs", "", "epochs is the name of a setting or of a table of pneumo"),
        ("batch-size", "", "batch-size is the name of a setting"),
        ("origin", "", "origin is the name of a setting or of a table of pneumo"),
        ("batch", "Clash", "its setting size would be --batch-size, which is another setting"),
    ],
)
def test_a_part_with_the_name_of_something_else_is_refused_when_it_is_used(
    name: str, settings: str, words: str, plugins, resolved
) -> None:
    plugins.extensions.add(extension(name, settings), Provenance("b-test", "1"))
    assert resolved(flags={"batch_size": "9"}).trainer.batch_size == 9
    with pytest.raises(UsageError) as caught:
        resolved(name)
    assert str(caught.value).startswith(f"the extension {name} (b-test 1) cannot be used: {words}")
    assert str(caught.value).endswith("; its author has to rename it")


def test_a_part_whose_settings_cannot_be_imported_breaks_no_other(plugins, resolved) -> None:
    plugins.extensions.add(extension("absent", "Nothing"), Provenance("b-test", "1"))
    assert names(resolved("blend")) == ["blend"]
    with pytest.raises(
        UsageError, match=r"the settings of extension absent \(b-test 1\) cannot be imported from"
    ):
        resolved("absent")


def test_a_preset_cannot_bring_parts(plugins, resolved) -> None:
    from dataclasses import replace

    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import Preset

    entry = plugins.trainers.get("fake")
    presets = (Preset(name="odd", summary="Odd", values={"with": ["blend"]}),)
    with pytest.raises(UsageError, match="the preset odd of pneumo-fake:fake sets 'with'"):
        resolve(plugins, Entry(replace(entry.spec, presets=presets), entry.provenance), {}, environ={})


def test_print_config_is_a_configuration_with_the_tables_of_parts(resolved, fakes: Path) -> None:
    flags = {"blend_classes": "A,B", "diary_file": "x.txt", "epochs": "7"}
    settings = resolved("outer,diary,blend", flags)
    (fakes / "again.toml").write_text(settings.explained())
    assert 'with = ["outer", "diary", "blend"]' in settings.explained()
    assert 'classes = ["A", "B"]' in settings.explained()
    again = resolved(config=Path("again.toml"))
    assert (names(again), again.trainer) == (["outer", "diary", "blend"], settings.trainer)
    assert again.parts[1].settings.file == fakes / "x.txt"
    assert again.parts[2].settings == settings.parts[2].settings


@pytest.fixture
def recorded(resolved, plugins, tmp_path: Path):
    """The folder of a run of ``blend`` and ``diary``, as the runner records it."""
    folder = RunFolder.create(tmp_path / "runs", "fake")
    settings = resolved("diary,blend", {"blend_alpha": "0.7"})
    facts = {"trainer": "fake", "extensions": {"blend": "a-test 1"}}
    folder.settings.write_text(settings.to_toml(facts))
    return folder


def test_a_run_is_reopened_with_its_parts(recorded, plugins, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text('with = ["outer"]\n[blend]\nalpha = 0.9\n')
    again = reopen_settings(plugins, recorded, {"epochs": 30})
    assert names(again) == ["diary", "blend"]
    assert again.parts[1].settings.alpha == 0.7
    origins = again.origins
    assert (origins["with"], origins["blend.alpha"], origins["epochs"]) == (
        "--with",
        "--blend-alpha",
        "--epochs",
    )


def test_a_run_keeps_the_extension_of_its_distribution(recorded, plugins) -> None:
    plugins.extensions.add(extension("blend"), Provenance("b-test", "1"))
    again = reopen_settings(plugins, recorded, {})
    assert [part.entry.qualified_name for part in again.parts] == ["a-test:diary", "a-test:blend"]


def test_a_run_whose_extension_is_gone_is_refused_and_an_observer_that_is_gone_is_left_out(
    recorded, fakes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = discover()
    with pytest.raises(
        UsageError, match="was trained with the extension blend of a-test 1, which is not here: pip"
    ):
        reopen_settings(plugins, recorded, {})
    plugins.extensions.add(extension("blend", "Blend"), Provenance("a-test", "1"))
    assert names(reopen_settings(plugins, recorded, {})) == ["blend"]
    assert "the observer diary is not installed, so it is left out" in caplog.text
