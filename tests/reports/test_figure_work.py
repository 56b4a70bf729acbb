"""What a figure costs, in counts: measurements of its layout, renderings, encodings, and points that it keeps."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL.Image import Image

from pneumo_cli.reports.figure_files import FigureFiles
from pneumo_cli.reports.figures import classification, style, training
from pneumo_cli.reports.figures.line_data import KEY, LONGEST
from pneumo_cli.runs.folder import RunFolder

HISTORY = [{"epoch": n, "train": {"loss": 1.0 / (n + 1)}, "validation": {"loss": 0.5}} for n in range(4)]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of what takes the time of a figure."""
    found: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(Axes, "get_tightbbox")
    counted(Figure, "draw")
    counted(Image, "save")
    return found


def test_a_figure_is_measured_drawn_and_encoded_once(tmp_path: Path, counts: Counter[str]) -> None:
    files = FigureFiles(RunFolder(tmp_path), pytest.fail)
    files.add(lambda: training.curves(HISTORY, ["loss"]), "figures/curves", "Curves.", "training")
    assert (tmp_path / "figures" / "curves.png").is_file()
    assert counts == {"get_tightbbox": 1, "draw": 1, "save": 1}


def test_a_layout_measured_once_has_the_margins_of_one_measured_twice() -> None:
    logits, labels = np.linspace(-2, 2, 40), np.tile([0, 1], 20)
    figure = classification.roc_curve(logits, labels)  # of fixed aspect: its axes move within their cell
    (axes,) = figure.axes
    once = axes.get_position().bounds
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03)
    figure.canvas.draw()
    inches = np.abs(np.subtract(once, axes.get_position().bounds)) * figure.get_size_inches().max()
    assert inches.max() < 2 / 72  # two points
    around, (width, height) = axes.get_tightbbox(), figure.bbox.size
    assert around is not None
    assert around.x0 >= 0
    assert around.y0 >= 0
    assert around.x1 <= width
    assert around.y1 <= height


def test_no_axes_keeps_a_replaced_method_after_its_layout() -> None:
    figure = training.curves(HISTORY, ["loss"])
    assert all("get_tightbbox" not in vars(axes) for axes in figure.axes)


def test_garbage_is_collected_again_after_a_figure_that_fails(tmp_path: Path) -> None:
    notes: list[str] = []
    collecting: list[bool] = []

    def draw() -> Figure:
        collecting.append(gc.isenabled())
        raise ZeroDivisionError

    FigureFiles(RunFolder(tmp_path), notes.append).add(draw, "figures/a", "A.", "results")
    assert (collecting, gc.isenabled(), len(notes)) == ([False], True, 1)


@pytest.mark.parametrize("images", [1_000, 10_000])
def test_a_curve_of_many_images_keeps_a_bounded_number_of_values(images: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=images)
    picture = style.rendered(classification.roc_curve(generator.normal(size=images) + labels, labels))
    assert 0 < len(picture.info[KEY]) < min(20_000, LONGEST)


def test_an_image_is_resized_to_the_pixels_that_the_figure_shows() -> None:
    figure = training.sample_grid(np.tile(np.linspace(0, 1, 32), (1, 32, 1)), ["NORMAL"])
    (shown,) = figure.axes[0].images
    box = shown.get_window_extent()
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    made, *_ = shown.make_image(canvas.get_renderer())
    assert made.shape[:2] == pytest.approx((box.height, box.width), abs=1.5)
    middle = made[made.shape[0] // 2, :, 0].astype(int)
    assert (np.diff(middle) >= -1).all()  # smooth: a ramp stays one
    assert len(np.unique(middle)) > 100
    assert np.shape(shown.get_array()) == (32, 32, 3)
