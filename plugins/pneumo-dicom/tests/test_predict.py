"""``pneumo predict`` of DICOM files: the numbers of the same pictures, and what a header says of the body."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from pneumo_cli.testing import TinyDataset


@pytest.fixture
def run(finished_run) -> Path:
    """A finished run of a classifier."""
    return finished_run("fake", "--split", "patient")


def test_a_dicom_gets_the_probability_of_the_same_picture_as_png(run: Path, fakes: Path, pneumo) -> None:
    radiographs = Path(__file__).parents[4] / "shared" / "data" / "chest_xray_fullres"
    found = sorted(radiographs.rglob("*.jpeg"))[:2]
    pictures = [np.asarray(Image.open(path).convert("L")) for path in found]
    dataset = TinyDataset("tiny")
    pictures.append(np.kron(dataset.read(dataset.records[-1]), np.ones((4, 4), np.uint8)))
    folder = fakes / "studies"
    folder.mkdir()
    for number, levels in enumerate(pictures):
        Image.fromarray(levels).save(folder / f"{number}-picture.png")
        for inverted in (False, True):
            stored = 255 - levels if inverted else levels
            photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
            for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless):
                path = folder / f"{number}-{syntax.keyword}-{inverted}.dcm"
                path.write_bytes(dicom(stored, syntax, PhotometricInterpretation=photometric))
    done = pneumo("predict", run, folder, "--json")
    assert done.code == 0, done.stderr
    by_picture: dict[str, list[float]] = {}
    for one in json.loads(done.stdout)["predictions"]:
        by_picture.setdefault(Path(one["file"]).name[0], []).append(one["probability"])
    assert len(by_picture) == len(pictures)
    for probabilities in by_picture.values():
        assert len(probabilities) == 7
        assert max(probabilities) - min(probabilities) <= 1e-3


def test_a_dicom_that_says_it_shows_no_chest_is_judged_with_a_remark(run: Path, fakes: Path, pneumo) -> None:
    dataset = TinyDataset("tiny")
    levels = np.kron(dataset.read(dataset.records[-1]), np.ones((4, 4), np.uint8))
    for part in ("CHEST", "KNEE"):
        (fakes / f"{part}.dcm").write_bytes(dicom(levels, BodyPartExamined=part))
    files = (fakes / "CHEST.dcm", fakes / "KNEE.dcm")
    done = pneumo("predict", run, *files, "--json")
    assert done.code == 0
    chest, knee = json.loads(done.stdout)["predictions"]
    assert (chest["other_part"], knee["other_part"]) == (None, "KNEE")
    assert chest["logit"] == knee["logit"]
    assert "1 of 2 images says that it shows another part of the body" in done.stderr
    text = pneumo("predict", run, *files)
    assert "the file says that it shows KNEE, no chest: do not trust it" in text.stdout.splitlines()[2]
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, *files, "--csv").stdout)))
    assert [row["other_part"] for row in rows] == ["", "KNEE"]
