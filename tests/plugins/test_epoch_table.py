"""The table of epochs: no line is wider than the terminal, and no value runs into its neighbour."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.plugins.epoch_table import EpochTable, clock
from pneumo_cli.runtime.terminal import display_width

GAN = {"generator_loss": 0.7, "discriminator_loss": 1.4, "real_score": 0.5, "fake_score": 0.5}
CLASSIFIER = {"auc": 0.97, "accuracy": 0.88, "precision": 0.875, "recall": 0.9775, "f1": 0.92, "loss": 0.2}


def row(
    epoch: int, train: dict[str, float], validation: dict[str, float], speed: float | None = None
) -> dict[str, Any]:
    speeds = {} if speed is None else {"images_per_second": speed}
    times = {"learning_rate": 1e-4, "seconds": 3.0}
    return {"epoch": epoch, "train": train, "validation": validation, **times, **speeds}


def table(monitored: str = "auc", side: str = "validation", epochs: int = 8) -> EpochTable:
    return EpochTable(epochs, monitored, side)


def headings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.lstrip().startswith("epoch")]


def named(heading: str) -> list[str]:
    return [name.strip() for name in heading.split("  ") if name.strip()]


def test_a_narrow_terminal_keeps_the_losses_the_monitored_metric_and_the_time() -> None:
    measured = row(1, {"loss": 0.3}, {**CLASSIFIER, "loss": 0.2}, 120.0)
    shown = {width: table().lines(measured, width, best=True) for width in (60, 80, 120)}
    for width, lines in shown.items():
        assert max(map(display_width, lines)) <= width
    first = {width: named(headings(lines)[0]) for width, lines in shown.items()}
    assert first[60] == ["epoch", "train loss", "val loss", "val AUC", "val F1", "time"]
    assert first[80][:5] == ["epoch", "train loss", "val loss", "val AUC", "val accuracy"]
    assert first[120] == [
        *(
            "epoch",
            "train loss",
            "val loss",
            "val AUC",
            "val accuracy",
            "val precision",
            "val recall",
            "val F1",
        ),
        *("lr", "img/s", "time"),
    ]
    assert shown[60][0] == "also in metrics.jsonl: val accuracy and 4 more"
    assert not any("also" in line for line in shown[120])


def test_what_is_left_out_is_said_once() -> None:
    epochs = table()
    first = epochs.lines(row(0, {"loss": 0.3}, CLASSIFIER), 60, best=False)
    second = epochs.lines(row(1, {"loss": 0.3}, CLASSIFIER), 60, best=False)
    assert (len(first), len(second)) == (3, 1)


def test_a_training_loss_that_epoch_0_lacks_has_a_column_from_epoch_1_on() -> None:
    epochs = table()
    untrained = epochs.lines(row(0, {"auc": 0.5}, {"auc": 0.5}), 100, best=False)
    trained = epochs.lines(row(1, {"auc": 0.9, "loss": 0.31}, {"auc": 0.8}, 9.0), 100, best=False)
    third = epochs.lines(row(2, {"auc": 0.9, "loss": 0.3}, {"auc": 0.8}, 9.0), 100, best=False)
    assert "loss" not in untrained[-2]
    assert "train loss" in trained[-2]
    assert trained[-1].split()[1] == "0.3100"
    assert len(third) == 1, "the heading is repeated where columns change only"


def test_a_resumed_run_begins_with_the_columns_of_its_earlier_epochs() -> None:
    epochs = table()
    epochs.see(row(0, {"loss": 1.0}, {"loss": 1.0, "auc": 0.5}))
    lines = epochs.lines(row(3, {}, {"auc": 0.8}), 100, best=False)
    assert named(lines[0])[:4] == ["epoch", "train loss", "val loss", "val AUC"]
    assert lines[1].split()[1:4] == ["–", "–", "0.800"]


def test_without_validation_the_metrics_are_those_of_training_under_short_names() -> None:
    lines = table("generator_loss", "train").lines(row(1, {**GAN, "loss": 2.1}, {}), 80, best=True)
    assert named(headings(lines)[0])[:6] == [
        *("epoch", "loss", "gen loss", "disc loss", "real score", "fake score")
    ]
    assert lines[-1].split()[1:6] == ["2.1000", "0.7000", "1.4000", "0.500", "0.500"]
    assert lines[-1].endswith("  best")


def test_a_metric_monitored_on_the_training_images_stands_beside_those_of_validation() -> None:
    lines = table("energy", "train").lines(
        row(0, {"loss": 1.0, "energy": 2.0, "y": 1.0}, {"loss": 3.0, "xi": 4.0}), 120, best=False
    )
    assert named(lines[0])[:5] == ["epoch", "train loss", "val loss", "train energy", "val xi"]


def test_metrics_of_other_trainers_have_readable_names() -> None:
    measured = {"mae": 1.5, "lesion_dice": 0.8, "mean_iou": 0.7, "psnr": 20.0, "a" * 60: 1.0}
    heading = headings(table("mae").lines(row(1, {}, measured), 120, best=False))[0]
    assert named(heading)[1:5] == ["MAE", "lesion dice", "mean IOU", "PSNR"]
    assert "a" * 30 not in heading


@pytest.mark.parametrize("value", [1e12, -1e12, 1e300, -1e-300, -123.45678, 1e-9, math.nan, math.inf, 0.0])
def test_any_value_stays_within_its_column(value: float) -> None:
    measured = dict.fromkeys(CLASSIFIER, value)
    lines = table().lines(row(1, {"loss": value}, measured, abs(value)), 120, best=True)
    (heading,) = headings(lines)
    assert len(lines[-1].removesuffix("  best")) == len(heading)
    assert len(lines[-1].split()) == len(named(heading)) + 1


def test_a_speed_of_millions_is_shown_short() -> None:
    assert "  1.8e+06  " in table().lines(row(1, {}, {"auc": 0.5}, 1_821_395.0), 100, best=False)[-1]


@given(
    st.integers(40, 200),
    st.integers(0, 100_000),
    st.dictionaries(
        st.sampled_from(["loss", "auc", "胸_dice", "mae", "x" * 90, "f1"]), st.floats(), min_size=1
    ),
    st.floats(0, 1e8),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, epoch: int, measured: dict[str, float], seconds: float
) -> None:
    measured_row = {**row(epoch, measured, measured, 1e9), "seconds": seconds}
    for line in EpochTable(100_000, "auc", "validation").lines(measured_row, width, best=True):
        assert display_width(line) <= width


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0:00"), (68, "1:08"), (3723, "1:02:03"), (500_000, "138 h")]
)
def test_durations_stay_short(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
