"""``pneumo generate``: the same images for the same seed and index, written whole or not at all."""

from __future__ import annotations

import csv
import itertools
import resource
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.testing import Invocation
from pneumo_cli.trainers.generative import CHUNK
from pneumo_cli.trainers.loading import Trained, load_trained
from pneumo_synthetic.generate import Made, generative, image_files, sampled, write_images

COLUMNS = ["file", "kind", "source", "seed", "index", "run", "checkpoint", "epoch", "dataset", "images_of"]


@pytest.fixture
def painter(trained_run) -> Path:
    """A run that draws."""
    return trained_run("painter")


@pytest.fixture
def trained(painter: Path) -> Trained:
    return load_trained(discover(), RunFolder.open(painter))


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def assert_one_line(ended: Invocation, code: int, *words: str) -> None:
    assert ended.code == code, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("pneumo: ")
    for word in words:
        assert word in ended.stderr


# --- what is written -------------------------------------------------------------------------------------------


def test_images_and_a_manifest_are_written_and_one_sentence_says_so(painter: Path, pneumo, fakes) -> None:
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


def test_each_file_says_that_it_is_synthetic_and_where_it_comes_from(painter: Path, pneumo, fakes) -> None:
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


def test_an_image_depends_on_its_seed_and_index_alone(painter: Path, pneumo, fakes) -> None:
    for out, *flags in (
        ("many", "-n", CHUNK + 36),
        ("few", "-n", 40),
        ("later", "-n", 40, "--first", CHUNK - 4),  # begins in what is the first chunk of the others
        ("other", "-n", 40, "--seed", 1),
    ):
        assert pneumo("generate", painter, "--out", out, *flags).code == 0
    many, few, later, other = (pixels(fakes / name) for name in ("many", "few", "later", "other"))
    assert len(many) == CHUNK + 36
    assert list(few) == list(many)[:40]
    assert list(later) == list(many)[CHUNK - 4 :]
    for part in (few, later):
        assert [name for name, image in part.items() if not np.array_equal(image, many[name])] == []
    assert not any(np.array_equal(image, many[name]) for name, image in other.items())
    assert len({image.tobytes() for image in many.values()}) == len(many)


def test_images_are_made_in_whole_blocks_whichever_are_asked_for(trained: Trained) -> None:
    """The last bits of a product of matrices depend on its size, and on the place within it."""
    sizes: list[int] = []
    trained.model.register_forward_hook(lambda model, given, made: sizes.append(len(made)))
    trainer = generative(trained)
    many = trainer.sample(trained.model, 3, np.arange(2 * CHUNK + 5))
    assert sizes == [CHUNK] * 3
    assert many.shape == (2 * CHUNK + 5, 32, 32)
    chosen = np.array([2 * CHUNK + 4, 0, CHUNK])
    assert torch.equal(trainer.sample(trained.model, 3, chosen), many[torch.from_numpy(chosen)])
    assert sizes == [CHUNK] * 6


def test_images_are_made_as_they_are_asked_for(trained: Trained) -> None:
    names = [made.name for made in itertools.islice(sampled(trained, 0, 0, 10**12), 2)]
    assert names == ["000000000000.png", "000000000001.png"]  # in the order of their names, all of one length


def test_no_more_images_are_kept_than_are_being_written(trained: Trained, tmp_path: Path) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def images() -> Iterator[Made]:
        nonlocal most
        for index in range(50):
            levels = torch.zeros(8, 8, dtype=torch.uint8)
            alive.add(levels)
            most = max(most, len(alive))
            yield Made(f"{index:03}.png", levels, {"kind": "sample", "source": "", "seed": 0, "index": index})

    assert write_images(images(), 50, trained, tmp_path / "out", overwrite=False, progress=Progress()) == 50
    assert most <= 2


# --- where something is already --------------------------------------------------------------------------------


@pytest.fixture
def occupied(painter: Path, pneumo, fakes) -> Path:
    """A folder with four generated images and things of a person's own."""
    assert pneumo("generate", painter, "--out", "out", "-n", 4).code == 0
    (fakes / "out" / "mine.png").write_text("mine")
    (fakes / "out" / "notes").mkdir()
    (fakes / "out" / "notes" / "000000.png").write_text("mine too")
    return fakes / "out"


