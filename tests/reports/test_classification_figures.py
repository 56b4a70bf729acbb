"""Figures of predictions show areas, intervals, operating points and calibration."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from pneumo_cli.evaluation.calibration import reliability
from pneumo_cli.reports.figures import classification
from pneumo_cli.reports.figures.style import COLUMN, save

FOUR = ([-2.0, -1.0, 1.0, 2.0], [0, 0, 0, 1])
CURVES = (classification.roc_curve, classification.precision_recall_curve)


def texts(figure: Figure) -> str:
    """All texts of a figure."""
    found = [text.get_text() for axes in figure.axes for text in axes.findobj(mpl.text.Text)]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join([*found, *(text.get_text() for text in figure.texts)])


def line(figure: Figure, label: str) -> mpl.lines.Line2D:
    """The line of a figure whose label contains a text."""
    (found,) = (one for axes in figure.axes for one in axes.lines if label in str(one.get_label()))
    return found


def test_the_roc_curve_shows_auc_number_of_images_chance_and_threshold() -> None:
    figure = classification.roc_curve(*FOUR)
    words = texts(figure)
    assert "AUC 1.000\n4 images, 1 positive" in words
    assert "Chance" in words
    assert "threshold 0.5: 1.000 / 0.667" in words
    marked = line(figure, "threshold 0.5")
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == pytest.approx((1 / 3, 1.0))
    assert "specificity" in figure.axes[0].get_xlabel()
    assert figure.get_figwidth() == COLUMN


def test_the_precision_recall_curve_shows_average_precision_prevalence_and_threshold() -> None:
    words = texts(classification.precision_recall_curve(*FOUR))
    assert "AP 1.000\n4 images, 1 positive" in words
    assert "prevalence 0.250" in words
    assert "threshold 0.5: 1.000 / 0.500" in words


@pytest.mark.parametrize("draw", CURVES)
def test_curves_show_the_interval_of_their_area_and_a_band(draw) -> None:
    x = np.linspace(0, 1, 11)
    low, high = np.full(11, 0.4), np.full(11, 0.9)
    figure = draw(*FOUR, band=(x, low, high), interval=(0.61, 0.99))
    assert "(95 %: 0.610 to 0.990)" in texts(figure)
    assert "95 % band" in texts(figure)
    (band,) = figure.axes[0].collections
    corners = band.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (0.4, 0.9)
    assert not draw(*FOUR).axes[0].collections


def test_every_operating_point_is_marked_at_its_threshold_with_a_marker_of_its_own() -> None:
    figure = classification.roc_curve(*FOUR, points={"default": 0.0, "strict": 1.5, "lax": -1.5})
    marks = [line(figure, name) for name in ("default", "strict", "lax")]
    places = [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks]
    np.testing.assert_allclose(places, [(1 / 3, 1), (0, 1), (2 / 3, 1)])
    assert len({mark.get_marker() for mark in marks}) == 3
    assert len({mark.get_color() for mark in marks}) == 3
    assert "Sensitivity / specificity at" in texts(figure)


@pytest.mark.parametrize("draw", CURVES)
def test_coinciding_points_are_one_mark_with_all_their_names(draw) -> None:
    figure = draw(*FOUR, points={"screening": 0.0, "cost": 0.1})
    assert "screening, cost: " in texts(figure)
    assert len([one for one in figure.axes[0].lines if len(one.get_xdata()) == 1]) == 1


def test_a_threshold_without_positive_predictions_is_not_marked() -> None:
    words = texts(classification.precision_recall_curve([-2.0, -1.0], [0, 1]))
    assert "threshold" not in words
    assert "Recall / precision at" not in words


@pytest.mark.parametrize("draw", CURVES)
def test_curves_of_one_class_are_errors(draw) -> None:
    with pytest.raises(ValueError, match=r"both classes|every label"):
        draw([0.0, 1.0], [1, 1])


def test_the_reliability_diagram_shows_frequencies_their_intervals_and_numbers_of_images() -> None:
    bins = reliability([0.05, 0.06, 0.95, 0.96, 0.97, 1.0], [0, 1, 1, 1, 1, 1])
    figure = classification.reliability_diagram(bins, positive="PNEUMONIA")
    shares, counts = figure.axes
    (bars,) = shares.containers
    points, _, (errors,) = bars
    np.testing.assert_allclose(points.get_xydata(), [(0.055, 0.5), (0.97, 1.0)])
    np.testing.assert_allclose(
        [[end[1] for end in one] for one in errors.get_segments()],
        list(zip(bins.low, bins.high, strict=True)),
    )
    assert [bar.get_height() for bar in counts.patches] == [2, 4]
    assert [bar.get_x() + bar.get_width() / 2 for bar in counts.patches] == pytest.approx([0.05, 0.95])
    assert "PNEUMONIA" in shares.get_ylabel()
    assert "PNEUMONIA" in counts.get_xlabel()
    assert "temperature" not in texts(figure)


def test_the_reliability_diagram_shows_probabilities_before_and_after_calibration() -> None:
    before, after = reliability([0.01, 0.99], [0, 1]), reliability([0.2, 0.8], [0, 1])
    figure = classification.reliability_diagram(before, after)
    first, second = figure.axes[0].containers
    assert (first.get_label(), second.get_label()) == ("Before calibration", "After calibration")
    assert first[0].get_linestyle() != second[0].get_linestyle()
    assert figure.axes[0].get_legend() is None, "a legend in the axes would hide data"
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    place = legend.get_window_extent()
    assert 0 <= place.x0 < place.x1 <= figure.bbox.width, "no label is clipped"
    bars = figure.axes[1].patches
    assert not any(
        bar.get_x() < other.get_x() + other.get_width() - 1e-9 and other.get_x() < bar.get_x() - 1e-9
        for bar in bars
        for other in bars
    ), "the bars do not overlap"


def test_predictive_values_follow_bayes_theorem() -> None:
    figure = classification.predictive_values({"default": (0.9, 0.8)}, 0.625, classes=("NORMAL", "PNEUMONIA"))
    (axes,) = figure.axes
    positive, negative = axes.lines[:2]
    prevalence = positive.get_xdata()
    np.testing.assert_allclose(
        positive.get_ydata(), 0.9 * prevalence / (0.9 * prevalence + 0.2 * (1 - prevalence))
    )
    np.testing.assert_allclose(
        negative.get_ydata(), 0.8 * (1 - prevalence) / (0.8 * (1 - prevalence) + 0.1 * prevalence)
    )
    assert prevalence[0] < 0.01
    assert prevalence[-1] > 0.95
    words = texts(figure)
    for expected in (
        "PPV: predicted PNEUMONIA",
        "NPV: predicted NORMAL",
        "these images: 62 %",
        "1 %",
        "50 %",
    ):
        assert expected in words
    assert line(figure, "these images").get_xdata()[0] == 0.625


@pytest.mark.parametrize("prevalence", [None, 0.0, 1.0])
def test_a_split_of_one_class_marks_no_prevalence(prevalence: float | None) -> None:
    assert "these images" not in texts(classification.predictive_values({"default": (0.0, 1.0)}, prevalence))


def test_names_are_never_rendered_as_formulas(tmp_path: Path) -> None:
    hostile = "$\\frac{"
    for figure in (
        classification.roc_curve(*FOUR, points={hostile: 0.0}),
        classification.precision_recall_curve(*FOUR, points={hostile: 0.0}),
        classification.reliability_diagram(reliability([0.5], [1]), positive=hostile),
        classification.predictive_values({hostile: (0.9, 0.9)}, 0.5, classes=(hostile, "b")),
    ):
        assert hostile in texts(figure)
        save(figure, tmp_path / "figure.png")
