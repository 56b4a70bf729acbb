"""Galleries show every image at its own gray levels, labelled and in place; plots are labelled."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumo_cli.reports.figures.galleries import Row, distance_histogram, image_grid, labelled_rows, lines
from pneumo_cli.reports.figures.style import COLUMN, PAGE, save


def flat(levels: list[float], dtype: type = np.uint8) -> np.ndarray:
    """One uniform image of 8 px per level."""
    return np.stack([np.full((8, 8), level, dtype) for level in levels])


def pixels(figure: Figure, tmp_path: Path) -> np.ndarray:
    """The pixels of the saved figure: uint8 [height, width, 3]."""
    save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        return np.asarray(image.convert("RGB"))


def shown(figure: Figure, tmp_path: Path) -> np.ndarray:
    """The colour in the middle of every image of a figure, from the pixels of its file: [N, 3]."""
    picture = pixels(figure, tmp_path)
    height, width = picture.shape[:2]
    boxes = [axes.get_position() for axes in figure.axes]
    places = [
        (int((1 - (box.y0 + box.y1) / 2) * height), int((box.x0 + box.x1) / 2 * width)) for box in boxes
    ]
    return np.array([picture[place] for place in places], np.int64)


def assert_levels(figure: Figure, levels: list[int], tmp_path: Path) -> None:
    """The images of a figure are gray, with these levels within 1 by rounding."""
    colours = shown(figure, tmp_path)
    assert colours.shape == (len(levels), 3)
    assert np.abs(colours - np.array(levels)[:, None]).max() <= 1


def words(figure: Figure) -> list[str]:
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    found += [text for axes in figure.axes for text in axes.findobj(mpl.text.Text)]
    return [text.get_text() for text in found if text.get_text()]


def history(epochs: int, **sides: dict[str, float | None]) -> list[dict]:
    return [{"epoch": epoch, "train": {}, "validation": {}, **sides} for epoch in range(epochs)]


# --- galleries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 2), (9, 3), (16, 4), (17, 5)])
def test_a_grid_is_nearly_square(count: int, columns: int) -> None:
    figure = image_grid(np.zeros((count, 8, 8), np.uint8))
    assert len(figure.axes) == count
    assert len({round(axes.get_position().x0, 6) for axes in figure.axes}) == columns
    assert figure.get_figwidth() == PAGE
    assert not words(figure)


def test_images_are_placed_row_by_row_at_their_own_gray_levels(tmp_path: Path) -> None:
    figure = image_grid(flat([0, 60, 120, 180, 240]), columns=3)
    assert_levels(figure, [0, 60, 120, 180, 240], tmp_path)
    rows = {round(axes.get_position().y0, 6): [] for axes in figure.axes}
    assert list(rows) == sorted(rows, reverse=True), "the first row is the upper one"


def test_bytes_and_fractions_look_the_same_and_values_outside_are_clipped(tmp_path: Path) -> None:
    as_bytes = pixels(image_grid(flat([0, 51, 102, 255])), tmp_path)
    as_fractions = pixels(image_grid(flat([-3.0, 0.2, 0.4, 7.0], np.float32)), tmp_path)
    # Equal but for the rounding of two different scalings.
    assert np.abs(as_bytes.astype(np.int64) - as_fractions).max() <= 1


def test_images_keep_their_proportions(tmp_path: Path) -> None:
    figure = image_grid(np.zeros((4, 20, 10), np.uint8))
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(2, rel=0.01)


def test_small_images_are_smoothed(tmp_path: Path) -> None:
    step = np.zeros((1, 4, 4))
    step[:, :, 2:] = 1
    middle = pixels(image_grid(step), tmp_path)[120, :, 0]
    inside = middle[np.flatnonzero(middle < 255)[0] : np.flatnonzero(middle < 255)[-1]]
    assert len(np.unique(inside)) > 10, "there are many grays between black and white"


def test_rows_have_labels_at_the_left_and_texts_below_their_columns(tmp_path: Path) -> None:
    figure = labelled_rows(
        [("generated", flat([10, 20, 30])), ("nearest in training", flat([40, 50, 60]))],
        below=["0.11", "0.22", "0.33"],
    )
    assert_levels(figure, [10, 20, 30, 40, 50, 60], tmp_path)
    first_column = min(axes.get_position().x0 for axes in figure.axes)
    labels = {text.get_text(): text for text in figure.texts}
    upper, lower = labels["generated"], labels["nearest in\ntraining"]
    for label in (upper, lower):
        assert label.get_window_extent().x1 < first_column * figure.bbox.width
    assert upper.get_position()[1] > lower.get_position()[1]
    for text, axes in zip(("0.11", "0.22", "0.33"), figure.axes[3:], strict=True):
        box = axes.get_position()
        x, y = labels[text].get_position()
        assert x == pytest.approx((box.x0 + box.x1) / 2)
        assert labels[text].get_window_extent().y1 <= box.y0 * figure.bbox.height
        assert y > 0


def test_an_error_map_has_a_colour_bar(tmp_path: Path) -> None:
    error = Row("Absolute error", flat([0.0, 0.125, 0.25], np.float64), colour="magma", highest=0.25)
    figure = labelled_rows([("Original", flat([0.0, 0.5, 1.0], np.float64)), error])
    magma = mpl.colormaps["magma"]
    colours = shown(figure, tmp_path)
    by_place = {
        tuple(axes.get_position().bounds): colour for axes, colour in zip(figure.axes, colours, strict=True)
    }
    lower = [colour for place, colour in sorted(by_place.items()) if place[1] < 0.4 and place[0] > 0.13]
    expected = [[round(255 * part) for part in magma(value)[:3]] for value in (0.0, 0.5, 1.0)]
    assert np.abs(np.array(lower) - expected).max() <= 3
    assert {"0", "0.25"} <= set(words(figure))


def test_long_and_hostile_labels_neither_cover_images_nor_become_formulas(tmp_path: Path) -> None:
    images = flat([10, 20, 30, 40, 50, 60, 70, 80, 90])
    figure = labelled_rows([("$\\frac{ " * 40, images), ("x" * 200, images)], below=["$\\oops$" * 20] * 9)
    assert_levels(figure, [*range(10, 100, 10), *range(10, 100, 10)], tmp_path)
    for text in figure.texts[:2]:
        assert text.get_window_extent().x1 < figure.axes[0].get_window_extent().x0
    assert any("\\frac" in text for text in words(figure))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("a", np.zeros((0, 8, 8)))],
        [("a", np.zeros((8, 8)))],
        [("a", np.zeros((2, 8, 8))), ("b", np.zeros((3, 8, 8)))],
        [("a", np.zeros((2, 8, 8))), ("b", np.zeros((2, 8, 9)))],
        [("a", np.array([[["x"]]]))],
    ],
)
def test_rows_that_do_not_fit_together_are_errors(rows: list) -> None:
    with pytest.raises(ValueError, match="labelled_rows"):
        labelled_rows(rows)


def test_an_empty_grid_and_texts_that_do_not_fit_the_columns_are_errors() -> None:
    with pytest.raises(ValueError, match="image_grid"):
        image_grid(np.zeros((0, 8, 8)))
    with pytest.raises(ValueError, match="2 texts below 3 columns"):
        labelled_rows([("a", np.zeros((3, 8, 8)))], below=["x", "y"])


# --- plots -----------------------------------------------------------------------------------------------------


def test_the_histogram_compares_sets_of_different_size_by_shares_in_the_same_bins() -> None:
    rng = np.random.default_rng(0)
    figure = distance_histogram(
        {"generated": rng.normal(0.5, 0.1, 1000), "held-out": rng.normal(0.7, 0.1, 60)},
        threshold=0.45,
        label="Distance to the nearest training image",
    )
    (axes,) = figure.axes
    first, second = (patch.get_data() for patch in axes.patches)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert first.values.sum() == pytest.approx(1)
    assert second.values.sum() == pytest.approx(1)
    assert axes.get_xlabel() == "Distance to the nearest training image"
    assert {"generated (n = 1,000)", "held-out (n = 60)", "threshold 0.45"} <= set(words(figure))
    assert axes.lines[0].get_xdata()[0] == 0.45
    low, high = axes.get_xlim()
    assert low < 0.45 < high
    assert axes.patches[0].get_linestyle() != axes.patches[1].get_linestyle()
    assert figure.get_figwidth() == COLUMN


def test_the_threshold_is_visible_even_far_from_all_distances() -> None:
    (axes,) = distance_histogram({"a": np.full(5, 3.0)}, threshold=0.0, label="Distance").axes
    low, high = axes.get_xlim()
    assert low <= 0 < 3 <= high


def test_sets_without_a_finite_distance_are_left_out(tmp_path: Path) -> None:
    figure = distance_histogram(
        {"none": np.array([]), "lost": np.array([np.nan, np.inf]), "one": np.array([0.2, np.nan])},
        threshold=0.1,
        label="Distance",
    )
    assert [word for word in words(figure) if "n =" in word] == ["one (n = 1)"]
    assert "no values" in words(distance_histogram({}, threshold=0.1, label="Distance"))


def test_two_losses_share_one_axes_and_differ_in_more_than_colour() -> None:
    entries = history(5, train={"generator_loss": 0.7, "discriminator_loss": 1.3})
    names = {"generator_loss": "Generator", "discriminator_loss": "Discriminator", "gone": "Not there"}
    figure = lines(entries, names, best=3)
    (axes,) = figure.axes
    generator, discriminator, selected = axes.lines
    assert generator.get_ydata().tolist() == [0.7] * 5
    assert discriminator.get_ydata().tolist() == [1.3] * 5
    assert generator.get_linestyle() != discriminator.get_linestyle()
    assert generator.get_marker() != discriminator.get_marker()
    assert selected.get_xdata()[0] == 3
    assert {"Generator", "Discriminator", "Selected: epoch 3"} <= set(words(figure))
    assert "Not there" not in words(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Loss")


def test_missing_values_are_gaps_either_side_can_be_shown_and_an_empty_figure_has_a_text() -> None:
    entries = history(3, validation={"kid": 0.5})
    entries[1]["validation"] = {"kid": None}
    figure = lines(entries, {"kid": "KID"}, side="validation", label="KID")
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()).tolist() == [True, False, True]
    assert "no values" in words(lines(entries, {"kid": "KID"}))
    assert "no values" in words(lines([], {"kid": "KID"}, best=1))