def test_a_folder_that_is_not_empty_is_refused_and_stays_as_it_is(occupied: Path, painter, pneumo) -> None:
    before = content(occupied.parent)
    ended = pneumo("generate", painter, "--out", "out", "-n", 2)
    assert_one_line(ended, 2, "the folder out is not empty", "--overwrite")
    assert content(occupied.parent) == before


def test_overwriting_replaces_what_was_generated_before_and_nothing_else(
    occupied: Path, painter, pneumo
) -> None:
    before = content(occupied)
    ended = pneumo("generate", painter, "--out", "out", "-n", 2, "--seed", 9, "--overwrite")
    assert ended.code == 0, ended.stderr
    after = content(occupied)
    assert sorted(after) == [
        "000000.png",
        "000001.png",
        "manifest.csv",
        "mine.png",
        "notes",
        "notes/000000.png",
    ]
    assert [name for name in after if after[name] == before[name]] == [
        "mine.png",
        "notes",
        "notes/000000.png",
    ]
    assert [row["file"] for row in manifest(occupied)] == ["000000.png", "000001.png"]


def test_a_file_of_somebody_else_s_is_not_overwritten(painter: Path, pneumo, fakes) -> None:
    (fakes / "out").mkdir()
    (fakes / "out" / "000001.png").write_text("mine")
    before = content(fakes)
    ended = pneumo("generate", painter, "--out", "out", "-n", 3, "--overwrite")
    assert_one_line(ended, 2, "out/000001.png was not written by pneumo generate")
    assert content(fakes) == before


def test_a_manifest_of_somebody_else_s_is_not_believed(painter: Path, pneumo, fakes) -> None:
    (fakes / "out").mkdir()
    (fakes / "out" / "patient.png").write_text("mine")
    (fakes / "out" / "manifest.csv").write_text("file,label\npatient.png,1\n")
    before = content(fakes)
    ended = pneumo("generate", painter, "--out", "out", "--overwrite")
    assert_one_line(ended, 2, "out/manifest.csv was not written by pneumo generate")
    assert content(fakes) == before


@pytest.mark.parametrize(
    "name", ["../victim.png", "{work}/victim.png", "sub/victim.png", "..", "mine.txt", ""]
)
def test_a_manifest_cannot_name_files_outside_its_folder(name: str, occupied: Path, painter, pneumo) -> None:
    work = occupied.parent
    (occupied / "sub").mkdir()
    kept = [work / "victim.png", occupied / "sub" / "victim.png", occupied / "mine.txt"]
    for path in kept:
        path.write_text("mine")
    with (occupied / "manifest.csv").open("a") as file:
        file.write(",".join([name.format(work=work), *("x" for _ in COLUMNS[1:])]) + "\n")
    assert pneumo("generate", painter, "--out", "out", "-n", 1, "--overwrite").code == 0
    assert [path for path in kept if path.read_text() != "mine"] == []


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"", b"file\n" + b"x" * 200_000])
def test_a_damaged_manifest_is_not_believed(damage: bytes, occupied: Path, painter, pneumo) -> None:
    (occupied / "manifest.csv").write_bytes(damage)
    before = content(occupied)
    ended = pneumo("generate", painter, "--out", "out", "--overwrite")
    assert_one_line(ended, 2, "manifest.csv was not written by pneumo generate")
    assert content(occupied) == before


# --- where nothing can be written ------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 600 bytes, which is less than an image."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_nothing(painter: Path, pneumo, fakes, full_disk) -> None:
    ended = pneumo("generate", painter, "--out", "out")
    assert_one_line(ended, 1, "the images cannot be written to out", "nothing was changed")
    assert content(fakes) == {}


