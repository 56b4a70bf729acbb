"""Early stopping: when training ends, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli import UsageError
from pneumo_cli.runs import Monitor
from pneumo_cli.testing import Invocation
from pneumo_extensions.early_stopping import EarlyStopping
from pneumo_extensions.settings import EarlyStoppingSettings


def stopped_after(values: list[float], mode: str, **settings: Any) -> int | None:
    """The epoch after which training ends, of validation values of the epochs 1, 2, …; None: it goes on."""
    stops: list[str] = []
    run: Any = SimpleNamespace(
        monitor=Monitor("auc", mode), history=[{"validation": {"auc": 0.0}}], stop=stops.append
    )
    extension = EarlyStopping(EarlyStoppingSettings(**settings))
    for epoch, value in enumerate(values, 1):
        run.history.append({"validation": {"auc": value}})
        extension.epoch_finished(run, run.history[-1])
        if stops:
            return epoch
    return None


def test_it_stops_after_so_many_epochs_without_improvement() -> None:
    assert stopped_after([0.6, 0.7, 0.65, 0.7, 0.69], "max", patience=3) == 5
    assert stopped_after([0.6, 0.7, 0.65, 0.71, 0.69], "max", patience=3) is None
    assert stopped_after([3, 2, 2.5, 2.0], "min", patience=2) == 4
    assert stopped_after([0.6, 0.605, 0.609], "max", patience=2, min_delta=0.01) == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 6))
def test_it_never_stops_within_its_patience_of_the_best_epoch(values: list[float], patience: int) -> None:
    end = stopped_after(values, "max", patience=patience)
    seen = values[:end]
    since = len(seen) - 1 - seen.index(max(seen))
    assert since == patience if end is not None else since < patience


def test_a_run_ends_early_says_why_and_is_finished(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    flags = ("--with", "early-stopping", "--patience", 1, "--early-stopping-min-delta", 10)
    ended = pneumo("run", "fake", "--epochs", 9, *flags)
    assert ended.code == 0, ended.stderr
    (folder,) = (fakes / "runs").glob("*/*")
    report = json.loads((folder / "report.json").read_text())
    assert len(report["history"]) == 3  # epoch 0, the first, and one without improvement
    text = (folder / "report.md").read_text()
    assert "has not improved for 1 epoch" in text
    again = pneumo("resume", folder)
    assert again.code == 0, again.stderr
    assert len(json.loads((folder / "report.json").read_text())["history"]) == 3


def test_a_trainer_that_monitors_nothing_is_refused() -> None:
    run: Any = SimpleNamespace(monitor=Monitor("", "max"), spec=SimpleNamespace(name="gan"))
    with pytest.raises(UsageError, match="gan monitors no metric"):
        EarlyStopping(EarlyStoppingSettings()).around_train_step(run)


@pytest.mark.parametrize("patience", ["0", "x"])
def test_its_settings_are_checked(pneumo: Callable[..., Invocation], fakes: Path, patience: str) -> None:
    ended = pneumo("run", "fake", "--with", "early-stopping", "--patience", patience)
    assert ended.code == 2
    assert "patience" in ended.stderr
