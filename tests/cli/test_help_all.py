"""``--help`` shows what most people change, in one screen; ``--help-all`` shows everything."""

from __future__ import annotations

import re

import pytest

from pneumo_cli.cli.trainer_flags import main_settings
from pneumo_cli.settings import ClassificationSettings, TrainerSettings
from tests.programs import disabled

FIRST = ["dataset", "data_root", "model", "epochs", "batch_size", "lr", "image_size"]
LAST = ["seed", "device", "output"]

PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl
api_version = 1
@hookimpl
def register_trainers():
    for name in ("many", "chosen", "wrong"):
        yield TrainerSpec(
            name=name, summary="S", kind="classifier", model="tiny-net", trainer="a:b",
            settings=f"own_settings:{name.capitalize()}", presets=(Preset(name="source", summary="As published"),),
        )
"""
SETTINGS = """
from pneumo_cli.settings import TrainerSettings
class Many(TrainerSettings):
    lr: float = 0.1
    alpha: int = 1
    beta: int = 2
    gamma: int = 3
    delta: int = 4
    epochs: int = 7
class Chosen(Many):
    main_settings = ("delta", "split")
class Wrong(Many):
    main_settings = ("detla",)
"""


def flags(text: str) -> list[str]:
    """The options that a help lists, in order."""
    return [found[0] for line in text.splitlines() if (found := re.findall(r"^  (?:-h, )?(--[\w-]+)", line))]


@pytest.fixture
def installed(install) -> None:
    install("pneumo-own", {"own": "own_plugin"}, {"own_plugin": PLUGIN, "own_settings": SETTINGS})


def test_help_of_a_trainer_begins_with_what_matters_and_counts_the_rest(pneumo) -> None:
    text, whole = (pneumo("run", "fake", flag).stdout for flag in ("--help", "--help-all"))
    shown, everything = flags(text), flags(whole)
    assert shown[shown.index("--dataset") :] == ["--" + name.replace("_", "-") for name in FIRST + LAST]
    assert {"--preset", "--config", "--print-config", "--with", "--help", "--help-all"} <= set(shown)
    assert set(shown) < set(everything)
    (last,) = text.splitlines()[-1:]
    assert re.fullmatch(r"\d+ more options: .* run fake --help-all", last)
    assert int(last.split()[0]) == len(everything) - len(shown)
    assert "more options" not in whole


def test_bounds_are_left_to_the_whole_help_and_to_errors(pneumo) -> None:
    assert "at least" not in pneumo("run", "fake", "--help").stdout
    assert "(at least 1, at most 1000)" in pneumo("run", "fake", "--help-all").stdout


def test_a_trainer_s_own_settings_are_shown_by_a_rule_or_as_it_says(installed, pneumo) -> None:
    shown = flags(pneumo("run", "many", "--help").stdout)
    assert shown[shown.index("--lr") :][:5] == ["--lr", "--image-size", "--alpha", "--beta", "--seed"]
    shown = flags(pneumo("run", "chosen", "--help").stdout)
    assert shown[shown.index("--image-size") :][:4] == ["--image-size", "--delta", "--split", "--seed"]


def test_main_settings_that_are_none_are_refused(installed, pneumo) -> None:
    ended = pneumo("run", "wrong", "--help")
    assert (ended.code, ended.stdout) == (2, "")
    assert "main_settings names 'detla', which is no field; did you mean delta" in ended.stderr


def test_the_rule_leaves_out_what_the_base_classes_have() -> None:
    assert main_settings(TrainerSettings) == main_settings(ClassificationSettings) == [*FIRST, *LAST]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("trainer", ["fake", "painter", "duel"])
def test_the_first_screen_has_all_of_it(
    trainer: str, columns: int, pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = pneumo("run", trainer, "--help").stdout
    assert len(text.splitlines()) <= 49
    assert max(map(len, text.splitlines())) <= columns
    words = set(re.findall(r"--[\w-]+", text))
    assert {"--image-size", "--help-all"} <= words  # no line is broken at their hyphens
    assert not re.search(r"-\n", text)


def test_options_of_datasets_are_folded_in_other_commands(pneumo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled("pneumo-datasets"))
    for command in (["evaluate"], ["data", "check"]):
        text, whole = (pneumo(*command, flag).stdout for flag in ("--help", "--help-all"))
        assert "--help-all" in flags(text)
        assert "Options of datasets" not in text
        assert "Options of datasets" in whole
        assert set(flags(text)) < set(flags(whole))
    assert "--help-all" not in flags(pneumo("predict", "--help").stdout)


def test_a_folded_option_is_an_option(pneumo) -> None:
    ended = pneumo("run", "fake", "--momentum", "0.5", "--print-config")
    assert ended.code == 0
    assert "momentum = 0.5" in ended.stdout
