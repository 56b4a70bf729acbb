"""Exported classifiers of K classes and of labels: they predict as the run does, and say what they are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.testing import Invocation, TinyDataset

Pneumo = Callable[..., Invocation]
Predict = Callable[..., Any]

TOLERANCE = 1e-4
CLASSES = {
    "fake-three": ("normal", "bacteria", "virus"),
    "fake-labels": ("effusion", "fracture", "nodule"),
}


@pytest.fixture(params=CLASSES)
def dataset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(dataset: str, finished_run: Callable[..., Path]) -> Path:
    """A finished run of K classes or labels; not to be changed."""
    return finished_run("fake", "--dataset", dataset, "--split", "patient")


@pytest.fixture
def bundle(
    exported: dict[str, Path],
    dataset: str,
    run: Path,
    pneumo: Pneumo,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its bundle, with another default operating point than the run's; not to be changed."""
    if dataset not in exported:
        target = tmp_path_factory.mktemp("export") / "bundle"
        done = pneumo("export", run, "--out", target, "--operating-point", "screening")
        assert done.code == 0, done.stderr
        exported[dataset] = target
    return exported[dataset]


@pytest.fixture
def images(fakes: Path) -> Path:
    """A few images, and stripes that are unlike them."""
    folder = fakes / "images"
    folder.mkdir()
    tiny = TinyDataset("tiny")
    for number, record in enumerate(tiny.records[::5]):
        Image.fromarray(tiny.read(record)).save(folder / f"{number:02}.png")
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(folder / "stripes.png")
    return folder


def logits_of(predictions: Any) -> np.ndarray:
    return np.array([list(one["logits"].values()) for one in predictions["predictions"]])


def test_run_bundle_and_onnx_file_predict_the_same(
    run: Path, bundle: Path, images: Path, predict: Predict
) -> None:
    own = predict(run, images, "--operating-point", "screening")
    thresholds = np.array(own["operating_point"]["logit_thresholds"])
    assert thresholds.any()
    for exported in (bundle, bundle / "model.onnx"):
        other = predict(exported, images)
        assert np.abs(logits_of(other) - logits_of(own)).max() <= TOLERANCE
        for one, two in zip(own["predictions"], other["predictions"], strict=True):
            assert two["probabilities"] == pytest.approx(one["probabilities"], abs=TOLERANCE)
            assert (two["predicted"], two["out_of_distribution"]) == (
                one["predicted"],
                one["out_of_distribution"],
            )
        for name in ("task", "classes", "temperature", "bias", "operating_point", "ood_threshold", "epoch"):
            assert other[name] == own[name]
    assert np.ptp(logits_of(own), axis=0).min() > 0.01, "the images must not be all the same to the network"


def test_the_graph_s_outputs_are_named_calibrated_and_described(
    dataset: str, bundle: Path, images: Path, predict: Predict
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    levels = np.stack([np.asarray(Image.open(file)) for file in sorted(images.iterdir())])
    inputs = levels[:, None] / np.float32(255)
    logits, probabilities = session.run(["logits", "probabilities"], {"images": inputs})
    assert logits.shape == probabilities.shape == (len(levels), 3)
    own = predict(bundle, images)
    expected = [list(one["probabilities"].values()) for one in own["predictions"]]
    assert np.abs(probabilities - expected).max() <= 1e-5
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(CLASSES[dataset])
    assert metadata["task"] == ("multiclass" if dataset == "fake-three" else "multilabel")
    points = json.loads(metadata["operating_points"])
    assert points["screening"] == own["operating_point"]["logit_thresholds"]
    program = torch.export.load(bundle / "model.pt2").module()
    traced, shares = program(torch.from_numpy(inputs[:5]))
    assert np.abs(traced.detach().numpy() - logits[:5]).max() <= TOLERANCE
    assert np.abs(shares.detach().numpy() - probabilities[:5]).max() <= TOLERANCE


def test_a_bundle_s_network_gives_saliency_maps(bundle: Path, images: Path, predict: Predict) -> None:
    found = predict(bundle, images, "--cam", "maps")
    assert len(list(Path("maps").iterdir())) == len(found["predictions"])
    assert found["operating_point"]["name"] == "screening"


def test_the_weights_of_the_last_epoch_are_exported_without_calibration(
    run: Path, images: Path, pneumo: Pneumo, predict: Predict
) -> None:
    done = pneumo("export", run, "--checkpoint", "last", "--format", "onnx", "--out", "last.onnx")
    assert done.code == 0, done.stderr
    own, other = (predict(path, images, "--checkpoint", "last") for path in (run, Path("last.onnx")))
    assert np.abs(logits_of(other) - logits_of(own)).max() <= TOLERANCE
    assert (other["validation_images"], other["temperature"], other["bias"]) == (0, [1.0] * 3, [0.0] * 3)


def test_the_model_card_has_each_class_and_each_operating_point(
    dataset: str, bundle: Path, run: Path
) -> None:
    card = (bundle / "README.md").read_text()
    details = json.loads((run / "report.json").read_text())["details"]["test"]
    for one in details["classes"]:
        value, (low, high) = one["metrics"]["auc"], one["intervals"]["auc"]
        assert f"| {one['name']} | {one['positives']} of {one['images']} | {value:.3f}" in card
        assert f"({low:.3f} to {high:.3f})" in card
    for point in details["operating_points"].values():
        for one in point["classes"]:
            assert f"| {one['name']} | {one['logit_threshold']:.4f} |" in card
    assert "`screening` (in use)" in card
    assert ("3 labels" if dataset == "fake-labels" else "3 exclusive classes") in card


def test_the_model_card_s_program_predicts_the_same_without_pneumo(
    bundle: Path, images: Path, predict: Predict
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(), re.DOTALL)
    files = sorted(images.iterdir())
    command = [sys.executable, "-I", "-c", code, *map(str, files)]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=True)
    for line, one in zip(done.stdout.splitlines(), predict(bundle, *files)["predictions"], strict=True):
        found = {
            name: float(share) / 100
            for name, share in re.findall(r"(\w+) ([\d.]+) %", line.rpartition(":")[2])
        }
        assert list(found) == one["predicted"]
        for name, share in found.items():
            assert share == pytest.approx(one["probabilities"][name], abs=0.0006)


def test_a_description_whose_rule_does_not_match_its_graph_is_damaged(
    bundle: Path, images: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    plain = json.loads((copy / "model.json").read_text())
    for name, value in (("classes", ["a", "b"]), ("task", "binary"), ("prevalence", [0.5]), ("points", [])):
        (copy / "model.json").write_text(json.dumps({**plain, "rule": {**plain["rule"], name: value}}))
        done = pneumo("predict", copy, images)
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), name
        assert done.code in (1, 2)
