"""Grids hold the exact pixels of their images; animations the first, the last and evenly spaced frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.errors import PneumoError
from pneumo_cli.reports.figures.animation import write_animation, write_grid


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        return np.asarray(image)


def frames(folder: Path, count: int) -> list[Path]:
    """Images of 4 px whose gray level is their number."""
    files = [folder / f"{number:03}.png" for number in range(count)]
    for number, file in enumerate(files):
        Image.new("L", (4, 4), number).save(file)
    return files


def played(path: Path) -> tuple[list[int], list[float]]:
    """The gray level of every frame of an animation, and its duration in seconds."""
    levels, seconds = [], []
    with Image.open(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            levels.append(image.getpixel((0, 0)))
            seconds.append(image.info.get("duration", 0) / 1000)
    return levels, seconds


def test_a_grid_of_32_px_is_four_times_96_px_wide_with_gaps_between(tmp_path: Path) -> None:
    write_grid(np.zeros((16, 32, 32), np.uint8), tmp_path / "new" / "grid.png")
    assert opened(tmp_path / "new" / "grid.png").shape == (4 * 96 + 3 * 2, 4 * 96 + 3 * 2)


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_every_pixel_can_be_read_back(count: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 7), np.uint8)
    write_grid(images, tmp_path / "grid.png", columns=3, gap=1, scale=2)
    picture = opened(tmp_path / "grid.png")
    assert picture.shape == (-(-count // 3) * 11 - 1, min(count, 3) * 15 - 1)
    for index, image in enumerate(images):
        row, column = divmod(index, 3)
        cell = picture[row * 11 :, column * 15 :][:10, :14]
        np.testing.assert_array_equal(cell, image.repeat(2, 0).repeat(2, 1))
    if count == 5:
        assert (picture[11:, 30:] == 255).all(), "places without an image are white"


def test_tensors_are_accepted_and_large_images_are_not_enlarged(tmp_path: Path) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(1, 256, 1)
    write_grid(images, tmp_path / "grid.png")
    np.testing.assert_array_equal(opened(tmp_path / "grid.png"), images[0].numpy())


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (np.zeros((0, 8, 8), np.uint8), {}),
        (np.zeros((8, 8), np.uint8), {}),
        (np.zeros((2, 8, 8), np.float32), {}),
        (np.zeros((2, 8, 8), np.uint8), {"columns": 0}),
        (np.zeros((2, 8, 8), np.uint8), {"gap": -1}),
        (np.zeros((2, 8, 8), np.uint8), {"scale": 0}),
    ],
)
def test_an_invalid_grid_is_an_error_and_no_file(images, options, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"write_grid takes|at least"):
        write_grid(images, tmp_path / "grid.png", **options)
    assert not list(tmp_path.iterdir())


def test_few_frames_are_all_kept_for_half_a_second_each_and_the_last_longer(tmp_path: Path) -> None:
    write_animation(frames(tmp_path, 3), tmp_path / "all.png")
    levels, seconds = played(tmp_path / "all.png")
    assert levels == [0, 1, 2]
    assert seconds == pytest.approx([0.5, 0.5, 2.5])
    with Image.open(tmp_path / "all.png") as image:
        assert image.info["loop"] == 0, "it loops forever"


def test_many_frames_are_thinned_evenly_with_the_first_and_the_last(tmp_path: Path) -> None:
    write_animation(frames(tmp_path, 201), tmp_path / "all.png", seconds=4, most=11)
    levels, seconds = played(tmp_path / "all.png")
    assert levels == list(range(0, 201, 20))
    assert sum(seconds) == pytest.approx(4 + 2, abs=0.02)


def test_frames_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, open_at_once, most = frames(tmp_path, 20), [], []
    original = Image.open

    class Counted:
        def __init__(self, file):
            self.image = original(file)

        def __enter__(self):
            open_at_once.append(self)
            most.append(len(open_at_once))
            return self.image.__enter__()

        def __exit__(self, *error):
            open_at_once.remove(self)
            return self.image.__exit__(*error)

    monkeypatch.setattr(Image, "open", Counted)
    write_animation(iter(files), tmp_path / "all.png")
    assert max(most) == 1
    assert not open_at_once


def test_one_frame_is_an_image(tmp_path: Path) -> None:
    write_animation(frames(tmp_path, 1), tmp_path / "all.png")
    assert played(tmp_path / "all.png")[0] == [0]


def test_a_damaged_missing_or_differing_frame_is_named_and_the_old_file_kept(tmp_path: Path) -> None:
    target = tmp_path / "all.png"
    for name, spoil, reason in (
        ("001.png", lambda file: file.write_bytes(b"no picture"), "cannot be read"),
        ("003.png", lambda file: file.write_bytes(file.read_bytes()[:45]), "cannot be read"),
        ("004.png", lambda file: file.unlink(), "cannot be read"),
        ("002.png", lambda file: Image.new("L", (5, 4)).save(file), "5 x 4 pixels and the first frame 4 x 4"),
    ):
        files = frames(tmp_path, 5)
        write_animation(files, target)
        before = target.read_bytes()
        spoil(tmp_path / name)
        with pytest.raises(PneumoError, match=reason) as caught:
            write_animation(files, target)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert target.read_bytes() == before
        assert {file.name for file in tmp_path.iterdir()} <= {"all.png", *(file.name for file in files)}


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        write_animation([], tmp_path / "all.png")
