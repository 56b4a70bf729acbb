"""What a figure costs, in counts: measurements of its layout, renderings, encodings, and points that it keeps."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
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
from pneumo_cli.reports.html import render_html
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
    assert not (tmp_path / "figures").exists()
    files.draw()
    assert (tmp_path / "figures" / "curves.png").is_file()
    assert counts == {"get_tightbbox": 1, "draw": 1, "save": 2}, "as PNG in the folder, as WebP in the page"
    embedded = files.pictures["figures/curves.png"]
    assert embedded is not None
    page = render_html({"figures": files.listed}, tmp_path, files.pictures)
    assert embedded.data in page
    assert counts["save"] == 2


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

    files = FigureFiles(RunFolder(tmp_path), notes.append)
    files.add(draw, "figures/a", "A.", "results")
    files.draw()
    assert files.listed == []
    assert (collecting, gc.isenabled(), len(notes)) == ([False], True, 1)


_SCRIPT = r"""
import json, os, sys
from pathlib import Path
from pneumo_cli.reports.figure_files import FigureFiles
from pneumo_cli.reports.figures import training
from pneumo_cli.runs.folder import RunFolder

HISTORY = [{"epoch": n, "train": {"loss": 1.0 / (n + 1)}, "validation": {"loss": 0.5}} for n in range(4)]
first = os.getpid()

def curves(name):
    return lambda: training.curves(HISTORY, [name])

def only_at_first():
    assert os.getpid() == first, "not in a copy"
    return training.curves(HISTORY, ["loss"])

def never():
    raise ZeroDivisionError("no\nfigure")

notes = []
files = FigureFiles(RunFolder(Path(sys.argv[1])), notes.append)
for n in range(3):
    files.add(curves("loss"), "figures/loss", f"Loss {n}.", "training")
files.add(only_at_first, "figures/first", "First.", "training")
files.add(never, "figures/never", "Never.", "results", plugin="p")
files.add_unlisted(curves("loss"), "figures/unlisted")
files.draw(int(sys.argv[2]))
pictures = {name: one and one.data for name, one in files.pictures.items()}
print(json.dumps([files.listed, notes, pictures]))
"""


def test_figures_of_several_processes_are_those_of_one(tmp_path: Path) -> None:
    found, content = [], []
    for processes in ("1", "3"):
        folder = tmp_path / processes
        command = [sys.executable, "-c", _SCRIPT, folder, processes]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(ended.stdout))
        content.append({file.name: file.read_bytes() for file in (folder / "figures").iterdir()})
    assert found[0] == found[1]
    assert content[0] == content[1]
    listed, notes, pictures = found[0]
    names = ["loss", "loss-2", "loss-3", "first"]
    assert [one["file"] for one in listed] == [f"figures/{name}.png" for name in names]
    assert notes == ["the figure never of the plugin p cannot be drawn: ZeroDivisionError: no figure"]
    assert sorted(content[0]) == sorted(f"{name}.png" for name in (*names, "unlisted"))
    assert [name for name, data in pictures.items() if data is None] == ["figures/unlisted.png"]


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
