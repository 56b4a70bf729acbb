"""Overlays keep the radiograph visible and show the map in place; cases are in their rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumo_cli.reports.figures.saliency import (
    CaseRow,
    explained_cases,
    most_confident,
    overlay,
    write_overlay,
)
from pneumo_cli.reports.figures.style import PAGE, save


def coloured(picture: np.ndarray) -> np.ndarray:
    """Where red, green and blue differ by more than rounding."""
    return np.ptp(picture.astype(np.int64), axis=-1) > 12


def pixels(figure: Figure, tmp_path: Path) -> np.ndarray:
    save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        return np.asarray(image.convert("RGB"))


def test_a_radiograph_without_evidence_is_not_changed() -> None:
    image = np.arange(240, dtype=np.uint8).reshape(12, 20)
    found = overlay(image, np.zeros((7, 7)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.stack([image] * 3, -1))


def test_a_map_is_resized_to_the_radiograph() -> None:
    image = np.full((60, 120), 128, np.uint8)
    saliency = np.zeros((6, 6), np.float32)
    saliency[0, 5] = 1  # upper right
    found = coloured(overlay(image, saliency))
    assert found.shape == (60, 120)
    assert found[5, 115]
    assert not found[30:].any()
    assert not found[:, :60].any()


def test_colour_increases_with_the_evidence_and_ribs_stay_visible() -> None:
    steps = np.linspace(0, 1, 11, dtype=np.float32)[None]
    dark, light = (
        overlay(np.full((1, 11), 60, np.uint8), steps),
        overlay(np.full((1, 11), 180, np.uint8), steps),
    )
    strength = np.ptp(light.astype(np.int64), axis=-1)[0]
    assert (np.diff(strength[2:]) > 0).all()
    # A difference of 120 gray levels in the radiograph keeps at least a third of it in the overlay.
    assert (light.astype(np.int64) - dark >= 40).all()


def test_values_out_of_bounds_are_clipped_and_nan_is_zero() -> None:
    image = np.full((2, 2), 100, np.uint8)
    found = overlay(image, np.array([[np.nan, -3.0], [1.0, 9.0]]))
    assert (found[0] == 100).all()
    np.testing.assert_array_equal(found[1, 0], found[1, 1])


@pytest.mark.parametrize(
    ("image", "saliency"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((2, 2))),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2))),
        (np.zeros((0, 4), np.uint8), np.zeros((2, 2))),
        (np.zeros((4, 4), np.uint8), np.zeros((1, 2, 2))),
    ],
)
def test_an_invalid_radiograph_or_map_is_an_error(image: np.ndarray, saliency: np.ndarray) -> None:
    with pytest.raises(ValueError, match="overlay takes"):
        overlay(image, saliency)


def test_an_overlay_is_written_atomically(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    write_overlay(tmp_path / "new" / "case.png", picture)
    with Image.open(tmp_path / "new" / "case.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["case.png"]
    with pytest.raises(OSError, match="case"):
        write_overlay(tmp_path / "new" / "case.png" / "below.png", picture)


def test_the_most_confident_cases_come_first_in_their_rows() -> None:
    logits = np.array([-5.0, -1.0, 2.0, 4.0, -3.0, 0.5, -9.0])
    labels = np.array([0, 0, 0, 1, 1, 1, 0])
    rows = most_confident(logits, labels, ("NORMAL", "PNEUMONIA"), most=2)
    assert [(row.label, row.cases) for row in rows] == [
        ("NORMAL, correct", (6, 0)),
        ("NORMAL, predicted PNEUMONIA", (2,)),
        ("PNEUMONIA, correct", (3, 5)),
        ("PNEUMONIA, predicted NORMAL", (4,)),
    ]


def test_correctness_and_confidence_refer_to_the_operating_point() -> None:
    logits, labels = np.array([0.5, 2.0, 1.5, -0.5]), np.array([1, 1, 0, 1])
    rows = most_confident(logits, labels, ("NORMAL", "PNEUMONIA"), logit_threshold=1.9)
    assert [(row.label, row.cases) for row in rows] == [
        ("NORMAL, correct", (2,)),
        ("PNEUMONIA, correct", (1,)),
        ("PNEUMONIA, predicted NORMAL", (3, 0)),
    ]
    rows = most_confident(logits, labels, ("NORMAL", "PNEUMONIA"), logit_threshold=-3)
    assert rows[1].cases == (1, 0, 3)


def test_each_case_is_above_a_copy_with_its_map(tmp_path: Path) -> None:
    images = np.full((3, 16, 16), 0.5)
    images[0, :8] = 0  # the upper half
    maps = np.zeros((3, 16, 16))
    maps[1] = 1
    rows = (CaseRow("first", (0, 2)), CaseRow("second", (1,)))
    figure = explained_cases(images, maps, ("a", "b", "c"), rows)
    assert figure.get_size_inches()[0] == PAGE
    pictures = figure.axes[0].images[:-1]  # the last is the bar
    found = [bool(coloured(picture.get_array()).any()) for picture in pictures]
    assert found == [False] * 5 + [True]
    lefts, _, _, tops = np.array([picture.get_extent() for picture in pictures]).T
    assert lefts[0] == lefts[1] == lefts[4] == lefts[5] < lefts[2] == lefts[3]
    assert tops[0] == tops[2] < tops[1] == tops[3] < tops[4] < tops[5]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:5] == ["first", "a", "c", "second", "b"]
    saved = pixels(figure, tmp_path)
    across = int((lefts[0] + 0.3) * 200)
    upper, lower = (saved[int((tops[0] + down) * 200), across] for down in (0.3, 0.9))
    assert upper.max() < 10 < 110 < lower.min()
    # The coloured images are below all others, and the colour bar below them.
    assert np.flatnonzero(coloured(saved).any(1)).min() > 0.6 * len(saved)


def test_long_names_are_below_the_cases_in_two_lines_that_do_not_overlap() -> None:
    images = np.zeros((6, 4, 4))
    names = [f"test/PNEUMONIA/person{1940 + case}_bacteria_4874-and-a-long-end.jpeg" for case in range(6)]
    figure = explained_cases(images, images, ("0.9",) * 6, names=names)
    shown = [text for text in figure.axes[0].texts if "person" in text.get_text()]
    assert [len(text.get_text().split("\n")) for text in shown] == [2] * 6
    assert shown[0].get_text() == "person1940_bacteria_4874-\nand-a-long-end.jpeg"
    boxes = [text.get_window_extent() for text in shown]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    with pytest.raises(ValueError, match="1 names of 6 images"):
        explained_cases(images, images, ("0.9",) * 6, names=names[:1])


def test_without_maps_each_image_is_shown_once_and_there_is_no_colour_bar() -> None:
    figure = explained_cases(np.zeros((2, 4, 4)), None, ("a", "b"), (CaseRow("errors", (0, 1)),))
    assert len(figure.axes[0].images) == 2
    assert "No evidence" not in [text.get_text() for text in figure.axes[0].texts]


def test_errors_alone_can_be_asked_for() -> None:
    rows = most_confident(np.array([2.0, -3.0, 1.0]), np.array([0, 1, 1]), ("N", "P"), outcomes=(False,))
    assert [(row.label, row.cases) for row in rows] == [("N, predicted P", (0,)), ("P, predicted N", (1,))]


def test_cases_without_rows_are_laid_out_six_per_row(tmp_path: Path) -> None:
    figure = explained_cases(np.zeros((8, 4, 4)), np.zeros((8, 4, 4)), [str(case) for case in range(8)])
    tops = [picture.get_extent()[3] for picture in figure.axes[0].images[:-1]]
    assert len(tops) == 16
    assert len(set(np.round(tops, 6))) == 4


def test_arguments_that_do_not_fit_together_are_an_error() -> None:
    images = np.zeros((2, 4, 4))
    for given, maps, titles in (
        (images[:0], images[:0], ()),
        (images, images[:1], ("a", "b")),
        (images, np.zeros((2, 5, 5)), ("a", "b")),
        (images, images, ("a",)),
    ):
        with pytest.raises(ValueError, match="explained_cases takes images and maps"):
            explained_cases(given, maps, titles)
    with pytest.raises(ValueError, match="not among the 2 images"):
        explained_cases(images, images, ("a", "b"), (CaseRow("", (2,)),))
