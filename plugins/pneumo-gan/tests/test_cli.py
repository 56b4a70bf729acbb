"""``pneumo run gan``, ``generate`` and ``evaluate-images``: valid and invalid requests."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import Invocation, invoke
from tests.reports.report_schema import problems


def pneumo(*arguments: object) -> Invocation:
    return invoke(*arguments, suite_datasets=True)


def one_line(ended: Invocation) -> str:
    assert ended.code == 2, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pneumo: ")
    return line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--images-of", "NOTHING"), ("has no class 'NOTHING'", "NORMAL, PNEUMONIA")),
        (("--images-of", "pneumonia"), ("has no class 'pneumonia'", "PNEUMONIA")),
        (("--batch-size", 100), ("a batch of 100 images is more than the 96 images of PNEUMONIA",)),
        (("--model", "dcgan", "--image-size", 48), ("16, 32, 64, 128 or 256 px, not of 48",)),
        (("--preset", "strong", "--image-size", 8), ("16, 32, 64, 128 or 256 px, not of 8",)),
        (("--keep", "kid"), ("split = 'all' holds none out", "patient")),
        (("--keep", "kld"), ("keep", "'last', 'kid' or 'generator_loss'")),
        (("--extractor", "inceptoin"), ("unknown extractor 'inceptoin'",)),
        (("--extractor", "gan"), ("this model is of kind gan",)),
        (
            ("--keep", "kid", "--split", "patient", "--fidelity-images", 0, "--extractor", "x"),
            ("unknown extractor 'x'",),
        ),
        (("--model", "efficientnet-b0"), ("gan trains models of kind gan",)),
        (("--image-size", 512), ("image", "256")),
    ],
)  # fmt: skip
def test_an_invalid_request_is_one_line_and_writes_nothing(
    flags: tuple[object, ...], words: tuple[str, ...], work: Path
) -> None:
    line = one_line(pneumo("run", "gan", "--dataset", "conformance-small", "--batch-size", 16, *flags))
    for word in words:
        assert word in line
    assert list(work.iterdir()) == []


def test_generated_images_have_the_size_of_the_run_and_are_the_same_each_time(
    finished: Path, work: Path
) -> None:
    for out in ("one", "other"):
        ended = pneumo("generate", finished, "--out", out, "-n", 70, "--seed", 3)
        assert ended.code == 0, ended.stderr
        assert ended.stdout == f"{out}\n"
    names = [f"{index:06}.png" for index in range(70)]
    assert sorted(path.name for path in (work / "one").iterdir()) == [*names, "manifest.csv"]
    first = [np.asarray(Image.open(work / "one" / name)) for name in names]
    assert {(image.shape, image.dtype.name) for image in first} == {((32, 32), "uint8")}
    assert len({image.tobytes() for image in first}) == 70
    for name, image in zip(names, first, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(work / "other" / name)))
    with (work / "one" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["run"], row["epoch"], row["images_of"]) for row in rows} == {
        (f"gan/{finished.name}", "2", "PNEUMONIA")
    }


def test_a_gan_cannot_reconstruct_or_interpolate(finished: Path, work: Path) -> None:
    Image.new("L", (32, 32)).save(work / "film.png")
    for flags in (("--reconstruct", "film.png"), ("--interpolate", "film.png", "film.png")):
        line = one_line(pneumo("generate", finished, "--out", "out", *flags))
        assert "generates images from noise and " in line
    assert [path.name for path in work.iterdir()] == ["film.png"]


def test_evaluating_a_run_again_gives_the_numbers_of_its_report(finished: Path, work: Path) -> None:
    run = shutil.copytree(finished, work / "copy")
    ended = pneumo("evaluate-images", run, "--json")
    assert (ended.code, ended.stderr) == (0, "")
    again = json.loads(ended.stdout)
    assert problems(finished) == []
    report = json.loads((finished / "report.json").read_text())["summary"]
    assert again["metrics"] == report["metrics"]
    assert again["tables"] == report["tables"]
    (kept,) = (run / "evaluations").glob("*-best-summary.json")
    assert json.loads(kept.read_text()) == again


def test_a_run_of_other_data_is_not_evaluated(finished: Path, work: Path) -> None:
    run = shutil.copytree(finished, work / "copy")
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("conformance-small", "conformance-tiny"))
    assert "not the data that the run was trained on" in one_line(pneumo("evaluate-images", run))
    assert not (run / "evaluations").exists()


def test_show_prints_both_networks(work: Path) -> None:
    shown = json.loads(pneumo("show", "gan", "--json").stdout)
    assert shown["layers"]["parameters"] == 1_732_352 + 1_705_985
    assert shown["settings"]["images_of"] == "PNEUMONIA"
    assert list(work.iterdir()) == []
