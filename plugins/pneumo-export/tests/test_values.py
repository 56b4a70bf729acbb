"""Exported models of numbers and masks, and of images in color and of 16 bits: they predict as the run does."""

from __future__ import annotations

import csv
import importlib
import io
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

from pneumo_cli.testing import Invocation
from pneumo_cli.testing.datasets import open_targets
from tests.inference.value_plugin import MODULE, PLUGIN

Pneumo = Callable[..., Invocation]
Predict = Callable[..., Any]

TOLERANCE = 1e-4
LEVELS = """
from pneumo_cli.api import DatasetSpec, ModelSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets():
    for name in ("color", "deep"):
        yield DatasetSpec(name=name, summary="Discs.", factory=f"levels:open_{name}", synthetic=True)


@hookimpl
def register_models():
    yield ModelSpec(name="thumb", kind="classifier", summary="Small.", factory="levels:build_thumb")
"""
DATA = """
import numpy as np
from torch import nn

from pneumo_cli.testing.datasets import TinyDataset, open_targets


class Color(TinyDataset):
    channels = 3

    def read(self, record, size=None):
        own = super().read(record).astype(np.float32)
        return np.stack([own, 128 - 0.5 * own, np.zeros_like(own)]).clip(0, 255).astype(np.uint8)


class Deep(type(open_targets(None))):
    bits = 16

    def read(self, record, size=None):
        return super().read(record).astype(np.uint16) * np.uint16(200)

    def read_mask(self, record, target, size=None):
        return (self.read(record) > 24000).astype(np.uint8)


def open_color(request):
    return Color("color")


def open_deep(request):
    dataset = Deep()
    dataset.name = "deep"
    return dataset


def build_thumb(channels=3, outputs=1):
    layers = [nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs))
"""


@pytest.fixture(autouse=True)
def installed(install: Callable[..., None]) -> None:
    install("pneumo-values", {"values": "values_plugin"}, {"values_plugin": PLUGIN, "values": MODULE})
    install("pneumo-levels", {"levels": "levels_plugin"}, {"levels_plugin": LEVELS, "levels": DATA})


@pytest.fixture
def run(finished_run: Callable[..., Path]) -> Path:
    """A finished run of a number and a mask; not to be changed."""
    return finished_run("both")


