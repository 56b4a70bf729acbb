"""``pneumo.evaluate`` and ``pneumo evaluate --json``: the same content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pneumo_cli import UsageError
from pneumo_cli.api import hookimpl


def command(pneumo, *arguments: object) -> dict[str, Any]:
    ended = pneumo("evaluate", *arguments, "--json")
    assert ended.code == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two evaluations are equal, but for their time and number."""
    different = ("when", "test_accesses")
    return {k: v for k, v in ours.items() if k not in different} == {
        k: v for k, v in theirs.items() if k not in different
    }


@pytest.fixture
def runs(finished_run: Callable[..., Path]) -> list[Path]:
    return [finished_run("fake", "--epochs", 1, "--seed", seed, "--no-report") for seed in (1, 2)]


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ((), {}),
        (
            ("--on", "validation", "--checkpoint", "last", "--operating-point", "screening"),
            {"on": "validation", "checkpoint": "last", "operating_point": "screening"},
        ),
        (("--dataset", "small", "--precision", "fp32"), {"dataset": "small", "precision": "fp32"}),
    ],
)
def test_an_evaluation_is_the_same_as_that_of_the_command(
    flags: tuple[object, ...], settings: dict[str, Any], library: ModuleType, pneumo, runs: list[Path]
) -> None:
    theirs = command(pneumo, runs[0], *flags)
    before = set(runs[0].glob("evaluations/*.json"))
    result = library.evaluate(str(runs[0]), progress=False, **settings)
    assert same(result.content, theirs)
    assert result.content["epoch"] == theirs["epoch"]
    assert result.metrics["auc"] == theirs["metrics"]["auc"]
    assert list(result.metrics["auc"].interval) == theirs["intervals"]["auc"]
    (written,) = set(runs[0].glob("evaluations/*.json")) - before
    assert json.loads(written.read_text()) == result.content


def test_several_runs_are_evaluated_as_an_ensemble(
    library: ModuleType, pneumo, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = command(pneumo, runs[0], "--with", runs[1])
    told: list[Path] = []
    monkeypatch.setattr(
        "pneumo_cli.plugins.discovery.Plugins.notify",
        lambda self, hook, **given: told.append(given["folder"]),
    )
    result = library.evaluate([library.runs(run)[0] for run in runs], progress=False)
    assert same(result.content, theirs)
    assert len(result.content["runs"]) == 2
    assert told == [runs[0]]
    ended = pneumo("evaluate", runs[0], "--with", runs[0])
    with pytest.raises(UsageError) as caught:
        library.evaluate([runs[0], runs[0]])
    assert (ended.code, ended.stderr) == (2, f"pneumo: {caught.value}\n")


def test_an_observer_may_evaluate_the_run_that_it_follows(library: ModuleType, fakes: Path) -> None:
    found: dict[str, float] = {}

    class Evaluating:
        @hookimpl
        def run_finished(self, run: Any) -> None:
            result = library.evaluate(run.folder.path, on="validation", progress=False)
            found["auc"] = result.metrics["auc"]

    result = library.run("fake", epochs=1, report=False, observers=[Evaluating()], progress=False)
    assert found["auc"] == result.metrics["validation"]["auc"]
