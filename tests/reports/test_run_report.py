"""The report of a run: of a task without validation, with images of each epoch and a summary of the whole run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

_PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="sketch", summary="Draws", trainer="sketcher:SketchTrainer", settings="sketcher:SketchSettings",
        kind="pair", model="two-nets", presets=(Preset(name="source", summary="As published"),),
    )
"""
_TRAINER = """
import torch
from pydantic import Field

from pneumo_cli.evaluation.result import Evaluation, RunSummary, NamedFigure, NamedTable
from pneumo_cli.reports.figures.galleries import image_grid
from pneumo_cli.trainers.base import Monitor
from pneumo_fake.settings import DuelSettings
from pneumo_fake.trainers import DuelTrainer

class SketchSettings(DuelSettings):
    split: str = Field("all", description="how the pool is divided")

class SketchTrainer(DuelTrainer):
    curves = ("kid",)
    monitor = Monitor("generator_loss", "min", "train")
    only_class = "PNEUMONIA"

    def epoch_images(self, run):
        return torch.full((16, 8, 8), len(run.history), dtype=torch.uint8)

    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        return Evaluation({**found.metrics, "generator_loss": 0.5}, (self.grid("outputs"),), found.outputs)

    def summarize(self, run, evaluations):
        return RunSummary(
            {"kid_pixels": 0.0123, "kid_real_pixels": 0.0007, "undefined": float("nan")},
            (NamedTable("Distances", ("Images", "KID"), (("generated", "12.3"), ("real", "0.7")), "In pixels."),),
            (self.grid("closest-pairs", "summary"), self.grid("losses", "training")),
            ("No copies were found.",),
        )

    def grid(self, name, group="results"):
        return NamedFigure(name, f"The {name}.", lambda: image_grid(torch.zeros(4, 8, 8).numpy()), group)
"""


@pytest.fixture
def sketch(install, pneumo):
    """A finished run of such a task: its output and its folder."""
    install("pneumo-sketch", {"sketch": "sketch_plugin"}, {"sketch_plugin": _PLUGIN, "sketcher": _TRAINER})
    done = pneumo("run", "sketch", "--epochs", "3", "--output", "out")
    assert done.code == 0, done.stderr
    (folder,) = Path("out/sketch").iterdir()
    return done, folder


def test_a_task_without_validation_and_with_a_summary_is_reported_completely(sketch) -> None:
    done, folder = sketch
    report = json.loads((folder / "report.json").read_text())

    # The summary is in the file, as JSON-compatible values, and on both pages.
    assert report["summary"]["metrics"] == {
        "kid_pixels": 0.0123,
        "kid_real_pixels": 0.0007,
        "undefined": None,
    }
    assert report["summary"]["tables"][0]["rows"] == [["generated", "12.3"], ["real", "0.7"]]
    markdown, page = ((folder / name).read_text() for name in ("report.md", "report.html"))
    for text in (markdown, page):
        assert "Image quality" in text
        assert "No copies were found." in text
        assert "it has the lowest training generator loss" in text
        assert "All metrics are training metrics." in text
        assert "Training and validation" not in text
        assert "Missing figure" not in text

    # Figures are in the sections that they name.
    groups = {figure["file"]: figure["group"] for figure in report["figures"]}
    assert groups["figures/closest-pairs.png"] == "summary"
    assert groups["figures/losses.png"] == "training"
    assert groups["figures/outputs-test.png"] == "results"
    assert groups["figures/curves.png"] == "training"
    # The metric that selected the epoch is shown although it is not among the curves of the trainer; each metric's
    # own figure is for print.
    (curves,) = (figure for figure in report["figures"] if figure["file"] == "figures/curves.png")
    assert "generator loss" in curves["alternative"]
    assert not list((folder / "figures").glob("curve-*"))
    assert not list((folder / "samples").glob("validation*")), "no sample of a split without images"
    assert (folder / "samples" / "test.png").is_file()

    # Images of the first, the middle, the last and the selected epoch, and all as an animation.
    assert report["monitor"]["side"] == "train"
    best = report["monitor"]["epoch"]
    captions = {figure["file"]: figure["caption"] for figure in report["figures"]}
    for epoch in {1, 2, 3, best}:
        selected = " (selected)" if epoch == best else ""
        assert captions[f"samples/epoch-{epoch:03}.png"] == f"After epoch {epoch}{selected}."
        assert groups[f"samples/epoch-{epoch:03}.png"] == "training"
    assert "samples/epoch-000.png" not in groups
    with Image.open(folder / "samples" / "animation.png") as image:
        assert image.n_frames == 4
    assert groups["samples/animation.png"] == "training"

    # On stderr: the training metrics by readable names, the results, and the notes.
    lines = done.stderr.splitlines()
    (heading,) = (line for line in lines if "epoch" in line and "lr" in line)
    assert "gen loss" in heading
    assert " val " not in heading
    (row,) = (line for line in lines if line.strip().startswith("3/3"))
    assert "nan" not in row
    assert any(line.startswith("gen loss ") for line in lines)
    assert any(line.startswith("KID ") and line.endswith(" 12.3") for line in lines)
    assert "note     No copies were found." in lines
