"""``pneumo predict FOLDER`` reads all formats, and names what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import TinyDataset

FORMATS = {
    "1.bmp": "BMP",
    "2.jfif": "JPEG",
    "3.jpe": "JPEG",
    "4.webp": "WEBP",
    "5.tif": "TIFF",
    "6.pgm": "PPM",
    "7.png": "PNG",
    "eight": "PNG",
    "9.dat": "PNG",
}


@pytest.fixture
def run(finished_run) -> Path:
    """A finished run of a classifier."""
    return finished_run("fake", "--split", "patient")


@pytest.fixture
def films(fakes: Path) -> Path:
    """The same image in every format."""
    dataset = TinyDataset("tiny")
    image = Image.fromarray(np.kron(dataset.read(dataset.records[0]), np.ones((4, 4), np.uint8)))
    folder = fakes / "films"
    folder.mkdir()
    for name, kind in FORMATS.items():
        options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
        image.save(folder / name, kind, **options)
    return folder


def test_every_format_gets_the_same_prediction(run: Path, films: Path, pneumo) -> None:
    done = pneumo("predict", run, films, "--json")
    assert done.code == 0, done.stderr
    predictions = json.loads(done.stdout)["predictions"]
    assert [Path(one["file"]).name for one in predictions] == sorted(FORMATS)
    logits = [one["logit"] for one in predictions]
    assert np.ptp(logits) < 0.05
    assert "no image" not in done.stderr


def test_clutter_is_counted_with_exit_code_0_and_what_may_be_images_with_1(
    run: Path, films: Path, pneumo
) -> None:
    (films / "notes.txt").write_text("mine")
    (films / "table.csv").write_text("a,b")
    done = pneumo("predict", run, films, "--json")
    assert done.code == 0
    assert f"pneumo: 2 files of {films} are no images that can be read: 1 .csv, 1 .txt\n" in done.stderr
    (films / "more.zip").write_bytes(b"PK\3\4")
    (films / "photo.heic").write_bytes(b"x")
    done = pneumo("predict", run, films, "--json")
    assert done.code == 1
    assert len(json.loads(done.stdout)["predictions"]) == len(FORMATS)
    assert "1 .zip (an archive)" in done.stderr
    assert "1 .heic (HEIF, which is not read)" in done.stderr


def test_a_folder_with_nothing_but_an_archive_says_so(run: Path, films: Path, pneumo) -> None:
    for path in films.iterdir():
        path.unlink()
    (films / "films.zip").write_bytes(b"PK\3\4")
    done = pneumo("predict", run, films)
    assert (done.code, done.stdout) == (2, "")
    assert "1 .zip (an archive)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_12_bits_in_16_get_the_prediction_of_8(run: Path, films: Path, pneumo) -> None:
    image = np.asarray(Image.open(films / "7.png"))
    for path in films.iterdir():
        path.unlink()
    Image.fromarray(image).save(films / "eight.png")
    deep = np.rint(image / 255 * 4095).astype(np.uint16)
    Image.fromarray(deep).save(films / "twelve.png")
    Image.fromarray(deep).save(films / "twelve.tif")
    done = pneumo("predict", run, films, "--json")
    assert done.code == 0, done.stderr
    logits = [one["logit"] for one in json.loads(done.stdout)["predictions"]]
    assert logits == pytest.approx([logits[0]] * 3, abs=1e-4)
