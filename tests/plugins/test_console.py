"""What a run prints on stderr: epochs, results, notes and the next commands."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo_cli.plugins.console import Console

METRICS = {"generator_loss": 0.7, "discriminator_loss": 1.4, "real_score": 0.5, "fake_score": 0.5}
INTERVAL = (0.7705, 0.8816)
NAMES = ("accuracy", "auc", "recall", "specificity", "precision", "f1")


def row(epoch: int, train: dict[str, float], validation: dict[str, float]) -> dict[str, Any]:
    times = {"learning_rate": 1e-4, "seconds": 3.0}
    return {"epoch": epoch, "train": train, "validation": validation, **times}


def run(monitor: str = "generator_loss", side: str = "train", pages: bool = True, **parts: Any) -> Any:
    path = Path("runs/gan/x")
    folder = SimpleNamespace(path=path, report_html=path / "report.html", report_json=path / "report.json")
    return SimpleNamespace(
        monitor=SimpleNamespace(metric=monitor, side=side),
        settings=SimpleNamespace(epochs=2),
        best=SimpleNamespace(epoch=1),
        folder=parts.get("folder", folder),
        machine=SimpleNamespace(report=pages),
        history=[],
    )


def finished(of: Any = None, **parts: Any) -> None:
    report = {"evaluations": {}, "notices": [], "run": {"seconds": 65.0}, "next": ["pneumo list-models"]}
    Console().run_finished(of or run(), {**report, **parts})


class Terminal(io.StringIO):
    """A stderr that is a terminal; its width is that of COLUMNS."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=(60, 80, 120))
def terminal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Any, int]]:
    """Makes stderr a terminal, in the test itself: before, pytest replaces stderr; returns it and its width."""

    def become() -> tuple[Terminal, int]:
        shown = Terminal()
        monkeypatch.setattr("sys.stderr", shown)
        monkeypatch.setenv("COLUMNS", str(request.param))
        return shown, request.param

    return become


def test_epochs_are_rows_below_one_heading_and_the_best_is_marked(capsys) -> None:
    console = Console()
    for epoch in (0, 1):
        console.epoch_finished(run(), row(epoch, {**METRICS, "loss": 2.1}, {}))
    heading, first, second = capsys.readouterr().err.splitlines()
    assert heading.split()[:4] == ["epoch", "loss", "gen", "loss"]
    assert [line.split()[0] for line in (first, second)] == ["0/2", "1/2"]
    assert not first.endswith("best")
    assert second.endswith("best")


def test_without_a_monitored_metric_no_epoch_is_the_best(capsys) -> None:
    unmonitored = run(monitor="")
    Console().epoch_finished(unmonitored, row(1, METRICS, {}))
    finished(unmonitored)
    lines = capsys.readouterr().err.splitlines()
    assert not any("best" in line for line in lines)
    assert "epoch 1" in lines


def test_results_have_a_row_per_metric_and_a_column_per_split_with_intervals(capsys) -> None:
    values = dict.fromkeys(NAMES, 0.8333)
    finished(
        run(monitor="auc"),
        evaluations={"validation": values, "test": {**values, "brier": 0.1}},
        intervals={"validation": {}, "test": dict.fromkeys(NAMES, INTERVAL)},
        dataset={"task": "multiclass"},
    )
    heading, first, second, *_ = capsys.readouterr().err.splitlines()
    assert heading.split() == ["best", "of", "epoch", "1", "validation", "test"]
    assert first.split() == ["accuracy", "0.833", "0.833", "(0.770–0.882)"]
    assert second.startswith("AUC (macro)")
    assert heading.index("test") == first.index("0.833 (") == second.index("0.833 (")


def test_in_a_narrow_terminal_the_results_of_one_split_stand_below_those_of_another(terminal) -> None:
    shown, width = terminal()
    splits = ("validation", "test", "an-external-hospital")
    finished(
        run(monitor="auc"),
        evaluations={split: dict.fromkeys(NAMES, 0.8) for split in splits},
        intervals={split: dict.fromkeys(NAMES, INTERVAL) for split in splits},
        dataset={},
    )
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("best of epoch 1") for line in lines) == (3 if width == 60 else 1)


