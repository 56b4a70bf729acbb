"""What turns images into features, in which sets of images are compared: pixels, or a classifier without its head.

Features are float32 whatever precision a run computes in, so that a distance is the same number on every machine.
Every extractor has a name, and whoever shows a number that it led to shows that name beside it.

Not here: what is done with features (:mod:`pneumo_cli.evaluation.generative.distances`, ``neighbours``), and
caching them (:mod:`pneumo_cli.data.feature_cache` does that for training).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.evaluation.generative.features import _SIDE_OF_PIXELS, _SILENT, Extractor, _Pixels
from pneumo_cli.registry import Registries
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.loading import load_trained
from pneumo_cli.trainers.pretrained import load_pretrained

AUTO = "auto"
PIXELS = "pixels"
_PREFERRED = "efficientnet-lite0"  # small, and its weights come with pip: the same offline and everywhere
_SIDE_OF_BACKBONES = 128  # px; the generated images are smaller, and larger inputs cost time for nothing


def find_extractor(
    wanted: str, registries: Registries, device: Device, progress: Progress = _SILENT
) -> Extractor:
    """Make the extractor that a setting names.

    Args:
        wanted: ``auto`` (efficientnet-lite0 where it is installed, else pixels); ``pixels`` (areas averaged to
            32 x 32, from -2 to 2); the name of a registered classifier with ImageNet weights; or the folder of a
            classification run, whose best checkpoint is taken.
        device: where networks compute.
        progress: where a download is shown.

    Raises:
        UsageError: there is no such model or run, it has no weights, or it is no classifier in stages.
    """
    if wanted == AUTO:
        wanted = _PREFERRED if _PREFERRED in registries.models.names() else PIXELS
    if wanted == PIXELS:
        name = f"pixels at {_SIDE_OF_PIXELS} px"
        return Extractor(name, PIXELS, _SIDE_OF_PIXELS**2, _Pixels(_SIDE_OF_PIXELS))
    registered = {e.spec.name for e in registries.models.entries()}
    registered |= {e.qualified_name for e in registries.models.entries()}
    if wanted in registered:
        return _backbone(wanted, registries, device, progress)
    path = Path(os.path.expanduser(wanted))
    if os.sep in wanted or path.is_dir():
        return _run(path, registries, device)
    choices = [AUTO, PIXELS, *(e.spec.name for e in registries.models.entries() if _usable(e.spec))]
    # Of the many models only those that the writer may have meant.
    close = difflib.get_close_matches(wanted, choices) or [AUTO, PIXELS]
    raise UsageError(
        f"unknown extractor {wanted!r}; {nearest(wanted, close)} (possible are also a classifier with ImageNet "
        "weights, which pneumo list-models shows, and the folder of a classification run)"
    )


def _usable(spec: ModelSpec) -> bool:
    return spec.kind == "classifier" and bool(spec.weights)


def _backbone(wanted: str, registries: Registries, device: Device, progress: Progress) -> Extractor:
    """A registered classifier with its ImageNet weights."""
    entry = registries.models.get(wanted)
    spec = entry.spec
    if not _usable(spec):
        what = f"is of kind {spec.kind}" if spec.kind != "classifier" else "has no ImageNet weights"
        raise UsageError(
            f"extractor {wanted!r}: this model {what}; an extractor is a classifier with ImageNet weights, a "
            f"run's folder, {AUTO} or {PIXELS}"
        )
    with torch.random.fork_rng(devices=[]):  # the head that is drawn and left out
        model = build_registered(entry, {"channels": 3, "outputs": 1})
    stages = stages_of(spec, model)
    load_pretrained(model, stages, entry, "imagenet", progress)
    transform = EvaluationTransform(mean=spec.mean, std=spec.std)
    module = _without_head(stages, transform, _SIDE_OF_BACKBONES, device, entry.qualified_name)
    name = f"{spec.name} at {_SIDE_OF_BACKBONES} px (ImageNet)"
    return Extractor(name, spec.name, module.num_features, module)


def _run(path: Path, registries: Registries, device: Device) -> Extractor:
    """A classifier that pneumo has trained, as its best checkpoint has it."""
    # Where it computes is this run's matter, not that of the run that it comes from.
    here = {
        "device": str(device.torch),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
    }
    with torch.random.fork_rng(devices=[]):
        trained = load_trained(registries, RunFolder.open(path), "best", here)
    classifier = trained.trainer.as_classifier()
    if classifier is None:
        raise UsageError(
            f"extractor {str(path)!r}: this is a run of {trained.resolved.entry.spec.name}, which trains no "
            "classifier; an extractor is the folder of a classification run"
        )
    settings, spec = trained.trainer.settings, trained.entry.spec
    transform = classifier.evaluation_transform(spec)
    stages = stages_of(spec, trained.model)
    module = _without_head(stages, transform, settings.image_size, device, trained.entry.qualified_name)
    name = f"run {trained.name} ({spec.name} at {settings.image_size} px)"
    slug = re.sub(r"[^a-z0-9]+", "-", trained.name.lower()).strip("-")
    return Extractor(name, slug, module.num_features, module)


class _Backbone(nn.Module):
    """A classifier's stages but the head, on images that are resized and normalised for it.

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

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.device.torch)
        levels = images.unsqueeze(1).float()
        if images.shape[-1] != self.side:
            levels = F.interpolate(levels, size=self.side, mode="bilinear", antialias=True)
        inputs = self.transform.normalize(levels / 255)
        # Whoever calls may be in a context of lower precision.
        with torch.autocast(self.device.torch.type, enabled=False):
            features: Tensor = self.stages(inputs.contiguous(memory_format=self.device.memory_format))
        return features.flatten(1).float()


def _without_head(
    stages: Sequence[nn.Module], transform: EvaluationTransform, side: int, device: Device, name: str
) -> _Backbone:
    """Leave the head out.

    Raises:
        UsageError: the model has no stages, or cannot take images of this size.
    """
    if len(stages) < 2:
        raise UsageError(
            f"the model {name} does not say which part of it is its head (ModelSpec.stages), so it has no features"
        )
    try:
        with torch.no_grad():
            return _Backbone(stages[:-1], transform, side, device)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"the model {name} makes no features of images of {side} px: {reason}") from error
