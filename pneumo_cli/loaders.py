"""Which batches a run sees: training batches in a seeded order, every split in order for judging it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.data.augment import Transform
from pneumo_cli.data.loader import Loader
from pneumo_cli.run import Run
from pneumo_cli.seeding import derive

# Evaluation keeps no gradients, so it takes larger batches than training does.
_EVALUATION_BATCH = 64
# Images of a split that the report shows.
_SAMPLES = 16


class Loaders:
    """Makes the loaders of one run.

    Args:
        run: with data and device; its transforms have to stand when a loader is made.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._images = self._resident_images()

    def training(self, epoch: int) -> Loader:
        """Shuffled, augmented batches of the training split."""
        run = self._run
        seed = derive(run.settings.seed, "order")
        loader = self._loader(run.data.split.train, run.transforms.train, run.settings.batch_size, seed)
        loader.epoch = epoch
        return loader

    def evaluation(self, split: str) -> Loader:
        """Batches of a split in order, unaugmented."""
        run = self._run
        size = max(run.settings.batch_size, _EVALUATION_BATCH)
        return self._loader(run.data.split.parts()[split], run.transforms.evaluation, size, None)

    def samples(self, split: str) -> Loader:
        """A batch of a split for the report, spread evenly over it: in order it would show one class only."""
        positions = self._run.data.split.parts()[split]
        spread = np.unique(np.linspace(0, len(positions) - 1, _SAMPLES).astype(np.int64))
        return self._loader(positions[spread], self._run.transforms.evaluation, _SAMPLES, None)

    def _loader(
        self, positions: NDArray[np.int64], transform: Transform, batch_size: int, shuffle_seed: int | None
    ) -> Loader:
        run = self._run
        return Loader(
            self._images,
            torch.from_numpy(run.data.labels),
            positions,
            transform,
            batch_size,
            run.device.torch,
            shuffle_seed=shuffle_seed,
            rank=run.ranks.rank,
            world=run.ranks.world,
            memory_format=run.device.memory_format,
        )

    def _resident_images(self) -> torch.Tensor:
        """All images as one uint8 tensor [N, S, S]: on the accelerator where they take little of its memory."""
        data = self._run.data
        device = self._run.device.torch
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if data.images.size < free / 4:
                return data.images_on(device)
        return data.images_on(torch.device("cpu"))
