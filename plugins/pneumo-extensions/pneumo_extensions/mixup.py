"""Mixup: each image and its label is mixed with another one of the batch.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization, ICLR 2018. As there, one share is drawn
per batch. The loss is mixed instead of the labels: the same for cross-entropy, and possible with every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from pneumo_cli.api import hookimpl
from pneumo_cli.data import Batch
from pneumo_cli.runs import Run
from pneumo_cli.runtime import derive
from pneumo_extensions.settings import MixupSettings

Step: TypeAlias = Callable[[Batch], Mapping[str, Tensor]]
Loss: TypeAlias = Callable[[Tensor, Batch], Tensor]


class Mixup:
    """Mixes the images of a batch before the step, and the losses of the two labels within it."""

    def __init__(self, settings: MixupSettings) -> None:
        self._settings = settings
        self._share = 1.0
        self._partners: Batch | None = None

    @hookimpl
    def around_train_step(self, run: Run) -> Callable[[Step, Batch], Mapping[str, Tensor]]:
        """The step, on mixed images."""

        def mixed(train_step: Step, batch: Batch) -> Mapping[str, Tensor]:
            seed = derive(run.settings.seed, "mixup", run.epoch, run.step, run.ranks.rank)
            generator = torch.Generator().manual_seed(seed)
            count = len(batch.labels)
            order = torch.randperm(count, generator=generator).to(batch.labels.device)
            self._share = self._draw(seed)
            views = batch.images.view(-1, count, *batch.images.shape[1:])
            images = (self._share * views + (1 - self._share) * views[:, order]).view_as(batch.images)
            self._partners = batch._replace(
                labels=batch.labels[order],
                index=batch.index[order],
                targets={name: values[order] for name, values in batch.targets.items()},
            )
            try:
                return train_step(batch._replace(images=images))
            finally:
                self._partners = None

        return mixed

    @hookimpl
    def around_loss(self, run: Run) -> Callable[[Loss, Tensor, Batch], Tensor]:
        """The loss, mixed of those for both labels, or other targets."""

        def mixed(loss: Loss, outputs: Tensor, batch: Batch) -> Tensor:
            if self._partners is None:
                return loss(outputs, batch)
            return self._share * loss(outputs, batch) + (1 - self._share) * loss(outputs, self._partners)

        return mixed

    def _draw(self, seed: int) -> float:
        """The share of the first image, from Beta(alpha, alpha)."""
        import numpy as np

        return float(np.random.default_rng(seed).beta(self._settings.alpha, self._settings.alpha))
