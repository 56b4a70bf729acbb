"""Output of a run on stderr: a row per epoch below a heading, the results, and notes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo_cli.plugins.console import Console

GAN = {"generator_loss": 0.7, "discriminator_loss": 1.4, "real_score": 0.5, "fake_score": 0.5}


def row(epoch: int, train: dict[str, float], validation: dict[str, float]) -> dict[str, Any]:
    times = {"learning_rate": 1e-4, "seconds": 3.0}
    return {"epoch": epoch, "train": train, "validation": validation, **times}


def run(epochs: int = 2, monitor: str = "generator_loss", side: str = "train", pages: bool = True) -> Any:
    path = Path("runs/gan/x")
    folder = SimpleNamespace(path=path, report_html=path / "report.html", report_json=path / "report.json")
    best = SimpleNamespace(epoch=1)
    settings = SimpleNamespace(epochs=epochs)
    monitored = SimpleNamespace(metric=monitor, side=side)
    machine = SimpleNamespace(report=pages)
    return SimpleNamespace(monitor=monitored, settings=settings, best=best, folder=folder, machine=machine)


def finished(console: Console, of: Any = None, **parts: Any) -> None:
    report = {"evaluations": {}, "notices": [], "run": {"seconds": 65.0}, "next": ["pneumo list-models"]}
    console.run_finished(of or run(), {**report, **parts})


def test_without_validation_the_training_metrics_are_shown_under_short_names(capsys) -> None:
    console = Console()
    for epoch in (0, 1):
        console.epoch_finished(run(), row(epoch, {**GAN, "loss": 2.1}, {}))
    heading, first, second = capsys.readouterr().err.splitlines()
    names = ["train loss", "train gen loss", "train disc loss", "train real score", "train fake score"]
    places = [heading.index(name) + len(name) for name in names]
    assert places == sorted(places)
    for line in (first, second):
        assert "nan" not in line
        values = [line[:place].split()[-1] for place in places]
        assert values == ["2.1000", "0.7000", "1.4000", "0.5000", "0.5000"], "each below its name"
    assert second.endswith("best")


def test_at_most_six_metrics_are_shown(capsys) -> None:
    Console().epoch_finished(run(), row(0, {f"m{number}": 0.0 for number in range(9)}, {}))
    heading = capsys.readouterr().err.splitlines()[0]
    assert "train m5" in heading
    assert "m6" not in heading


def test_with_validation_its_metrics_are_shown(capsys) -> None:
    Console().epoch_finished(run(), row(0, {"loss": 1.0, "x": 2.0}, {**GAN, "kid": 0.0123}))
    heading, values = capsys.readouterr().err.splitlines()
    assert "train loss  val gen loss  val disc loss" in heading
    assert "val kid" in heading
    assert "train x" not in heading
    assert "0.0123" in values


def test_the_monitored_metric_comes_first_whatever_its_name(capsys) -> None:
    names = [f"m{number}" for number in range(9)]
    monitored = run(monitor="lesion_dice", side="validation")
    measured = {"loss": 0.1, **dict.fromkeys(names, 0.0), "lesion_dice": 0.8}
    console = Console()
    console.epoch_finished(monitored, row(0, {"loss": 1.0}, measured))
    finished(console, of=monitored, evaluations={"test": measured})
    heading, _, results, values, *_ = capsys.readouterr().err.splitlines()
    assert "train loss  val loss  val lesion dice  val m0" in heading
    assert "m5" not in heading
    assert results.split() == ["best", "of", "epoch", "1", "loss", "lesion", "dice", "m0", "m1", "m2", "m3"]
    assert values.split()[:3] == ["test", "0.1000", "0.8000"]


def test_a_metric_monitored_on_the_training_images_is_shown_beside_those_of_validation(capsys) -> None:
    Console().epoch_finished(
        run(monitor="energy"), row(0, {"loss": 1.0, "energy": 2.0}, {"loss": 3.0, "x": 4.0})
    )
    assert "train loss  val loss  train energy  val x" in capsys.readouterr().err


def test_a_monitored_metric_without_interval_is_among_the_results_with_intervals(capsys) -> None:
    finished(
        Console(),
        of=run(monitor="lesion_dice"),
        evaluations={"test": {"auc": 0.9, "lesion_dice": 0.8}},
        intervals={"test": {"auc": [0.8, None]}},
        dataset={},
    )
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["lesion", "dice", "0.8000"] in lines
    assert ["auc", "0.9000"] in lines


def test_a_metric_that_is_undefined_is_a_dash(capsys) -> None:
    console = Console()
    console.epoch_finished(run(), row(0, {"loss": 1.0}, {"loss": 1.0, "recall": float("nan")}))
    finished(console, evaluations={"test": {"loss": 1.0, "recall": None}})
    lines = capsys.readouterr().err.splitlines()
    assert "nan" not in "".join(lines)
    assert lines[1].split()[1:4] == ["1.0000", "1.0000", "–"]
    assert lines[3].split() == ["test", "1.0000", "–"]


def test_without_pages_the_file_of_the_results_is_named(capsys) -> None:
    finished(Console(), of=run(pages=False))
    assert "report   runs/gan/x/report.json" in capsys.readouterr().err


def test_without_a_monitored_metric_no_epoch_is_the_best(capsys) -> None:
    console, unmonitored = Console(), run(monitor="")
    console.epoch_finished(unmonitored, row(1, GAN, {}))
    finished(console, of=unmonitored)
    lines = capsys.readouterr().err.splitlines()
    assert not any("best" in line for line in lines)
    assert "epoch 1" in lines


def test_notes_are_wrapped_and_at_most_four(capsys) -> None:
    notes = ["word " * 40, *(f"note number {number}." for number in range(1, 9))]
    finished(
        Console(),
        notices=["Synthetic data."],
        evaluations={"test": {"generator_loss": 0.25}},
        summary={"metrics": {}, "tables": [], "notes": notes},
    )
    error = capsys.readouterr().err
    lines = error.splitlines()
    assert max(map(len, lines)) <= 110
    assert sum(line.startswith("note ") for line in lines) == 1 + 4
    assert "note number 3." in error
    assert "note number 4." not in error
    assert lines.index("note     Synthetic data.") < lines.index("note     note number 1.")
    (title,) = (line for line in lines if "gen loss" in line)
    (values,) = (line for line in lines if line.startswith("test"))
    assert len(title) == len(values)


@pytest.mark.parametrize("parts", [{}, {"summary": {}}])
def test_a_run_without_evaluations_or_summary_has_an_end(parts, capsys) -> None:
    finished(Console(), **parts)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "best of epoch 1"
    assert lines[-1] == "next     pneumo list-models"
