"""Generated images are written all or none, and replace only images that were generated before."""

from __future__ import annotations

import resource
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from image_folders import COLUMNS, assert_one_line, content, manifest

from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.loading import Trained
from pneumo_synthetic.generate import Made, sampled, write_images


@pytest.fixture
def occupied(painter: Path, pneumo, fakes) -> Path:
    """A folder with four generated images and files of a user."""
    assert pneumo("generate", painter, "--out", "out", "-n", 4).code == 0
    (fakes / "out" / "mine.png").write_text("mine")
    (fakes / "out" / "notes").mkdir()
    (fakes / "out" / "notes" / "000000.png").write_text("mine too")
    return fakes / "out"


def test_a_folder_that_is_not_empty_is_refused_and_unchanged(occupied: Path, painter, pneumo) -> None:
    before = content(occupied.parent)
    ended = pneumo("generate", painter, "--out", "out", "-n", 2)
    assert_one_line(ended, 2, "the folder out is not empty", "--overwrite")
    assert content(occupied.parent) == before


def test_overwriting_replaces_only_images_that_were_generated_before(occupied: Path, painter, pneumo) -> None:
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


def test_a_file_that_was_not_generated_is_not_overwritten(painter: Path, pneumo, fakes) -> None:
    (fakes / "out").mkdir()
    (fakes / "out" / "000001.png").write_text("mine")
    before = content(fakes)
    ended = pneumo("generate", painter, "--out", "out", "-n", 3, "--overwrite")
    assert_one_line(ended, 2, "out/000001.png was not written by pneumo generate")
    assert content(fakes) == before


def test_a_manifest_with_other_columns_is_ignored_and_kept(painter: Path, pneumo, fakes) -> None:
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
def test_a_damaged_manifest_is_ignored_and_kept(damage: bytes, occupied: Path, painter, pneumo) -> None:
    (occupied / "manifest.csv").write_bytes(damage)
    before = content(occupied)
    ended = pneumo("generate", painter, "--out", "out", "--overwrite")
    assert_one_line(ended, 2, "manifest.csv was not written by pneumo generate")
    assert content(occupied) == before


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


def test_a_full_disk_when_overwriting_changes_nothing(occupied: Path, painter, pneumo, full_disk) -> None:
    before = content(occupied)
    ended = pneumo("generate", painter, "--out", "out", "-n", 2, "--seed", 3, "--overwrite")
    assert_one_line(ended, 1, "nothing was changed")
    assert content(occupied) == before


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/pneumo", "/dev/null"])
def test_a_target_that_is_no_folder_or_cannot_be_created_is_refused_first(
    out: str, painter: Path, pneumo, fakes, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_cli.trainers.loading.load_trained", None)  # nothing is loaded
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


def test_memory_does_not_grow_with_the_number_of_images(trained: Trained, tmp_path: Path) -> None:
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