def test_results_without_intervals_begin_with_the_loss_and_the_monitored_metric(capsys) -> None:
    measured = {**{f"metric {number}": 0.0 for number in range(9)}, "lesion_dice": 0.8, "loss": 0.1}
    finished(run(monitor="lesion_dice"), evaluations={"test": measured})
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines[1:4] == [["loss", "0.1000"], ["lesion", "dice", "0.8000"], ["metric", "0", "0.0000"]]
    assert ["metric", "4", "0.0000"] not in lines, "the report has the others"


def test_a_monitored_metric_without_interval_is_among_the_results_with_intervals(capsys) -> None:
    finished(
        run(monitor="lesion_dice"),
        evaluations={"test": {"auc": 0.9, "lesion_dice": 0.8}},
        intervals={"test": {"auc": [0.8, None]}},
        dataset={},
    )
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["lesion", "dice", "0.8000"] in lines
    assert ["AUC", "0.900"] in lines


def test_a_metric_that_is_undefined_is_a_dash(capsys) -> None:
    Console().epoch_finished(run(), row(0, {"loss": 1.0}, {"loss": 1.0, "recall": float("nan")}))
    finished(evaluations={"test": {"loss": 1.0, "recall": None}})
    lines = capsys.readouterr().err.splitlines()
    assert "nan" not in "".join(lines)
    assert lines[1].split()[1:4] == ["1.0000", "1.0000", "–"]
    assert ["recall", "–"] in [line.split() for line in lines]


def test_without_pages_the_file_of_the_results_is_named(capsys) -> None:
    finished(run(pages=False))
    assert "report   runs/gan/x/report.json" in capsys.readouterr().err


def test_notes_are_wrapped_between_words_and_at_most_four(terminal) -> None:
    shown, width = terminal()
    notes = ["word " * 40, *(f"note number {number}." for number in range(1, 9))]
    finished(notices=["Synthetic data."], summary={"metrics": {}, "tables": [], "notes": notes})
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("note ") for line in lines) == 4
    assert any(line.strip() == "more in the report: 6" for line in lines)
    assert {word for line in lines for word in line.split() if word.startswith("wor")} == {"word"}
    assert "note     note number 2." in lines
    assert "note     note number 4." not in lines
    assert lines.index("note     Synthetic data.") < lines.index("note     note number 1.")


def test_commands_and_paths_are_not_broken_however_long(terminal) -> None:
    shown, _ = terminal()
    command = f"pneumo resume {'very-long-folder/' * 8}x --epochs 400"
    page = Path("a folder " * 12) / "report.html"
    finished(
        run(folder=SimpleNamespace(path=page.parent, report_html=page)),
        notices=[f"It was stopped; go on with: {command}"],
        next=[command, "pneumo list-models"],
    )
    lines = shown.getvalue().splitlines()
    assert f"{'':9}{command}" in lines
    assert f"report   {page}" in lines
    assert lines[-2:] == [f"next     {command}", "         pneumo list-models"]


def test_warnings_of_the_summary_stand_right_before_the_next_commands(capsys) -> None:
    warning = "The generator has collapsed: train longer."
    finished(summary={"notes": [warning, "KID is 3."], "warnings": [warning]})
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [f"warning  {warning}", "next     pneumo list-models"]
    assert sum(warning in line for line in lines) == 1


def test_control_characters_of_names_and_notes_are_shown_escaped(capsys) -> None:
    folder = Path("runs/\x1b[2J\n\u202efdp")
    finished(
        run(folder=SimpleNamespace(path=folder, report_html=folder / "report.html")),
        evaluations={"te\x1b[31mst": {"loss": 1.0}},
        notices=["line\rforged\nnote     forged"],
    )
    shown = capsys.readouterr().err
    assert all(line.isprintable() for line in shown.splitlines())
    assert r"runs/\x1b[2J\n\u202efdp" in shown
    assert not any(line.startswith("note     forged") for line in shown.splitlines())


@pytest.mark.parametrize("parts", [{}, {"summary": {}}])
def test_a_run_without_evaluations_or_summary_has_an_end(parts, capsys) -> None:
    finished(**parts)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "best of epoch 1"
    assert lines[-1] == "next     pneumo list-models"
