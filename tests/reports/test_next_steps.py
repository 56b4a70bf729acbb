"""The commands that a report suggests: those that the models can be used with, and that are installed."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo_cli.registry import Registries
from pneumo_cli.reports.next_steps import next_steps, next_steps_of_group

FOLDER = Path("my runs/gan/x")


class Installed(Registries):
    """What is installed: functions of some names, which come with commands of the same names."""

    files: tuple[Any, ...] = ()
    registered: dict[str, str] = {}

    def __init__(self, *functions: str) -> None:
        super().__init__()
        self.functions = SimpleNamespace(knows=lambda name: name in functions)  # type: ignore[assignment]


def run(*functions: str, origins: Any = None) -> Any:
    resolved = SimpleNamespace(origins=origins or {}, parts=(), entry=None)
    return SimpleNamespace(
        registries=Installed(*functions),
        resolved=resolved,
        folder=SimpleNamespace(path=FOLDER, settings=FOLDER / "run.toml"),
        settings=SimpleNamespace(epochs=20),
        spec=SimpleNamespace(name="gan"),
    )


@pytest.fixture(autouse=True)
def installed_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts are of plugins, none was registered by a program."""
    monkeypatch.setattr("pneumo_cli.reports.next_steps.registered_parts", lambda *_: {})


@pytest.mark.parametrize(
    ("predicts", "generates", "expected"),
    [
        (True, False, ["predict 'my runs/gan/x' IMAGE", "compare 'my runs/gan/x' OTHER"]),
        (False, True, ["generate 'my runs/gan/x' --out generated", "compare 'my runs/gan/x' OTHER"]),
        (False, False, ["compare 'my runs/gan/x' OTHER"]),
    ],
)
def test_the_commands_are_those_that_the_models_can_be_used_with(
    predicts: bool, generates: bool, expected: list[str]
) -> None:
    steps = next_steps(run("compare", "generate"), predicts=predicts, generates=generates)
    again = "run gan --config 'my runs/gan/x/run.toml' --seeds 3"
    assert steps == [f"pneumo {step}" for step in (*expected, again)]
    assert all(shlex.split(step)[0] == "pneumo" for step in steps)


def test_commands_of_plugins_that_are_not_installed_are_not_suggested() -> None:
    assert next_steps(run(), predicts=False, generates=True) == [
        "pneumo run gan --config 'my runs/gan/x/run.toml' --seeds 3"
    ]


def test_a_run_that_was_too_short_is_continued_first() -> None:
    steps = next_steps(run("generate"), predicts=False, generates=True, epochs=867)
    assert steps[0] == "pneumo resume 'my runs/gan/x' --epochs 867"
    assert not any("--seeds" in step for step in steps)


def test_what_a_model_that_failed_makes_is_not_suggested() -> None:
    steps = next_steps(run("generate", "compare"), predicts=False, generates=True, epochs=4, failed=True)
    assert steps == ["pneumo resume 'my runs/gan/x' --epochs 4"]
    assert next_steps(run("generate"), predicts=True, generates=True, failed=True) == []


def test_a_member_of_a_group_is_not_repeated_with_seeds() -> None:
    steps = next_steps(run(origins={"seeds": "group"}), predicts=True, generates=False)
    assert steps == ["pneumo predict 'my runs/gan/x' IMAGE"]


def test_what_only_a_program_can_use_has_no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo_cli.reports.next_steps.registered_parts", lambda *_: {"trainer mine": ""})
    assert next_steps(run("compare"), predicts=True, generates=True) == []


def test_a_group_predicts_as_an_ensemble_and_its_failed_members_come_first() -> None:
    member = SimpleNamespace(name="seed-1")
    folder = SimpleNamespace(path=FOLDER, member=lambda name: SimpleNamespace(path=FOLDER / "members" / name))
    group: Any = SimpleNamespace(
        folder=folder, resolved=None, done=[member], members=[member, member], averages=True, predicts=()
    )
    assert next_steps_of_group(group, Installed("compare"), generates=False) == [
        "pneumo resume 'my runs/gan/x'",
        "pneumo predict 'my runs/gan/x' IMAGE",
        "pneumo compare 'my runs/gan/x' OTHER",
    ]
    group.averages, group.members = False, [member]
    assert next_steps_of_group(group, Installed("generate"), generates=True) == [
        "pneumo generate 'my runs/gan/x/members/seed-1' --out generated"
    ]
