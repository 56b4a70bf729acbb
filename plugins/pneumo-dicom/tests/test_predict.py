"""``pneumo predict`` of DICOM files: the predictions of the same images, and body parts in their headers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from pneumo_cli.testing import Invocation, TinyDataset

Pneumo = Callable[..., Invocation]

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def run(trained_run: Callable[..., Path]) -> Path:
    """A trained run of a classifier."""
    return trained_run("fake", epochs=1)


@pytest.fixture
def image() -> np.ndarray:
    """An image of a size that the run was not trained on."""
    dataset = TinyDataset("tiny")
    return np.kron(dataset.read(dataset.records[-1]), np.ones((4, 4), np.uint8))


def test_a_dicom_file_gets_the_probability_of_the_same_image_as_png(
    run: Path, image: np.ndarray, fakes: Path, pneumo: Pneumo
) -> None:
    # A real radiograph of full and one of reduced size, where they are present.
    radiographs = [*islice(sorted((DATA / "chest_xray_fullres").rglob("*.jpeg")), 1)]
    radiographs += islice(sorted((DATA / "chest_xray").rglob("*.jpeg")), 1)
    images = [*(np.asarray(Image.open(path).convert("L")) for path in radiographs), image]
    folder = fakes / "studies"
    folder.mkdir()
    for number, levels in enumerate(images):
        Image.fromarray(levels).save(folder / f"{number}-image.png")
        for syntax, photometric in product(
            (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless), ("MONOCHROME1", "MONOCHROME2")
        ):
            stored = 255 - levels if photometric == "MONOCHROME1" else levels
            data = dicom(stored, syntax, PhotometricInterpretation=photometric)
            (folder / f"{number}-{syntax.keyword}-{photometric}.dcm").write_bytes(data)
    done = pneumo("predict", run, folder, "--json")
    assert done.code == 0, done.stderr
    by_image: dict[str, list[float]] = {}
    for prediction in json.loads(done.stdout)["predictions"]:
        by_image.setdefault(Path(prediction["file"]).name[0], []).append(prediction["probability"])
    assert len(by_image) == len(images)
    for probabilities in by_image.values():
        assert len(probabilities) == 7
        assert max(probabilities) - min(probabilities) <= 1e-3


def test_a_dicom_file_of_another_body_part_gets_a_prediction_and_a_remark(
    run: Path, image: np.ndarray, fakes: Path, pneumo: Pneumo
) -> None:
    files = (fakes / "CHEST.dcm", fakes / "KNEE.dcm")
    for file in files:
        file.write_bytes(dicom(image, BodyPartExamined=file.stem))
    done = pneumo("predict", run, *files, "--json")
    assert done.code == 0
    chest, knee = json.loads(done.stdout)["predictions"]
    assert (chest["other_part"], knee["other_part"]) == (None, "KNEE")
    # The last bits may depend on the place in the batch.
    assert chest["logit"] == pytest.approx(knee["logit"], abs=1e-4)
    assert "1 of 2 images says that it shows another part of the body" in done.stderr
    text = pneumo("predict", run, *files)
    assert "the file says that it shows KNEE, no chest: do not trust it" in text.stdout.splitlines()[2]
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, *files, "--csv").stdout)))
    assert [row["other_part"] for row in rows] == ["", "KNEE"]
