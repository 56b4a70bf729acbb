"""A finished run of a classifier, what is exported from it, and images to predict; shared by all tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.testing import Invocation, TinyDataset


class Predictions(dict[str, Any]):
    """The output of ``pneumo predict --json``."""

    def column(self, name: str) -> NDArray[Any]:
        """One value of each image."""
        return np.array([prediction[name] for prediction in self["predictions"]])


@pytest.fixture(scope="session")
def exported() -> dict[str, Path]:
    """What was exported from the run already."""
    return {}


@pytest.fixture
def run(finished_run: Callable[..., Path]) -> Path:
    """A finished run of a classifier; not to be changed."""
    return finished_run("fake", "--split", "patient")


@pytest.fixture
def bundle(
    exported: dict[str, Path],
    run: Path,
    pneumo: Callable[..., Invocation],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its bundle, with another default operating point than the run's; not to be changed."""
    if "bundle" not in exported:
        target = tmp_path_factory.mktemp("export") / "bundle"
        done = pneumo("export", run, "--out", target, "--operating-point", "screening")
        assert done.code == 0, done.stderr
        assert done.stdout.strip() == str(target)
        assert len(re.findall(r"largest difference of logits on 16 images", done.stderr)) == 2
        exported["bundle"] = target
    return exported["bundle"]


@pytest.fixture
def graph(
    exported: dict[str, Path],
    run: Path,
    pneumo: Callable[..., Invocation],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its ONNX file; not to be changed."""
    if "graph" not in exported:
        target = tmp_path_factory.mktemp("export") / "model.onnx"
        done = pneumo("export", run, "--format", "onnx", "--out", target, "--json")
        assert done.code == 0, done.stderr
        (check,) = json.loads(done.stdout)["checks"]
        assert check["largest_difference"] <= 1e-4
        assert check["runtime"].startswith("onnxruntime ")
        exported["graph"] = target
    return exported["graph"]


@pytest.fixture
def traced(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of the run take their graphs from the bundle, because tracing the network again takes seconds."""
    from pneumo_export import graph

    monkeypatch.setattr(graph, "trace", lambda predictor: None)
    monkeypatch.setattr(graph, "onnx_file", lambda *given: (bundle / "model.onnx").read_bytes())
    monkeypatch.setattr(graph, "program_file", lambda *given: (bundle / "model.pt2").read_bytes())


@pytest.fixture
def images(fakes: Path) -> Path:
    """A folder with the test images of that run and, as the last one, an out-of-distribution image."""
    dataset = TinyDataset("tiny")
    folder = fakes / "images"
    folder.mkdir()
    for number, record in enumerate(record for record in dataset.records if record.pool == "test"):
        Image.fromarray(dataset.read(record)).save(folder / f"{number:02}.png")
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(folder / "stripes.png")
    return folder


@pytest.fixture
def predict(pneumo: Callable[..., Invocation]) -> Callable[..., Predictions]:
    """``pneumo predict ARGUMENTS --json``, which has to succeed."""

    def run(*arguments: object) -> Predictions:
        done = pneumo("predict", *arguments, "--json")
        assert done.code == 0, done.stderr
        return Predictions(json.loads(done.stdout))

    return run
