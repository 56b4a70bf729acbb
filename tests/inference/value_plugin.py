"""A third party's package, as text: trainers of a number, of a mask, and of both."""

PLUGIN = """
from pneumo_cli.api import DatasetSpec, ExtractorSpec, ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="conformance-targets", summary="Discs.", factory="values:open_targets", synthetic=True
    )


@hookimpl
def register_models():
    yield ModelSpec(name="two-heads", kind="values", summary="Small.", factory="values:TwoHeads")


@hookimpl
def register_trainers():
    for name in ("number", "mask", "both", "wrong", "failing"):
        yield TrainerSpec(
            name=name,
            summary="Predicts.",
            trainer=f"values:{name.capitalize()}",
            settings="values:ValueSettings",
            kind="values",
            model="two-heads",
            presets=(Preset(name="quick", summary="Two epochs."),),
        )


@hookimpl
def register_extractors():
    yield ExtractorSpec(name="brightness", summary="Mean gray levels.", factory="values:brightness")
    yield ExtractorSpec(name="flat", summary="Returns nonsense.", factory="values:flat")
"""

MODULE = """
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from pneumo_cli.data import EvaluationTransform, ReportAugmentation, Transforms
from pneumo_cli.evaluation import Evaluation
from pneumo_cli.settings import TrainerSettings
from pneumo_cli.testing.datasets import open_targets
from pneumo_cli.trainers import Trainer


class ValueSettings(TrainerSettings):
    dataset: str = Field("conformance-targets", description="registered dataset to train on")
    split: str = Field("patient", description="how the training pool is divided")
    epochs: int = Field(2, ge=1, le=100, description="passes over the training images")
    batch_size: int = Field(8, ge=1, le=64, description="images per step")
    image_size: int = Field(32, ge=8, le=64, description="height and width of the input, in pixels")


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.pixels, self.number = nn.Conv2d(8, 1, 1), nn.Linear(8, 1)

    def forward(self, images):
        features = self.body(images)
        return self.pixels(features)[:, 0], self.number(features.mean((2, 3)))[:, 0]


class Both(Trainer):
    units = {"age": "years", "lungs": ""}

    def build_model(self, run):
        return run.create_model()

    def build_transforms(self, run):
        gray = {"channels": 1, "mean": [0.5], "std": [0.25]}
        return Transforms(ReportAugmentation(seed=1, rotation=10, **gray), self.evaluation_transform(None))

    def build_optimizers(self, run):
        return {"main": torch.optim.Adam(run.model.parameters(), 3e-2)}

    def evaluation_transform(self, spec):
        return EvaluationTransform(channels=1, mean=[0.5], std=[0.25])

    def loss(self, outputs, batch):
        mask = (batch.targets["lungs"] == 1).float()
        return F.binary_cross_entropy_with_logits(outputs[0], mask) + F.mse_loss(
            10 + outputs[1], batch.targets["age"]
        )

    def train_step(self, run, batch):
        loss = self.loss(run.model(batch.images), batch)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run, loader):
        losses, index, ages = [], [], []
        for batch in loader:
            outputs = run.model(batch.images)
            losses.append(self.loss(outputs, batch).expand(len(batch.index)))
            index.append(batch.index)
            ages.append(10 + outputs[1])
        outputs = run.gather({"index": torch.cat(index), "losses": torch.cat(losses), "ages": torch.cat(ages)})
        return Evaluation({"loss": float(outputs["losses"].mean())}, outputs=outputs)

    def as_predictor(self):
        return self

    def predictions(self, outputs):
        found = {"age": 10 + outputs[1].float(), "lungs": outputs[0].float().sigmoid()}
        return {name: found[name] for name in self.units}

    def feature_stages(self, spec, model):
        return [model.body, nn.AdaptiveAvgPool2d(1)]


class Number(Both):
    units = {"age": "years"}


class Mask(Both):
    units = {"lungs": ""}


class Wrong(Both):
    def predictions(self, outputs):
        return {"age": outputs[1].mean(), "lungs": outputs[0]}


class Failing(Both):
    def evaluation_transform(self, spec):
        return super().evaluation_transform(spec) if spec is None else spec.no_such_attribute


def brightness(device):
    return lambda images: images.float().flatten(1).mean(1, keepdim=True).expand(-1, 3).contiguous()


def flat(device):
    return lambda images: images.float().flatten()
"""
