"""Runs on RGB, on 16 bits and on two views: trained, evaluated, reported, and predicted from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import Invocation
from tests.programs import disabled

_PLUGIN = """
from pneumo_cli.api import DatasetSpec, ModelSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets():
    for name in ("color", "deep", "views"):
        yield DatasetSpec(name=name, summary="Discs.", factory=f"levels:open_{name}", synthetic=True)


@hookimpl
def register_models():
    yield ModelSpec(name="thumb", kind="classifier", summary="Small.", factory="levels:build_thumb")
"""
_DATA = """
import numpy as np
from torch import nn

from pneumo_cli.testing.datasets import TinyDataset


class Color(TinyDataset):
    # The disc is red, on green noise; in gray levels nothing is to be seen.
    channels = 3

    def read(self, record, size=None):
        own = super().read(record).astype(np.float32)
        return np.stack([own, 128 - 0.5 * own, np.zeros_like(own)]).clip(0, 255).astype(np.uint8)


class Deep(TinyDataset):
    bits = 16

    def read(self, record, size=None):
        return super().read(record).astype(np.uint16) * np.uint16(200)


class Views(TinyDataset):
    channels = 2

    def read(self, record, size=None):
        own = super().read(record)
        return np.stack([own, own[::-1]])


def open_color(request):
    return Color("color")


def open_deep(request):
    return Deep("deep")


def open_views(request):
    return Views("views")


def build_thumb(channels=3, outputs=1):
    layers = [nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs))
"""
_OWN = {
    "fake": (),
    "cnn": ("--image-size", 32),
    "feature-extraction": ("--weights", "none", "--image-size", 32),
    "fine-tuning": ("--weights", "none", "--image-size", 32),
}


@pytest.fixture
def trained(
    install: Callable[..., None], pneumo: Callable[..., Invocation], monkeypatch, fakes: Path
) -> Callable[..., Path]:
    """Trains with a trainer on one of the datasets; returns the run's folder."""
    trainers = [f"pneumo-{name}" for name in (*_OWN, "gan", "autoencoder")]
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled(*trainers))
    install("pneumo-levels", {"levels": "levels_plugin"}, {"levels_plugin": _PLUGIN, "levels": _DATA})

    def train(trainer: str, dataset: str, *flags: object, model: str = "thumb") -> Path:
        chosen = (*("--dataset", dataset, "--epochs", 1, "--precision", "fp32"), *_OWN.get(trainer, ()))
        named = ("--model", model) if model else ()
        ended = pneumo("run", trainer, *chosen, *named, *flags)
        if ended.code == 2 and "unknown trainer" in ended.stderr:
            pytest.skip(f"{trainer} is not installed")
        assert ended.code == 0, ended.stderr
        return max((fakes / "runs" / trainer).iterdir(), key=lambda folder: folder.stat().st_mtime_ns)

    return train


def written(folder: Path, dataset: str) -> list[Path]:
    """Four images of a dataset as files, losslessly."""
    import levels  # the module that the fixture installs

    data = getattr(levels, f"open_{dataset}")(None)
    folder.mkdir()
    for record in data.records[::20]:
        stored = data.read(record)
        image = Image.fromarray(stored if stored.ndim == 2 else stored.transpose(1, 2, 0).copy())
        image.save(folder / f"{record.name.replace('/', '_')}.png")
    return sorted(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["color", "deep"])
@pytest.mark.parametrize("trainer", _OWN)
def test_a_classifier_predicts_the_files_of_its_images_as_it_evaluates_them(
    trainer: str, dataset: str, trained, pneumo, fakes: Path
) -> None:
    run = trained(trainer, dataset)
    report = json.loads((run / "report.json").read_text())
    assert {"validation", "test"} <= report["evaluations"].keys()
    assert "figures/surest-cases.png" in {one["file"] for one in report["figures"]}
    ended = pneumo("evaluate", run, "--on", "validation", "--json")
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["metrics"]["loss"] == pytest.approx(
        report["evaluations"]["validation"]["loss"], rel=1e-4
    )
    files = written(fakes / "films", dataset)
    ended = pneumo("predict", run, "films", "--json", "--cam", "maps")
    assert ended.code == 0, ended.stderr
    found = {Path(one["file"]).stem: one["logit"] for one in json.loads(ended.stdout)["predictions"]}
    assert len(list((fakes / "maps").iterdir())) == len(files)
    own = {}
    for table in (run / "predictions").glob("*.csv"):
        for line in table.read_text().splitlines()[1:]:
            name, *_ = line.split(",")
            own[name.replace("/", "_")] = line
    shared = found.keys() & own.keys()
    assert shared
    for name in shared:
        assert any(
            abs(float(cell) - found[name]) < 1e-3 for cell in own[name].split(",")[1:] if is_number(cell)
        ), (own[name], found[name])


def is_number(cell: str) -> bool:
    try:
        return np.isfinite(float(cell))
    except ValueError:
        return False


def test_color_is_learnt_that_gray_levels_do_not_show(trained) -> None:
    run = trained("fake", "color", "--epochs", 20, "--lr", 0.05)
    assert json.loads((run / "report.json").read_text())["evaluations"]["test"]["auc"] > 0.9


@pytest.mark.parametrize("dataset", ["color", "deep", "views"])
@pytest.mark.parametrize(
    ("trainer", "flags"),
    [
        ("gan", ("--image-size", 32, "--batch-size", 8, "--fidelity-images", 0)),
        ("autoencoder", ("--image-size", 32, "--batch-size", 8)),
        ("painter", ()),
    ],
)
def test_generative_trainers_see_gray_images(
    trainer: str, flags: tuple[object, ...], dataset: str, trained
) -> None:
    run = trained(trainer, dataset, "--extractor", "pixels", *flags, model="")
    assert json.loads((run / "report.json").read_text())["evaluations"]


def test_several_views_are_trained_on_and_not_predicted_from_files(trained, pneumo, fakes: Path) -> None:
    run = trained("fake", "views")
    (fakes / "film.png").write_bytes(b"")
    ended = pneumo("predict", run, "film.png")
    assert ended.code == 2
    assert "its images have 2 channels of 8 bits" in ended.stderr


@pytest.mark.slow
def test_models_of_other_images_are_no_ensemble(trained, pneumo, fakes: Path) -> None:
    runs = [trained("fake", "color"), trained("fake", "deep")]
    (fakes / "film.png").write_bytes(b"")
    ended = pneumo("predict", runs[0], "film.png", "--with", runs[1])
    assert ended.code == 2
    assert "an ensemble's models take the same" in ended.stderr


def test_a_dataset_of_other_images_is_evaluated_on_by_none_of_these_runs(trained, pneumo) -> None:
    run = trained("fake", "views")
    ended = pneumo("evaluate", run, "--dataset", "tiny")
    assert ended.code == 2, ended.stdout
    assert "channels" in ended.stderr
