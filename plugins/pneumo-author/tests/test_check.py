"""``pneumo check``: what a name means, what is printed, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPLITS = {
    "good_plugin": """
from pneumo_cli.api import SplitSpec, hookimpl
api_version = 1
@hookimpl
def register_splits():
    yield SplitSpec(name="halves", summary="Every second image", split="good_parts:halves")
    yield SplitSpec(name="leaking", summary="Validation is training", split="good_parts:leaking")
""",
    "good_parts": """
def pool(records):
    return [i for i, record in enumerate(records) if record.pool == "train"]
def halves(records, fraction, seed):
    return pool(records)[::2], pool(records)[1::2]
def leaking(records, fraction, seed):
    return pool(records), pool(records)
""",
}


@pytest.fixture
def halves(install: Callable[..., None]) -> None:
    install("pneumo-halves", {"halves-plugin": "good_plugin"}, SPLITS)


def test_a_part_that_keeps_the_rules_ends_with_0(halves: None, pneumo: Callable[..., Any]) -> None:
    ended = pneumo("check", "halves")
    assert ended.code == 0, ended.stderr + ended.stdout
    lines = ended.stdout.splitlines()
    assert lines[0] == "split halves"
    assert "  ok      it divides the training pool" in lines
    assert lines[-1].startswith("halves: ")
    assert ", 0 broken" in lines[-1]


@pytest.mark.parametrize("name", ["pneumo-halves", "halves-plugin"])
def test_a_distribution_or_plugin_is_all_of_its_parts(
    name: str, halves: None, pneumo: Callable[..., Any]
) -> None:
    ended = pneumo("check", name)
    assert ended.code == 1
    assert "split halves" in ended.stdout
    told = ended.stdout.split("  BROKEN  ")[1].splitlines()
    assert told[0] == "it divides the training pool"
    assert told[1].startswith("            rule:   a split returns (train, validation)")
    assert "split() gives record" in told[2]
    assert told[3].startswith("            mend:   ")


def test_json_has_every_check_with_its_rule(halves: None, pneumo: Callable[..., Any]) -> None:
    ended = pneumo("check", "pneumo-halves:leaking", "--json")
    assert ended.code == 1
    content = json.loads(ended.stdout)
    assert content["name"] == "pneumo-halves:leaking"
    assert content["broken"] == 1
    (row,) = [row for row in content["checks"] if row["outcome"] == "broken"]
    assert row.keys() == {"part", "check", "outcome", "rule", "broken", "mend"}
    assert row["part"] == "split leaking"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("halvs",), "did you mean halves"),
        (("halves", "--data-root", "nowhere"), "there is no such folder"),
        (("fake", "--dataset", "no-such"), "unknown dataset 'no-such'"),
    ],
)
def test_misuse_is_one_line(
    arguments: tuple[str, ...], said: str, halves: None, pneumo: Callable[..., Any]
) -> None:
    ended = pneumo("check", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_plugin_that_does_not_load_is_said(
    install: Callable[..., None], pneumo: Callable[..., Any]
) -> None:
    install("pneumo-lost", {"lost-plugin": "lost_plugin"}, {"lost_plugin": "import no_such_library"})
    ended = pneumo("check", "lost-plugin")
    assert ended.code == 2
    assert "no_such_library" in ended.stderr


def test_a_file_is_checked_without_an_installation(fakes: Path, pneumo: Callable[..., Any]) -> None:
    (fakes / "alone.py").write_text(
        SPLITS["good_plugin"].replace("good_parts", "alone") + SPLITS["good_parts"], encoding="utf-8"
    )
    ended = pneumo("check", "halves", "--plugin", "alone.py")
    assert ended.code == 0, ended.stdout + ended.stderr
    assert pneumo("check", "leaking", "--plugin", "alone.py").code == 1


def test_a_trainer_its_model_and_its_dataset_are_checked_by_name(pneumo: Callable[..., Any]) -> None:
    for name, titles in (("plain-net", "model plain-net"), ("tiny", "dataset tiny")):
        ended = pneumo("check", name)
        assert ended.code == 0, ended.stdout + ended.stderr
        assert ended.stdout.splitlines()[0] == titles


def test_a_model_of_a_kind_that_trainers_do_not_say_how_to_call_is_built_and_saved(
    pneumo: Callable[..., Any],
) -> None:
    ended = pneumo("check", "painter-net", "--json")
    outcomes = {row["check"]: row["outcome"] for row in json.loads(ended.stdout)["checks"]}
    assert outcomes["equal seeds build equal weights"] == "ok"
    assert outcomes["gradients reach every trainable parameter"] == "skipped"
    assert ended.code == 0


def test_the_toy_dataset_keeps_the_rules(pneumo: Callable[..., Any]) -> None:
    assert pneumo("check", "toy").code == 0


@pytest.mark.slow
def test_a_trainer_is_checked_on_the_dataset_that_is_named(pneumo: Callable[..., Any]) -> None:
    ended = pneumo("check", "pneumo-fake:duel", "--dataset", "tiny", "--json")
    content = json.loads(ended.stdout)
    assert ended.code == 0, [row for row in content["checks"] if row["outcome"] == "broken"]
    assert len(content["checks"]) > 20
