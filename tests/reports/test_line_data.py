"""The numbers of a figure's lines, in its PNG file; the files for print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumo_cli.reports.figure_files import FigureFiles
from pneumo_cli.reports.figures import classification, style, training
from pneumo_cli.reports.figures.line_data import KEY, add_values, checked
from pneumo_cli.runs.folder import RunFolder

HISTORY = [
    {"epoch": epoch, "train": {"loss": 1 / (1 + epoch)}, "validation": {"loss": 2.0 if epoch else None}}
    for epoch in range(4)
]


def lines_in(path: Path) -> list[dict[str, Any]]:
    text = Image.open(path).info.get(KEY, "")
    assert checked(text) == text  # what is written is what is read
    return json.loads(text) if text else []


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Figure], list[dict[str, Any]]]:
    def save(figure: Figure) -> list[dict[str, Any]]:
        style.save(figure, tmp_path / "figure.png")
        return lines_in(tmp_path / "figure.png")

    return save


def test_a_curve_is_saved_with_its_values_and_the_place_of_its_axes(saved) -> None:
    (axes,) = saved(training.curve(HISTORY, "loss", best=2))
    assert axes["x"]["label"] == "Epoch"
    first, second = axes["series"]  # without the mark of the selected epoch, which is no curve
    assert (first["label"], first["x"], first["y"][1]) == ("Training", [0, 1, 2, 3], 0.5)
    assert (second["label"], second["x"], second["y"]) == ("Validation", [1, 2, 3], [2, 2, 2])
    left, bottom, width, height = axes["box"]
    assert 0 < left < left + width <= 1
    assert 0 < bottom < bottom + height <= 1


def test_points_of_a_roc_curve_have_their_thresholds_and_chance_is_no_curve(saved) -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(3000) < 0.5).astype(int)
    figure = classification.roc_curve(rng.normal(size=3000) + labels, labels)
    (axes,) = saved(figure)
    curve, *marks = axes["series"]
    assert curve["label"].startswith("AUC")
    assert len(curve["x"]) == len(curve["values"]) == 500
    assert (curve["x"][0], curve["y"][0], curve["x"][-1], curve["y"][-1]) == (0, 0, 1, 1)
    assert curve["values"] == sorted(curve["values"], reverse=True)
    assert all(len(mark["x"]) == 1 for mark in marks)


def test_figures_of_others_get_their_lines_read_with_no_code(saved) -> None:
    figure = Figure()
    above, below = figure.subplots(2)
    above.semilogy([1, 2, 3], [10, 100, 1000])  # alone, so it needs no label
    below.plot([1, 2, 3], [1, 2, 3], label="named")
    below.plot([1, 2, 3], [3, 2, 1])
    below.axhline(2, label="a level")
    below.errorbar([1, 2, 3], [2, 2, 2], yerr=0.1, label="measured")
    log, linear = saved(figure)
    assert (log["y"]["log"], log["series"][0]["y"]) == (True, [10, 100, 1000])
    assert [line["label"] for line in linear["series"]] == ["named", "measured"]


def test_dates_categories_and_polar_axes_have_no_values(saved) -> None:
    figure = Figure()
    figure.add_subplot(221).plot(["a", "b", "c"], [1, 2, 3])
    figure.add_subplot(222).plot(
        np.array(["2026-01-01", "2026-01-02", "2026-01-03"], "datetime64[D]"), [1, 2, 3]
    )
    figure.add_subplot(223, projection="polar").plot([1, 2, 3], [1, 2, 3])
    figure.add_subplot(224, projection="3d").plot([1, 2, 3], [1, 2, 3], [1, 2, 3])
    assert saved(figure) == []


def test_a_figure_without_lines_has_no_values(saved) -> None:
    figure = Figure()
    figure.subplots().imshow(np.zeros((4, 4)))
    assert saved(figure) == []
    assert saved(training.curve([], "loss")) == []


@pytest.mark.parametrize(
    "color", ["#12345g", "#+12345", "1234567", "#1_2345", "#12345\u0663", "#ABCDEF\n", 1234567]
)
def test_a_color_that_is_none_is_not_read(saved, color: object) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2, 3], [1, 2, 3], color="#123456")
    lines = saved(figure)
    assert checked(json.dumps(lines))
    lines[0]["series"][0]["color"] = color
    assert checked(json.dumps(lines)) == ""


def test_values_that_are_not_one_per_point_are_left_out(saved) -> None:
    figure = Figure()
    (line,) = figure.subplots().plot([1, 2, 3], [1, 2, 3])
    add_values(line, "Threshold", [1, 2])
    assert "values" not in saved(figure)[0]["series"][0]


def test_figures_for_print_are_a_pdf_with_text_and_pixels_at_300_dpi(tmp_path: Path) -> None:
    files = FigureFiles(RunFolder(tmp_path), pytest.fail, for_print=True)
    files.add(
        lambda: training.curve(HISTORY, "loss"), "figures/loss", "Loss", "training", alternative="It falls."
    )
    files.draw()
    assert files.listed[0]["alternative"] == "It falls."
    vector = (tmp_path / "figures/loss.pdf").read_bytes()
    assert vector.startswith(b"%PDF")
    assert b"/FontFile2" in vector  # the font is in the file, so its text can be selected
    with Image.open(tmp_path / "figures/loss-300dpi.png") as picture:
        assert round(picture.info["dpi"][0]) == 300
        assert picture.width == round(style.COLUMN * 300)
    plain = FigureFiles(RunFolder(tmp_path / "plain"), pytest.fail)
    plain.add_unlisted(lambda: training.curve(HISTORY, "loss"), "loss")
    plain.draw()
    assert [file.name for file in (tmp_path / "plain").iterdir()] == ["loss.png"]