def test_a_disk_that_is_full_when_overwriting_changes_nothing(
    occupied: Path, painter, pneumo, full_disk
) -> None:
    before = content(occupied)
    ended = pneumo("generate", painter, "--out", "out", "-n", 2, "--seed", 3, "--overwrite")
    assert_one_line(ended, 1, "nothing was changed")
    assert content(occupied) == before


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/pneumo", "/dev/null"])
def test_a_target_that_is_no_folder_or_cannot_be_made_is_refused_at_once(
    out: str, painter: Path, pneumo, fakes, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_cli.trainers.loading.load_trained", None)  # nothing is loaded for it
    (fakes / "file").write_text("mine")
    ended = pneumo("generate", painter, "--out", out)
    assert_one_line(ended, 2, out)
    assert content(fakes) == {"file": b"mine"}


def test_an_interruption_leaves_nothing(painter: Path, trained: Trained, tmp_path: Path) -> None:
    def images() -> Iterator[Made]:
        yield from sampled(trained, 0, 0, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_images(images(), 9, trained, tmp_path / "out", overwrite=False, progress=Progress())
    assert [name for name in content(tmp_path) if not name.startswith("work")] == []


# --- what cannot be made ---------------------------------------------------------------------------------------


def test_a_classifier_s_run_makes_no_images(trained_run, pneumo, fakes) -> None:
    run = trained_run("fake", epochs=1)
    for flags in ((), ("--reconstruct", fakes)):
        Image.new("L", (32, 32)).save(fakes / "given.png")
        ended = pneumo("generate", run, "--out", "out", *flags)
        assert_one_line(ended, 2, f"{run} is a run of fake, which makes no images")
        assert not (fakes / "out").exists()


def test_a_model_that_draws_nothing_names_what_it_can_do(trained_run, pneumo, fakes) -> None:
    run = trained_run("painter", model="copyist-net", epochs=1)
    ended = pneumo("generate", run, "--out", "out")
    assert_one_line(ended, 2, "copyist-net", "--reconstruct and --interpolate")
    assert content(fakes) == {}


def without_checkpoint(run: Path) -> None:
    (run / "checkpoints" / "best.pt").unlink()


def damaged_checkpoint(run: Path) -> None:
    path = run / "checkpoints" / "best.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def other_model(run: Path) -> None:
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("image_size = 32", "image_size = 40"))


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (without_checkpoint, 2, "there is no checkpoint"),
        (damaged_checkpoint, 1, "best.pt is damaged"),
        (other_model, 2, "the checkpoint"),
    ],
)
def test_a_checkpoint_that_is_of_no_use_is_one_line(
    spoil: Callable[[Path], None], code: int, words: str, painter: Path, pneumo, fakes, tmp_path: Path
) -> None:
    run = shutil.copytree(painter, tmp_path / "copy")
    spoil(run)
    ended = pneumo("generate", run, "--out", "out")
    assert_one_line(ended, code, words)
    assert content(fakes) == {}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--checkpoint", "nonsense"), "'nonsense' is none of best, last"),
        (("--checkpoint", "../last"), "'../last' is none of best, last"),
        (("-n", 0), "'-n': Input should be greater"),
        (("--seed", -1), "'--seed': Input should be greater"),
        (("--first", 10**20), "'--first': Input should be less"),
        (("--device", "tpu"), "tpu"),
    ],
)
def test_a_flag_without_sense_is_one_line(
    flags: tuple[object, ...], words: str, painter, pneumo, fakes
) -> None:
    assert_one_line(pneumo("generate", painter, "--out", "out", *flags), 2, words)
    assert content(fakes) == {}


def test_what_is_no_run_is_one_line(painter: Path, pneumo, fakes) -> None:
    assert_one_line(pneumo("generate", "nowhere", "--out", "out"), 2, "there is no run folder nowhere")
    assert_one_line(
        pneumo("generate", painter / "checkpoints", "--out", "out"), 2, "is no run folder", str(painter.name)
    )
    assert content(fakes) == {}


# --- of given images -------------------------------------------------------------------------------------------


@pytest.fixture
def given(fakes: Path) -> Path:
    """A folder with two images of one name, and what is no image."""
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


def test_what_cannot_be_read_is_named_and_nothing_is_written(given: Path, painter, pneumo, fakes) -> None:
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
        (("--reconstruct", given, "--interpolate", torn, torn), "ask for one of them"),
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
