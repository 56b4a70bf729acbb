"""``pneumo generate --class``: images of one class, by a third party's trainer that is conditional on it."""

from __future__ import annotations

import pytest
from image_folders import assert_one_line, content, manifest, pixels

_PLUGIN = """
from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_models():
    yield ModelSpec(name="two-canvases", kind="two", summary="One canvas per class.", factory="conditional:build")


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="conditional",
        summary="Learns the mean image of each class.",
        trainer="conditional:Conditional",
        settings="conditional:Settings",
        kind="two",
        model="two-canvases",
        presets=(Preset(name="quick", summary="One epoch.", values={}),),
    )
"""
_TRAINER = """
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from pneumo_cli.evaluation import Evaluation
from pneumo_cli.settings import GenerativeSettings
from pneumo_cli.trainers import GenerativeTrainer


class Settings(GenerativeSettings):
    model: str = Field("two-canvases", description="registered model to train")
    dataset: str = Field("small", description="registered dataset to train on")
    epochs: int = Field(1, ge=1, le=9, description="passes over the training images")
    image_size: int = Field(16, ge=8, le=64, description="height and width of the images, in pixels")
    images_of: str = Field("", description="class to train on; empty: all")
    fidelity_images: int = Field(0, ge=0, le=9, description="images to measure the fidelity of")


class Canvases(nn.Module):
    def __init__(self, classes, size):
        super().__init__()
        means = [torch.full((1, size, size), 0.2 + 0.5 * label) for label in range(classes)]
        self.canvas = nn.Parameter(torch.stack(means))


def build(classes=2, size=16):
    return Canvases(classes, size)


class Conditional(GenerativeTrainer):
    class_conditional = True

    def model_options(self):
        return {**super().model_options(), "classes": len(self.classes) or 2}

    def train_step(self, run, batch):
        loss = F.mse_loss(run.model.canvas[batch.labels], batch.images)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run, loader):
        return Evaluation({"loss": 0.5})

    def can_sample(self, model):
        return True

    def noise(self, model, generators):
        return torch.stack([torch.rand(1, 1, 1, generator=one) for one in generators])

    def from_noise(self, model, noise):
        return model.canvas.mean(0, keepdim=True) + 0 * noise

    def from_noise_of_class(self, model, noise, label):
        return model.canvas[label] + 0.05 * noise
"""


@pytest.fixture
def conditional_run(install, pneumo, fakes):
    install(
        "pneumo-conditional",
        {"conditional": "conditional_plugin"},
        {"conditional_plugin": _PLUGIN, "conditional": _TRAINER},
    )

    def train(*flags):
        ended = pneumo("run", "conditional", *flags)
        assert ended.code == 0, ended.stderr
        return max((fakes / "runs/conditional").iterdir())

    return train


def test_images_of_each_class_are_generated_and_named_in_the_manifest(conditional_run, pneumo, fakes) -> None:
    run = conditional_run()
    means = {}
    for name in ("NORMAL", "PNEUMONIA"):
        ended = pneumo("generate", run, "--out", name, "-n", 3, "--class", name)
        assert ended.code == 0, ended.stderr
        assert [row["images_of"] for row in manifest(fakes / name)] == [name] * 3
        means[name] = [image.mean() for image in pixels(fakes / name).values()]
        assert len(set(means[name])) == 3
    assert max(means["NORMAL"]) < min(means["PNEUMONIA"])
    assert pneumo("generate", run, "--out", "all", "-n", 1).code == 0
    assert manifest(fakes / "all")[0]["images_of"] == "all classes"


def test_an_unknown_class_is_refused_with_the_known_ones(conditional_run, pneumo, fakes) -> None:
    run = conditional_run()
    ended = pneumo("generate", run, "--out", "out", "--class", "EDEMA")
    assert_one_line(ended, 2, "generates no class 'EDEMA'; known: NORMAL, PNEUMONIA")
    assert content(fakes / "runs").keys() == content(run.parent.parent).keys()
    assert not (fakes / "out").exists()


def test_a_conditional_trainer_that_was_trained_on_one_class_is_not_conditional(
    conditional_run, pneumo, fakes
) -> None:
    run = conditional_run("--images-of", "NORMAL")
    ended = pneumo("generate", run, "--out", "out", "--class", "NORMAL")
    assert_one_line(ended, 2, "not conditional on the class", "images of NORMAL only")


def test_a_network_that_is_not_conditional_refuses_a_class(painter, pneumo, fakes) -> None:
    ended = pneumo("generate", painter, "--out", "out", "--class", "NORMAL")
    assert_one_line(ended, 2, "run of painter", "not conditional on the class", "leave out --class")
    assert not (fakes / "out").exists()


def test_a_class_goes_with_new_images_only(painter, pneumo, fakes) -> None:
    ended = pneumo("generate", painter, "--out", "out", "--class", "NORMAL", "--reconstruct", "x.png")
    assert_one_line(ended, 2, "--class is for new images")
