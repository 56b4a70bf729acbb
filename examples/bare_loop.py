"""A training loop of plain torch, for comparison: what a short script does that is written for one model."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class BareLoop:
    """Trains a copy of a run's model on the run's images, which are in memory, one logit for two classes.

    A step takes a batch of 8-bit images, normalises them, and makes forward, loss, backward and the update of a
    fused optimizer, in the run's precision and memory format; each loss is read. Metrics, checks, hooks, seeds of
    a step and checkpoints are missing.

    Args:
        run: that trains, on a CPU.
        transform: augments and normalises a batch, as a run's does (``run.transforms.train``); None: images are
            normalised, each pixel by itself.
    """

    def __init__(self, run: Any, transform: Callable[[Tensor, Tensor, int], Tensor] | None = None) -> None:
        self._model = copy.deepcopy(run.model)
        settings, spec = run.settings, run.model_entry.spec
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
            fused=True,
        )
        self._device = run.device
        self._images = run.data.images
        self._labels = torch.from_numpy(run.data.labels).float()
        self._positions = run.data.split.train
        labels = run.data.labels[self._positions]
        self._positive_weight = torch.tensor((labels == 0).sum() / (labels == 1).sum())
        self._transform = transform
        mean, std = (torch.tensor(three).view(1, 3, 1, 1) for three in (spec.mean, spec.std))
        self._scale, self._shift = 1 / std, -mean / std
        self._batch = settings.batch_size
        self._epoch = 0

    def epoch(self) -> float:
        """Train one epoch; return the processor time of a step in seconds."""
        began, losses = time.process_time(), 0.0
        self._epoch += 1
        self._model.train()
        order = np.random.default_rng(self._epoch).permutation(self._positions)
        for first in range(0, len(order), self._batch):
            chosen = order[first : first + self._batch]
            index = torch.from_numpy(chosen)
            images = self._inputs(torch.from_numpy(self._images[chosen]), index)
            images = images.contiguous(memory_format=self._device.memory_format)
            with self._device.autocast():
                outputs = self._model(images)
            loss = F.binary_cross_entropy_with_logits(
                outputs.float().flatten(), self._labels[index], pos_weight=self._positive_weight
            )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            losses += loss.item()
        if not np.isfinite(losses):
            raise RuntimeError(f"the bare loop's loss is {losses}")
        return (time.process_time() - began) / -(-len(order) // self._batch)

    def _inputs(self, images: Tensor, index: Tensor) -> Tensor:
        if self._transform is not None:
            return self._transform(images, index, self._epoch)
        return torch.addcmul(self._shift, images.unsqueeze(1).float().div_(255), self._scale)
