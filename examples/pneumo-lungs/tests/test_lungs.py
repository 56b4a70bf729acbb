"""Dataset and trainer pass the conformance suites; masks fit their images, and a run learns and predicts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pneumo_lungs.dataset import PhantomLungs
from pneumo_lungs.trainer import dice

from pneumo_cli.testing import DatasetConformance, TrainerConformance, empty_workplace, invoke


class TestDataset(DatasetConformance):
    name = "phantom-lungs"
    reads = 4
    options: ClassVar = {"cohort": 40}


class TestTrainer(TrainerConformance):
    name = "segmentation"
    dataset = "conformance-targets"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)


def test_lungs_are_darker_than_what_lies_between_them() -> None:
    data = PhantomLungs(40)
    for record in data.records[::8]:
        image, mask = data.read(record, 128), data.read_mask(record, "lungs", 128)
        assert image.shape == mask.shape == (128, 128)
        assert set(np.unique(mask)) == {0, 1}
        assert 0.1 < mask.mean() < 0.5
        rows, columns = np.nonzero(mask)
        box = np.zeros_like(mask)
        box[rows.min() : rows.max(), columns.min() : columns.max()] = 1
        assert np.median(image[mask == 1]) < np.median(image[(box == 1) & (mask == 0)])


def test_a_mask_is_the_same_at_every_size() -> None:
    data = PhantomLungs(40)
    record = data.records[3]
    large, small = data.read_mask(record, "lungs", 512), data.read_mask(record, "lungs", 128)
    smaller = large.reshape(128, 4, 128, 4).mean((1, 3)) >= 0.5
    assert (smaller == small).mean() > 0.99


@pytest.mark.parametrize(("first", "second", "expected"), [(1, 1, 1.0), (1, 0, 0.0), (0, 0, 1.0)])
def test_dice_of_equal_different_and_empty_masks(first: int, second: int, expected: float) -> None:
    masks = [torch.full((2, 4, 4), float(value)) for value in (first, second)]
    assert dice(*masks).tolist() == pytest.approx([expected] * 2, abs=1e-6)


def test_a_run_learns_lungs_and_predicts_files(work: Path) -> None:
    flags = ("--cohort", 80, "--image-size", 32, "--epochs", 12, "--batch-size", 8, "--precision", "fp32")
    ended = invoke("run", "segmentation", *flags, "--no-report")
    assert ended.code == 0, ended.stderr
    (run,) = (work / "runs/segmentation").iterdir()
    report = json.loads((run / "report.json").read_text())
    assert report["evaluations"]["test"]["dice"] > 0.75
    low, high = report["intervals"]["test"]["dice"]
    assert low < report["evaluations"]["test"]["dice"] < high
    data = PhantomLungs(80)
    record = data.records[0]
    Image.fromarray(data.read(record)).save(work / "film.png")
    ended = invoke("predict", run, "film.png", "--json", "--cam", "masks")
    (one,) = json.loads(ended.stdout)["predictions"]
    found = np.asarray(Image.open(work / "masks/film-lungs.png")) == 255
    stated = data.read_mask(record, "lungs") == 1
    assert found.shape == stated.shape
    assert 2 * (found & stated).sum() / (found.sum() + stated.sum()) > 0.7
    assert one["areas"]["lungs"] == pytest.approx(found.mean(), abs=0.03)


def test_the_data_are_audited(work: Path) -> None:
    assert invoke("data", "check", "--dataset", "phantom-lungs", "--cohort", 60).code == 0


def test_a_mask_that_the_dataset_lacks_is_refused(work: Path) -> None:
    ended = invoke("run", "segmentation", "--cohort", 40, "--image-size", 32, "--target", "heart")
    assert ended.code == 2
    assert "has no mask heart (--target); it has lungs" in ended.stderr
    assert not (work / "runs").exists()