@pytest.fixture
def values(
    exported: dict[str, Path], run: Path, pneumo: Pneumo, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its bundle; not to be changed."""
    if "values" not in exported:
        target = tmp_path_factory.mktemp("export") / "values"
        done = pneumo("export", run, "--out", target)
        assert done.code == 0, done.stderr
        said = r"largest difference of age, lungs on 16 images.* [0-9.]+ % of the pixels of masks differ"
        assert len(re.findall(said, done.stderr)) == 2
        exported["values"] = target
    return exported["values"]


@pytest.fixture
def films(fakes: Path) -> Path:
    """Images of the dataset as files."""
    data = open_targets(None)  # type: ignore[arg-type]
    folder = fakes / "films"
    folder.mkdir()
    for number, record in enumerate(data.records[::16]):
        Image.fromarray(data.read(record)).resize((64, 64)).save(folder / f"{number}.png")
    return folder


def test_run_bundle_and_onnx_file_predict_the_same_numbers_and_masks(
    run: Path, values: Path, films: Path, predict: Predict, pneumo: Pneumo
) -> None:
    own = predict(run, films, "--cam", "of-run")
    for place, exported in enumerate((values, values / "model.onnx")):
        other = predict(exported, films, "--cam", f"masks-{place}")
        for one, two in zip(own["predictions"], other["predictions"], strict=True):
            assert two["numbers"]["age"] == pytest.approx(one["numbers"]["age"], abs=TOLERANCE)
            assert two["areas"]["lungs"] == pytest.approx(one["areas"]["lungs"], abs=2 / 32**2)
        for name in ("task", "numbers", "masks", "model", "epoch", "synthetic", "data_fingerprint"):
            assert other[name] == own[name]
        for file in Path("of-run").iterdir():
            mask = np.asarray(Image.open(Path(f"masks-{place}", file.name)))
            assert (mask != np.asarray(Image.open(file))).mean() < 0.01
        table = pneumo("predict", exported, films)
        assert table.stdout.split()[:5] == ["FILE", "AGE", "(years)", "LUNGS", "(AREA)"]
        rows = list(csv.DictReader(io.StringIO(pneumo("predict", exported, films, "--csv").stdout)))
        assert float(rows[0]["age"]) == pytest.approx(own["predictions"][0]["numbers"]["age"], abs=TOLERANCE)
    assert np.ptp([one["numbers"]["age"] for one in own["predictions"]]) > 0.01


def test_the_graph_s_outputs_have_the_names_of_the_predictions(values: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(values / "model.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((3, 1, 32, 32), np.float32)
    age, lungs = session.run(["age", "lungs"], {"images": images})
    assert (age.shape, lungs.shape) == ((3,), (3, 32, 32))
    assert 0 <= lungs.min() <= lungs.max() <= 1
    program = torch.export.load(values / "model.pt2").module()
    for mine, theirs in zip((age, lungs), program(torch.from_numpy(images)), strict=True):
        assert np.abs(theirs.detach().numpy() - mine).max() <= TOLERANCE
    described = json.loads(session.get_modelmeta().custom_metadata_map["pneumo"])
    assert described["predicts"] == {"age": {"kind": "number", "unit": "years"}, "lungs": {"kind": "mask"}}
    assert described["outputs"]["age"] == "float32 [batch], in years"
    assert described["checks"][0]["differing_pixels"] < 0.01


def test_the_model_card_s_program_predicts_without_pneumo(
    values: Path, films: Path, predict: Predict
) -> None:
    card = (values / "README.md").read_text()
    assert "predicts the number age (in years), the mask lungs from a frontal chest radiograph" in card
    assert "operating point" not in card
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    files = sorted(films.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        cwd=values,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = predict(values, *files)["predictions"]
    lines = done.stdout.splitlines()
    ages = [float(line.split(" age ")[1].split()[0]) for line in lines if " age " in line]
    assert ages == pytest.approx([one["numbers"]["age"] for one in expected], abs=2e-3)
    assert sum(" lungs " in line for line in lines) == len(files)


def test_of_a_bundle_without_masks_saliency_maps_are_drawn_by_its_network(
    finished_run: Callable[..., Path], films: Path, pneumo: Pneumo, predict: Predict, fakes: Path
) -> None:
    run = finished_run("number")
    assert pneumo("export", run, "--out", "bundle").code == 0
    own, other = predict(run, films, "--cam", "of-run"), predict("bundle", films, "--cam", "maps")
    assert other["predictions"] == own["predictions"]
    assert len(list((fakes / "maps").iterdir())) == len(own["predictions"])
    done = pneumo("predict", "bundle/model.onnx", films, "--cam", "none")
    assert (done.code, "Grad-CAM cannot be computed" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("trainer", "dataset", "form"),
    [("fake", "color", "bundle"), ("fake", "deep", "onnx"), ("both", "deep", "bundle")],
)
def test_models_of_color_and_of_16_bits_predict_the_same(
    trainer: str,
    dataset: str,
    form: str,
    finished_run: Callable[..., Path],
    pneumo: Pneumo,
    predict: Predict,
    fakes: Path,
) -> None:
    levels = importlib.import_module("levels")  # that the fixture installs

    model = ("--model", "thumb") if trainer == "fake" else ()
    run = finished_run(trainer, "--dataset", dataset, "--epochs", 1, "--split", "patient", *model)
    data = getattr(levels, f"open_{dataset}")(None)
    (fakes / "films").mkdir()
    for number, record in enumerate(data.records[::16]):
        stored = data.read(record)
        image = Image.fromarray(stored if stored.ndim == 2 else stored.transpose(1, 2, 0).copy())
        image.save(fakes / "films" / f"{number}.png")
    target = "exported" if form == "bundle" else "exported.onnx"
    done = pneumo("export", run, "--format", form, "--out", target, "--check-on", "films")
    assert done.code == 0, done.stderr
    assert "on 20 images" in done.stderr
    own, other = predict(run, "films"), predict(target, "films")
    for one, two in zip(own["predictions"], other["predictions"], strict=True):
        if trainer == "fake":
            assert two["logit"] == pytest.approx(one["logit"], abs=TOLERANCE)
            assert two["out_of_distribution"] == one["out_of_distribution"]
        else:
            assert two["numbers"] == pytest.approx(one["numbers"], abs=TOLERANCE)
    if form == "bundle":
        card = (fakes / target / "README.md").read_text()
        (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        file = str(fakes / "films" / "1.png")
        printed = subprocess.run(
            [sys.executable, "-c", program, file],
            cwd=fakes / target,
            capture_output=True,
            text=True,
            check=True,
        )
        shown = (
            f"{100 * own['predictions'][1]['probability']:.1f} %"
            if trainer == "fake"
            else f"{own['predictions'][1]['numbers']['age']:.2f}"
        )
        assert shown in printed.stdout


def test_a_damaged_description_of_predictions_is_one_line(
    values: Path, films: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    def changed(name: str, change: Callable[[Any], Any]) -> Path:
        copy = shutil.copytree(values, tmp_path / name)
        plain = json.loads((copy / "model.json").read_text())
        change(plain)
        (copy / "model.json").write_text(json.dumps(plain))
        return copy

    cases = {
        changed("nothing", lambda plain: plain.update(predicts={})): (1, "it predicts nothing"),
        changed("kind", lambda plain: plain["predicts"]["age"].update(kind="word")): (1, "damaged"),
        changed("list", lambda plain: plain.update(predicts=[1])): (1, "damaged"),
        changed("name", lambda plain: plain["predicts"].update({"../x": {"kind": "mask"}})): (1, "damaged"),
        changed("other", lambda plain: plain["predicts"].update(sex={"kind": "number"})): (
            1,
            "has no output",
        ),
        changed("swapped", lambda plain: plain["predicts"]["age"].update(kind="mask")): (1, "returns age"),
        changed("channels", lambda plain: plain["input"].update(channels=3, bits=8)): (1, "does not take"),
        changed("bits", lambda plain: plain["input"].update(channels=1, bits=12)): (1, "damaged"),
        changed("format", lambda plain: plain.update(format=2)): (2, "another version"),
    }
    for path, (code, words) in cases.items():
        done = pneumo("predict", path, films)
        assert (done.code, len(done.stdout.splitlines()) <= 1) == (code, True), (path, done.stderr)
        assert words in done.stderr.splitlines()[0], (path, done.stderr)


def test_a_run_and_its_bundle_are_no_ensemble_and_points_are_for_classes(
    run: Path, values: Path, films: Path, pneumo: Pneumo, fakes: Path
) -> None:
    done = pneumo("predict", run, "--with", values, films)
    assert (done.code, "are the same model" in done.stderr) == (2, True)
    done = pneumo("export", run, "--operating-point", "screening", "--format", "torch", "--out", "model.pt2")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "classifies no images: --operating-point is for classes" in done.stderr
    assert not Path("model.pt2").exists()


def test_a_prediction_may_have_the_name_of_a_value_inside_the_graph() -> None:
    from pneumo_cli.data import EvaluationTransform
    from pneumo_export import graph, verification
    from pneumo_export.description import Images, ValueDescription

    names = ("linear", "sigmoid", "convolution", "val_0", "images_2")
    images = Images(32, 1, 16)
    network = torch.nn.Conv2d(1, 5, 3, padding=1)

    def predictions(outputs: Any) -> dict[str, Any]:
        return {name: outputs.sigmoid().mean((2, 3))[:, place] for place, name in enumerate(names)}

    transform = EvaluationTransform(channels=1, mean=[0.5], std=[0.25])
    whole = graph.ValueGraph(network, transform, predictions, names, images.bits).eval()
    batch = {"images": {0: torch.export.Dim("batch")}}
    program = torch.export.export(whole, (torch.zeros(2, 1, 32, 32),), dynamic_shapes=batch)
    facts = {"pneumo": "0", "title": "", "model": "own"}
    description = ValueDescription(dict.fromkeys(names, ""), (), images, facts)
    content = graph.described_onnx(graph.onnx_file(program, description), description, "")
    levels = verification.probe_images(32, bits=16)
    _, answer = verification.onnx_answer(content, description)
    with torch.no_grad():
        expected = whole(torch.from_numpy(images.graph_input(levels)))
    for name, values in zip(names, expected, strict=True):
        assert np.abs(answer(levels)[name] - values.numpy()).max() <= TOLERANCE


def test_a_graph_gives_the_transform_the_levels_that_the_run_stores() -> None:
    from pneumo_export.description import Images
    from pneumo_export.graph import stored
    from pneumo_export.verification import probe_images

    for channels, bits in ((1, 8), (3, 8), (1, 16), (2, 16)):
        levels = probe_images(24, channels, bits)
        inputs = torch.from_numpy(Images(24, channels, bits).graph_input(levels))
        assert inputs.shape == (16, channels, 24, 24)
        assert np.array_equal(stored(inputs, bits).numpy(), levels)
