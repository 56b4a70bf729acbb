"""``pneumo generate``: the same images for the same seed and index; reconstructions and interpolations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import COLUMNS, assert_one_line, content, manifest, pixels
from PIL import Image

from pneumo_cli.errors import UsageError
from pneumo_cli.trainers.generative import CHUNK
from pneumo_cli.trainers.loading import Trained
from pneumo_synthetic.generate import generative, image_files, sampled


def test_images_and_a_manifest_are_written_and_reported(painter: Path, pneumo, fakes) -> None:
    ended = pneumo("generate", painter, "--out", "new/images", "-n", 3, "--seed", 7)
    assert ended.code == 0, ended.stderr
    assert ended.stdout == "new/images\n"
    name = f"painter/{painter.name}"
    assert ended.stderr == (
        f"pneumo: 3 images by {name}, best checkpoint of epoch 2, in new/images; manifest.csv lists them\n"
    )
    folder = fakes / "new/images"
    files = ["000000.png", "000001.png", "000002.png"]
    assert sorted(content(fakes / "new")) == [
        "images",
        *(f"images/{file}" for file in [*files, "manifest.csv"]),
    ]
    rows = manifest(folder)
    assert list(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == files
    assert [row["index"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        assert (row["kind"], row["source"], row["seed"]) == ("sample", "", "7")
        assert (row["run"], row["checkpoint"], row["epoch"]) == (name, "best", "2")
        assert (row["dataset"], row["images_of"]) == ("pneumo-fake:small", "PNEUMONIA")
    for image in pixels(folder).values():
        assert image.dtype == np.uint8
        assert image.shape == (32, 32)


def test_plugins_are_told_of_images_that_were_generated(painter: Path, pneumo, fakes, install) -> None:
    source = (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\n"
        "def images_generated(path, folder, images):\n    print('told:', path.name, folder, images)\n"
    )
    install("pneumo-told", {"told": "told_of_images"}, {"told_of_images": source})
    ended = pneumo("generate", painter, "--out", "told", "-n", 2)
    assert ended.stdout == "told\n"
    assert f"told: {painter.name} told 2\n" in ended.stderr


def test_each_file_has_metadata_on_its_origin(painter: Path, pneumo, fakes) -> None:
    assert pneumo("generate", painter, "--out", "out", "-n", 2, "--seed", 5, "--checkpoint", "last").code == 0
    text = Image.open(fakes / "out" / "000001.png").text
    assert "no patient is behind it" in text["Description"]
    assert {name: value for name, value in text.items() if name.startswith("pneumo:")} == {
        "pneumo:run": f"painter/{painter.name}",
        "pneumo:checkpoint": "last",
        "pneumo:kind": "sample",
        "pneumo:seed": "5",
        "pneumo:index": "1",
    }


def test_an_image_depends_only_on_its_seed_and_index(painter: Path, pneumo, fakes) -> None:
    for out, *flags in (
        ("many", "-n", CHUNK + 36),
        ("few", "-n", 40),
        ("later", "-n", 40, "--first", CHUNK - 4),  # begins within the first chunk of the others
        ("other", "-n", 40, "--seed", 1),
    ):
        assert pneumo("generate", painter, "--out", out, *flags).code == 0
    many, few, later, other = (pixels(fakes / name) for name in ("many", "few", "later", "other"))
    assert len(many) == CHUNK + 36
    assert list(few) == list(many)[:40]
    assert list(later) == list(many)[CHUNK - 4 :]
    for subset in (few, later):
        assert [name for name, image in subset.items() if not np.array_equal(image, many[name])] == []
    assert not any(np.array_equal(image, many[name]) for name, image in other.items())
    assert len({image.tobytes() for image in many.values()}) == len(many)


def test_images_are_generated_in_whole_chunks(trained: Trained) -> None:
    """The last bits of a matrix product depend on its size, and on the place within it."""
    sizes: list[int] = []
    trained.model.register_forward_hook(lambda model, noise, images: sizes.append(len(images)))
    trainer = generative(trained)
    many = trainer.sample(trained.model, 3, np.arange(2 * CHUNK + 5))
    assert sizes == [CHUNK] * 3
    assert many.shape == (2 * CHUNK + 5, 32, 32)
    chosen = np.array([2 * CHUNK + 4, 0, CHUNK])
    assert torch.equal(trainer.sample(trained.model, 3, chosen), many[torch.from_numpy(chosen)])
    assert sizes == [CHUNK] * 6


def test_images_are_generated_lazily_and_named_in_their_order(trained: Trained) -> None:
    names = [image.name for image in itertools.islice(sampled(trained, 0, 0, 10**12), 2)]
    assert names == ["000000000000.png", "000000000001.png"]  # in the order of their names, all of one length


@pytest.fixture
def given(fakes: Path) -> Path:
    """A folder with two images of the same name, and a text file."""
    folder = fakes / "given"
    (folder / "below").mkdir(parents=True)
    Image.new("L", (32, 32), 40).save(folder / "a.png")
    Image.new("RGB", (90, 64), (200, 200, 200)).save(folder / "below" / "a.jpeg")
    (folder / "readme.txt").write_text("no image")
    return folder


def test_reconstructions_are_named_after_their_images(given: Path, painter, pneumo, fakes) -> None:
    ended = pneumo(
        "generate", painter, "--out", "out", "--reconstruct", given, "--reconstruct", given / "a.png"
    )
    assert ended.code == 0, ended.stderr
    levels = {name: int(image.mean().round()) for name, image in pixels(fakes / "out").items()}
    assert levels == {"a.png": 255 - 40, "a-1.png": 255 - 200, "a-2.png": 255 - 40}
    rows = manifest(fakes / "out")
    assert [row["source"] for row in rows] == [
        str(given / "a.png"),
        str(given / "below/a.jpeg"),
        str(given / "a.png"),
    ]
    assert {(row["kind"], row["seed"]) for row in rows} == {("reconstruction", "")}


def test_an_interpolation_goes_from_one_image_to_the_other(given: Path, painter, pneumo, fakes) -> None:
    ended = pneumo(
        "generate",
        painter,
        "--out",
        "out",
        "--interpolate",
        given / "a.png",
        given / "below/a.jpeg",
        "--steps",
        5,
    )
    assert ended.code == 0, ended.stderr
    images = pixels(fakes / "out")
    assert list(images) == [f"{step:03}.png" for step in range(5)]
    assert [int(image.mean().round()) for image in images.values()] == [40, 80, 120, 160, 200]
    assert {row["kind"] for row in manifest(fakes / "out")} == {"interpolation"}


def test_unreadable_images_are_named_and_nothing_is_written(given: Path, painter, pneumo, fakes) -> None:
    torn = given / "torn.png"
    torn.write_bytes((given / "a.png").read_bytes()[:60])
    (fakes / "empty").mkdir()
    before = content(fakes)
    for flags, words in (
        (("--reconstruct", given), "torn.png cannot be read"),
        (("--reconstruct", given / "readme.txt"), "readme.txt cannot be read"),
        (("--reconstruct", "absent.png"), "there is no image absent.png"),
        (("--reconstruct", "empty"), "there is no image in empty"),
        (("--interpolate", given / "a.png", "absent.png"), "absent.png cannot be read"),
        (("--interpolate", given / "a.png", "empty"), "empty cannot be read"),
        (("--reconstruct", given, "--interpolate", torn, torn), "cannot be combined"),
    ):
        assert_one_line(pneumo("generate", painter, "--out", "out", *flags), 2, words)
    assert content(fakes) == before


def test_folders_are_searched_in_order_and_files_taken_as_they_are(given: Path) -> None:
    assert image_files([given / "readme.txt", given]) == [
        given / "readme.txt",
        given / "a.png",
        given / "below" / "a.jpeg",
    ]
    with pytest.raises(UsageError, match=r"there is no image .*absent"):
        image_files([given, given / "absent"])
