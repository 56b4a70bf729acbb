"""Evaluating the images of several trained models on the same real ones: fidelity, and TSTR.

A single run is evaluated by its trainer (:meth:`pneumo_cli.trainers.base.Trainer.summarize`); the metrics are
those of :mod:`pneumo_cli.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.generative.fidelity import measure_fidelity
from pneumo_cli.evaluation.result import RunSummary
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.reports.fidelity_tables import fidelity_summary
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.runs.test_access import access_now, record_access
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import GenerativeSettings
from pneumo_cli.trainers.feature_extractors import find_extractor
from pneumo_cli.trainers.loading import Trained
from pneumo_cli.trainers.session import open_data
from pneumo_synthetic.generate import generative
from pneumo_synthetic.tstr import Labelled, tstr

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData


def compare(
    trained: Sequence[Trained], plugins: Plugins, resolved: Resolved, progress: Progress
) -> RunSummary:
    """Compare the images of several runs with the same real ones, all at the size of the smallest.

    Args:
        trained: runs on the same data and class.
        resolved: settings of the first one, with the command's flags: number of images, feature extractor, seed,
            and the dataset with its split.

    Raises:
        UsageError: a run generates no new images, or its data or class is another one.
    """
    _check_comparable(trained)
    classes = {generative(one).images_of for one in trained}
    if len(classes) > 1:
        names = " and ".join(sorted(name or "all classes" for name in classes))
        raise UsageError(
            f"the runs generate images of {names}: their distances to real ones are not comparable"
        )
    if len({one.name for one in trained}) < len(trained):
        raise UsageError(f"{trained[0].name} has to be compared with another run, not with itself")
    settings = resolved.trainer
    if not isinstance(settings, GenerativeSettings):
        raise UsageError(f"{resolved.entry.spec.name} generates no images")
    count = settings.fidelity_images or GenerativeSettings().fidelity_images
    data = open_data(plugins, resolved, progress, size=_smallest(trained), only=classes.pop())
    _record_access(trained[0], resolved, data, plugins, "evaluate-images", trained[0].entry.spec.kind)
    fidelity = measure_fidelity(
        {one.name: _sampled(one, count, data.size, settings.seed) for one in trained},
        training=data.gray_levels(data.split.train),
        held_out=data.gray_levels(data.split.test),
        patients=[data.dataset.records[position].patient for position in data.split.test],
        extractor=find_extractor(settings.extractor, plugins, trained[0].device),
        seed=settings.seed,
        progress=progress,
        cache=resolved.machine.cache,
    )
    return fidelity_summary(fidelity)


def train_on_synthetic(
    trained: Sequence[Trained], plugins: Plugins, flags: Mapping[str, Any], seeds: int, progress: Progress
) -> RunSummary:
    """Train small classifiers on the images of one run per class, and test them on real ones.

    Args:
        flags: settings that replace those of the first run.
        seeds: number of classifiers per training set.

    Raises:
        UsageError: the runs do not generate images of each of two classes of the same data.
    """
    _check_comparable(trained)
    resolved = reopen_settings(plugins, trained[0].folder, flags)
    data = open_data(plugins, resolved, progress, size=_smallest(trained), only="")
    by_class = {generative(one).images_of: one for one in trained}
    classes = data.dataset.classes
    if data.task != "binary":
        what = "labels" if data.task == "multilabel" else "classes"
        raise UsageError(
            f"tstr trains classifiers of two classes, and the dataset {data.dataset.name} has {len(classes)} "
            f"{what} ({', '.join(classes)})"
        )
    if len(classes) != 2 or set(by_class) != set(classes) or len(trained) != 2:
        given = ", ".join(name or "all classes" for name in by_class)
        raise UsageError(
            f"tstr takes one run for each of {' and '.join(classes)}; these generate images of {given} "
            "(train the missing one with --images-of)"
        )
    labels = data.labels[data.split.train]
    synthetic = [
        _sampled(by_class[name], int((labels == label).sum()), data.size, resolved.trainer.seed)
        for label, name in enumerate(classes)
    ]
    synthetic_labels = torch.cat(
        [torch.full((len(images),), label) for label, images in enumerate(synthetic)]
    )
    _record_access(trained[0], resolved, data, plugins, "tstr", "classifier")
    return tstr(
        Labelled(data.gray_levels(data.split.train), torch.from_numpy(labels)),
        Labelled(torch.cat(synthetic), synthetic_labels),
        Labelled(data.gray_levels(data.split.test), torch.from_numpy(data.labels[data.split.test])),
        seeds=seeds,
        device=trained[0].device.torch,
        progress=progress,
    )


def _record_access(
    first: Trained, resolved: Resolved, data: PreparedData, plugins: Plugins, by: str, task: str
) -> None:
    """Record one test-set access, by the first run."""
    access = access_now(first.folder.path, first.checkpoint, first.epoch, by, task)
    record_access(resolved.machine.data_home, data.dataset, access, plugins)


def _check_comparable(trained: Sequence[Trained]) -> None:
    first = trained[0]
    for one in trained:
        if not generative(one).can_sample(one.model):
            raise UsageError(f"the model {one.entry.spec.name} of {one.folder.path} generates no new images")
        if one.fingerprint != first.fingerprint:
            raise UsageError(
                f"{one.folder.path} was trained on other data than {first.folder.path}: they are not comparable"
            )


def _smallest(trained: Sequence[Trained]) -> int:
    return min(one.resolved.trainer.image_size for one in trained)


def _sampled(trained: Trained, count: int, size: int, seed: int) -> Tensor:
    """New images of a run, downsampled to a size: uint8 [count, size, size]."""
    images = generative(trained).sample(trained.model, seed, np.arange(count))
    if images.shape[-1] == size:
        return images
    small = F.interpolate(images.unsqueeze(1).float(), size=(size, size), mode="bilinear", antialias=True)
    return small.squeeze(1).round().clamp(0, 255).to(torch.uint8)
