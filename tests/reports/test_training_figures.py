"""Figures of a training run have labels and counts, in the house style, for ordinary and unusual data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumo_cli.reports.figures import training
from pneumo_cli.reports.figures.style import COLUMN, PAGE, save


def history(epochs: int) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train": {"loss": 1 / (epoch + 1), "accuracy": 1 - 0.5 / (epoch + 1)},
            "validation": {"loss": 1.2 / (epoch + 1), "accuracy": 0.95 - 0.5 / (epoch + 1)},
            "learning_rate": 0.01 * 0.5 ** (epoch // 5),
        }
        for epoch in range(epochs + 1)
    ]


def texts(figure: Figure) -> str:
    """All texts of a figure."""
    found = [text.get_text() for axes in figure.axes for text in axes.findobj(mpl.text.Text)]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join([*found, *(text.get_text() for text in figure.texts)])


def pixels(figure: Figure, tmp_path: Path) -> np.ndarray:
    save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("epochs", [0, 1, 3, 200])
def test_a_curve_has_labelled_axes_whole_epochs_and_two_distinguishable_lines(epochs: int) -> None:
    figure = training.curve(history(epochs), "accuracy", best=epochs)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Accuracy")
    low, high = axes.get_xlim()
    assert all(float(tick).is_integer() for tick in axes.get_xticks() if low <= tick <= high)
    train, validation = axes.lines[:2]
    assert len(train.get_xdata()) == epochs + 1
    assert train.get_linestyle() != validation.get_linestyle()
    assert train.get_marker() != validation.get_marker()
    assert f"Selected: epoch {epochs}" in texts(figure)
    assert figure.get_figwidth() == COLUMN


def test_missing_none_and_nan_values_are_gaps() -> None:
    entries = history(5)
    entries[1]["validation"] = None
    entries[2]["validation"] = {}
    entries[3]["validation"]["accuracy"] = None
    entries[4]["validation"]["accuracy"] = float("nan")
    figure = training.curve(entries, "accuracy")
    train, validation = figure.axes[0].lines
    assert np.isfinite(train.get_ydata()).all()
    assert np.isfinite(validation.get_ydata()).tolist() == [True, False, False, False, False, True]


def test_a_side_without_values_is_left_out_and_an_empty_figure_has_a_text() -> None:
    entries = [{"epoch": 0, "train": {"generator_loss": 1.0}}, {"epoch": 1, "train": {"generator_loss": 0.5}}]
    figure = training.curve(entries, "generator_loss")
    assert len(figure.axes[0].lines) == 1
    assert figure.axes[0].get_ylabel() == "Generator loss"
    assert "no values" in texts(training.curve([], "loss"))
    assert "no values" in texts(training.curve(history(2), "dice"))


def test_the_label_of_a_curve_can_carry_its_own_unit() -> None:
    figure = training.curve(history(2), "loss", label="Loss (nats per image)")
    assert figure.axes[0].get_ylabel() == "Loss (nats per image)"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_panels_have_one_axes_per_metric_and_one_legend(count: int) -> None:
    names = ["accuracy", "loss", "precision", "recall", "f1"][:count]
    figure = training.curves(history(4), names, best=4)
    labelled = [axes for axes in figure.axes if axes.axison]
    assert len(labelled) == count
    assert all(axes.get_ylabel() and axes.get_xlabel() == "Epoch" for axes in labelled)
    legends = figure.legends + [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert len(legends) == 1
    assert figure.get_figwidth() == PAGE


def test_panels_without_a_metric_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one metric"):
        training.curves(history(1), [])


def test_the_learning_rate_is_logarithmic_only_where_it_spans_more_than_a_power_of_ten() -> None:
    assert training.learning_rate(history(3)).axes[0].get_yscale() == "linear"
    figure = training.learning_rate(history(40))
    assert figure.axes[0].get_yscale() == "log"
    assert "Learning rate" in figure.axes[0].get_ylabel()
    training.learning_rate([])
    training.learning_rate([{"epoch": 0, "learning_rate": None}])


def test_the_confusion_matrix_shows_counts_and_shares_of_the_true_class() -> None:
    figure = training.confusion_matrix([[90, 144], [3, 387]], ["NORMAL", "PNEUMONIA"])
    words = texts(figure)
    for expected in ("90\n38.5 %", "144\n61.5 %", "3\n0.8 %", "387\n99.2 %", "NORMAL\nn = 234"):
        assert expected in words
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("Prediction", "Truth")


def test_text_in_the_confusion_matrix_contrasts_with_its_shade() -> None:
    figure = training.confusion_matrix([[99, 1], [50, 50]], ["a", "b"])
    (axes,) = figure.axes
    shades = axes.images[0].to_rgba(axes.images[0].get_array())
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        background = shades[row, column, :3] @ (0.299, 0.587, 0.114)
        foreground = np.array(mpl.colors.to_rgb(text.get_color())) @ (0.299, 0.587, 0.114)
        assert abs(background - foreground) > 0.4


def test_a_class_without_images_is_shown_and_an_invalid_shape_is_an_error() -> None:
    assert "no image" in texts(training.confusion_matrix([[0, 0], [1, 2]], ["a", "b"]))
    with pytest.raises(ValueError, match=r"of 2 classes is \[2, 2\], not \[1, 3\]"):
        training.confusion_matrix([[1, 2, 3]], ["a", "b"])


def test_class_balance_shows_every_count_and_ratio() -> None:
    rows = [
        {"split": "train", "counts": {"NORMAL": 1017, "PNEUMONIA": 2907}, "ratio": 2.86},
        {"split": "test", "counts": {"NORMAL": 234, "PNEUMONIA": 390}},
    ]
    figure = training.class_balance(rows)
    words = texts(figure)
    for expected in ("1,017", "2,907", "234", "390", "train\nn = 3,924\n1 : 2.86", "test\nn = 624"):
        assert expected in words
    assert figure.axes[0].get_ylabel() == "Images"
    first, second = figure.axes[0].containers
    assert first[0].get_hatch() != second[0].get_hatch()


def test_class_balance_leaves_out_an_empty_class_and_keeps_an_empty_split() -> None:
    rows = [
        {"split": "train", "counts": {"NORMAL": 0, "PNEUMONIA": 3485}, "ratio": None},
        {"split": "validation", "counts": {"NORMAL": 0, "PNEUMONIA": 0}},
    ]
    words = texts(training.class_balance(rows))
    assert "NORMAL" not in words
    assert "validation\nn = 0" in words
    training.class_balance(rows[1:])


@pytest.mark.parametrize(("count", "columns"), [(1, 8), (3, 8), (11, 4)])
def test_the_sample_grid_has_a_title_for_every_image(count: int, columns: int, tmp_path: Path) -> None:
    images = np.linspace(0, 1, count * 64).reshape(count, 8, 8)
    figure = training.sample_grid(images, ["NORMAL"] * count, columns=columns, caption="A batch")
    assert len(figure.axes[0].images) == count
    assert texts(figure).count("NORMAL") == count
    assert "A batch" in texts(figure)
    assert pixels(figure, tmp_path).shape[1] == PAGE * 200


def test_an_empty_grid_or_missing_titles_are_an_error() -> None:
    for images, titles in [
        (np.zeros((0, 4, 4)), []),
        (np.zeros((2, 4, 4)), ["a"]),
        (np.zeros((4, 4)), ["a"] * 4),
    ]:
        with pytest.raises(ValueError, match="sample_grid"):
            training.sample_grid(images, titles)


def test_names_are_never_rendered_as_formulas(tmp_path: Path) -> None:
    hostile = ["$\\frac{", "a\nb $x^$"]
    for figure in (
        training.confusion_matrix([[1, 2], [3, 4]], hostile),
        training.class_balance([{"split": "$_{", "counts": dict(zip(hostile, (1, 2), strict=True))}]),
        training.sample_grid(np.zeros((2, 4, 4)), hostile, caption="$\\oops"),
    ):
        assert "$\\frac{" in texts(figure)
        pixels(figure, tmp_path)


def test_the_users_matplotlib_settings_do_not_change_figures_and_are_not_changed(tmp_path: Path) -> None:
    plain = pixels(training.curve(history(3), "loss", best=2), tmp_path)
    with mpl.rc_context(
        {"font.size": 30, "axes.facecolor": "black", "xtick.labelsize": 30, "axes.grid": False}
    ):
        before = dict(mpl.rcParams)
        styled = training.curve(history(3), "loss", best=2)
        assert dict(mpl.rcParams) == before
        again = pixels(styled, tmp_path)
    np.testing.assert_array_equal(plain, again)


def test_drawing_leaves_no_figure_open() -> None:
    training.curves(history(2), ["loss"])
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_a_figure_is_saved_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "loss.png"
    figure = training.curve(history(1), "loss")
    save(figure, target)
    first = target.read_bytes()
    save(figure, target)
    assert target.read_bytes() == first, "the same figure gives the same bytes"

    def full_disk(picture: Image.Image, handle: BinaryIO, **_: object) -> None:
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(figure, target)
    assert target.read_bytes() == first
    assert list(tmp_path.iterdir()) == [target]
