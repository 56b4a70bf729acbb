"""Figures in pages: small WebP pictures, values of lines read from the file, still pictures of animations."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pneumo_cli.reports.figures.line_data import KEY, LONGEST, checked
from pneumo_cli.reports.images import embedded

LINES = [
    {
        "box": [0.1, 0.1, 0.8, 0.8],
        "x": {"label": "Epoch", "limits": [0.0, 3.0], "log": False},
        "y": {"label": "Loss", "limits": [0.1, 1.0], "log": True},
        "series": [{"label": "Training", "color": "#0072b2", "x": [0.0, 1.0], "y": [0.9, 0.2]}],
    }
]


def opened(url: str) -> Any:
    kind, _, content = url.partition(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    picture.load()
    assert kind == f"data:image/{picture.format.lower()}"
    return picture


def write(path: Path, pixels: np.ndarray, text: str = "") -> Path:
    chunks = PngInfo()
    if text:
        chunks.add_text(KEY, text, zip=True)
    Image.fromarray(pixels).save(path, pnginfo=chunks)
    return path


def drawing() -> np.ndarray:
    """Flat areas with soft edges, as in a figure."""
    across, down = np.meshgrid(np.arange(900), np.arange(700))
    circle = np.clip(abs(np.hypot(across - 300, down - 300) - 250) / 4, 0, 1)
    return np.stack([(255 * circle).astype(np.uint8)] * 3, axis=2)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 90, (500, 500, 3), dtype=np.uint8)


def test_a_drawing_keeps_every_pixel_in_fewer_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "drawing.png", drawing())
    picture = embedded(tmp_path, "drawing.png")
    assert picture is not None
    assert (picture.width, picture.height) == (900, 700)
    assert picture.data.startswith("data:image/webp")
    assert np.array_equal(opened(picture.data), drawing())
    assert len(picture.data) * 3 / 4 < file.stat().st_size


def test_radiographs_lose_what_is_not_seen_and_most_of_their_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "noise.png", noise())
    picture = embedded(tmp_path, "noise.png")
    assert picture is not None
    assert len(picture.data) < file.stat().st_size / 2
    assert np.abs(np.asarray(opened(picture.data), float).mean() - noise().mean()) < 2


def test_a_picture_has_at_most_twice_the_pixels_that_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "wide.png", np.tile(drawing(), (1, 4, 1)))
    picture = embedded(tmp_path, "wide.png")
    assert picture is not None
    assert (picture.width, picture.height) == (3600, 700)
    assert opened(picture.data).size == (1728, 336)


def test_a_small_file_is_embedded_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "small.png", np.zeros((50, 50), np.uint8))
    picture = embedded(tmp_path, "small.png")
    assert picture is not None
    assert base64.b64decode(picture.data.partition(",")[2]) == file.read_bytes()


def test_an_animation_is_still_at_its_last_frame_until_it_is_played(tmp_path: Path) -> None:
    frames = [Image.new("L", (20, 20), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    picture = embedded(tmp_path, "a.png")
    assert picture is not None
    assert opened(picture.data).convert("L").getpixel((0, 0)) == 200
    assert opened(picture.animation).n_frames == 3


def test_the_values_of_lines_come_from_the_file(tmp_path: Path) -> None:
    write(tmp_path / "curve.png", drawing(), json.dumps(LINES))
    picture = embedded(tmp_path, "curve.png")
    assert picture is not None
    assert json.loads(picture.lines) == LINES


def changed(**of: Any) -> str:
    return json.dumps([{**LINES[0], **of}])


SERIES = LINES[0]["series"][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 5000,
        "null",
        "{}",
        "[]",
        "[1]",
        '"text"',
        "[NaN]",
        json.dumps([{**LINES[0], "y": {"label": "x" * LONGEST, "limits": [0, 1], "log": False}}]),
        changed(box=[0, 0, 0, 0]),
        changed(box=["<b>", 0, 1, 1]),
        changed(x={"label": "", "limits": [0, 0], "log": False}),
        changed(x={"label": "", "limits": [-1, 1], "log": True}),
        changed(series=[{**SERIES, "x": [0, float("inf")]}]),
        changed(series=[{**SERIES, "x": [0, 10**400]}]),
        changed(series=[{**SERIES, "x": [0]}]),
        changed(series=[{**SERIES, "color": "red;}</style>"}]),
        changed(series=[{**SERIES, "color": "#<svg/>"}]),
        changed(series=5),
        None,
        b"bytes",
    ],
)
def test_what_is_no_line_data_is_ignored(text: Any) -> None:
    assert checked(text) == ""


def test_further_keys_and_points_beyond_the_bound_are_dropped() -> None:
    many = {**SERIES, "x": list(range(900)), "y": [1] * 900, "onclick": "alert(1)", "label": " <b>\n x"}
    (axes,) = json.loads(checked(changed(series=[many] * 40, further="<script>")))
    assert set(axes) == {"box", "x", "y", "series"}
    assert len(axes["series"]) == 12
    assert len(axes["series"][0]["x"]) == 500
    assert set(axes["series"][0]) == {"label", "color", "x", "y"}
    assert axes["series"][0]["label"] == "<b>"  # shown as text


@pytest.mark.parametrize("text", ["[" * 3_000_000, "no JSON"])
def test_a_figure_with_a_hostile_text_chunk_is_shown_without_values(tmp_path: Path, text: str) -> None:
    write(tmp_path / "hostile.png", drawing(), text)
    picture = embedded(tmp_path, "hostile.png")
    assert picture is not None
    assert picture.lines == ""
    assert len(opened(picture.data).getbands()) == 3 if len(text) < 100 else picture.data


def test_a_damaged_file_is_embedded_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "damaged.png", noise())
    file.write_bytes(file.read_bytes()[:20_000])
    picture = embedded(tmp_path, "damaged.png")
    assert picture is not None
    assert (picture.width, picture.lines) == (500, "")
    assert base64.b64decode(picture.data.partition(",")[2]) == file.read_bytes()
