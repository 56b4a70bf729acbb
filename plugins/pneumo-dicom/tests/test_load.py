"""``pneumo.load(path).predict(images)`` of DICOM files, their bytes, and datasets of pydicom."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import IMAGE, dicom
from PIL import Image
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

import pneumo_cli as pneumo
from pneumo_cli.errors import UsageError


@pytest.fixture
def model(trained_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> pneumo.Model:
    monkeypatch.setattr("pneumo_cli.workflows.installed._found", [])
    return pneumo.load(trained_run("fake", epochs=1))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_a_radiograph_has_the_same_logit_as_file_bytes_dataset_png_and_array(
    syntax: str, model: pneumo.Model, fakes: Path
) -> None:
    data = dicom(IMAGE, syntax)
    (fakes / "film.dcm").write_bytes(data)
    Image.fromarray(IMAGE).save(fakes / "film.png")
    dataset = pydicom.dcmread(io.BytesIO(data))
    before = str(dataset)
    forms = ("film.dcm", Path("film.dcm"), data, dataset, [dataset], "film.png", IMAGE)
    assert len({float(model.predict(form).logits[0]) for form in forms}) == 1
    assert str(dataset) == before


def test_the_body_part_of_a_dataset_is_a_reason_for_doubt(model: pneumo.Model) -> None:
    (found,) = model.predict(pydicom.dcmread(io.BytesIO(dicom(BodyPartExamined="KNEE"))))
    assert found.other_part == "KNEE"
    assert "shows KNEE, no chest, as the file says" in found.doubts


def test_a_dataset_that_is_no_file_is_refused_and_one_without_pixels_is_an_error(model: pneumo.Model) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    pixels = dataset.pop("PixelData")
    assert pixels is not None
    assert model.predict([dataset, np.zeros((9, 9), np.uint8)]).table.column("error")[0]
    with pytest.raises(UsageError, match=r"images\[0\]: the DICOM dataset is incomplete"):
        model.predict([pydicom.Dataset()])
