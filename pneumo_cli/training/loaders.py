"""Which batches a run sees: training batches in a seeded order, every split in order for judging it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.data.batch_inputs import Inputs
from pneumo_cli.data.loader import Loader
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.seeding import derive

# Evaluation keeps no gradients, so it takes larger batches than training does.
_EVALUATION_BATCH = 64
# Images of a split that the report shows.
_SAMPLES = 16


class Loaders:
    """Makes the loaders of one run.

    Args:
        run: with data and device; its transforms and sources have to stand when a loader is made.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def training(self, epoch: int) -> Loader:
        """Shuffled, augmented batches of the training split."""
        return self._shuffled(self._run.sources.train, epoch)

    def evaluation(self, split: str) -> Loader:
        """Batches of a split in order, unaugmented."""
        run = self._run
        size = max(run.settings.batch_size, _EVALUATION_BATCH)
        inputs = run.sources.test if split == "test" else run.sources.evaluation
        return self._loader(run.data.split.parts()[split], inputs, size, None)

    def samples(self) -> dict[str, Loader]:
        """Images for the report, by split.

        Of training the batches of epoch 1; of the others one batch spread evenly over the split: in order it
        would show one class only.
        """
        run = self._run
        plain = run.image_inputs(run.transforms.evaluation)
        loaders = {"train": self._shuffled(run.image_inputs(run.transforms.train), 1)}
        for split in ("validation", "test"):
            positions = run.data.split.parts()[split]
            if not len(positions):
                continue
            spread = np.unique(np.linspace(0, len(positions) - 1, _SAMPLES).astype(np.int64))
            loaders[split] = self._loader(positions[spread], plain, _SAMPLES, None)
        return loaders

    def _shuffled(self, inputs: Inputs, epoch: int) -> Loader:
        run = self._run
        seed = derive(run.settings.seed, "order")
        loader = self._loader(run.data.split.train, inputs, run.settings.batch_size, seed)
        loader.epoch = epoch
        return loader

    def _loader(
        self, positions: NDArray[np.int64], inputs: Inputs, batch_size: int, shuffle_seed: int | None
    ) -> Loader:
        run = self._run
        return Loader(
            inputs,
            torch.from_numpy(run.data.labels),
            positions,
            batch_size,
            run.device.torch,
            shuffle_seed=shuffle_seed,
            rank=run.ranks.rank,
            world=run.ranks.world,
        )
