"""A run's network, as predictors of runs need it: its input, the digest of its weights, and what is known of it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.inference.ensemble import weights_digest
from pneumo_cli.inference.predictor import Sized
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runtime.json_values import mapping
from pneumo_cli.trainers.loading import Trained


class RunNetwork:
    """The network of a run; predictors of runs derive from it.

    Attributes:
        trained: the run's model.
        transform: from stored images to its input.
        size: height and width of its images, in pixels.
    """

    trained: Trained
    transform: EvaluationTransform
    size: int

    @cached_property
    def weights(self) -> str:
        """See :func:`~pneumo_cli.inference.ensemble.weights_digest`."""
        return weights_digest(self.trained.model.state_dict())

    def inputs(self, images: Sized) -> Tensor:
        """The network's input, on its device."""
        device = self.trained.device
        levels = torch.from_numpy(images[self.size]).to(device.torch)
        inputs = self.transform(levels, torch.arange(len(levels)), 0)
        return inputs.contiguous(memory_format=device.memory_format)


def run_facts(trained: Trained) -> dict[str, Any]:
    """The facts of a run's predictor, see :class:`Predictor`."""
    return {
        "run": str(trained.folder.path),
        "model": trained.entry.spec.name,
        "checkpoint": trained.checkpoint,
        "epoch": trained.epoch,
        "dataset": trained.dataset,
        "synthetic": _synthetic(trained.folder),
        "data_fingerprint": trained.fingerprint,
    }


def _synthetic(folder: RunFolder) -> bool | None:
    """Whether a run's training images were synthetic, by its report; None if unknown."""
    synthetic = mapping(read_json(folder.report_json).get("dataset")).get("synthetic")
    return synthetic if isinstance(synthetic, bool) else None
