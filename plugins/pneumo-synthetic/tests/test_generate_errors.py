"""Runs, checkpoints and flags with which ``pneumo generate`` cannot work: one line, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_folders import assert_one_line, content
from PIL import Image


def test_a_classifier_s_run_generates_no_images(trained_run, pneumo, fakes) -> None:
    run = trained_run("fake", epochs=1)
    for flags in ((), ("--reconstruct", fakes)):
        Image.new("L", (32, 32)).save(fakes / "given.png")
        ended = pneumo("generate", run, "--out", "out", *flags)
        assert_one_line(ended, 2, f"{run} is a run of fake, which generates no images")
        assert not (fakes / "out").exists()


def test_a_model_that_only_reconstructs_is_refused_with_its_options(trained_run, pneumo, fakes) -> None:
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
    ("damage", "code", "words"),
    [
        (without_checkpoint, 2, "there is no checkpoint"),
        (damaged_checkpoint, 1, "best.pt is damaged"),
        (other_model, 2, "the checkpoint"),
    ],
)
def test_an_unusable_checkpoint_is_one_line(
    damage: Callable[[Path], None], code: int, words: str, painter: Path, pneumo, fakes, tmp_path: Path
) -> None:
    run = shutil.copytree(painter, tmp_path / "copy")
    damage(run)
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
def test_an_invalid_flag_is_one_line(flags: tuple[object, ...], words: str, painter, pneumo, fakes) -> None:
    assert_one_line(pneumo("generate", painter, "--out", "out", *flags), 2, words)
    assert content(fakes) == {}


def test_a_folder_that_is_no_run_is_one_line(painter: Path, pneumo, fakes) -> None:
    assert_one_line(pneumo("generate", "nowhere", "--out", "out"), 2, "there is no run folder nowhere")
    assert_one_line(
        pneumo("generate", painter / "checkpoints", "--out", "out"), 2, "is no run folder", str(painter.name)
    )
    assert content(fakes) == {}
