"""The batches of a run: training batches in a seeded order, each split in order for evaluation."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.data.batch_inputs import Inputs
from pneumo_cli.data.batch_targets import BatchTargets
from pneumo_cli.data.loader import Loader
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.seeding import derive

_EVALUATION_BATCH = 64  # at least: evaluation keeps no gradients, so larger batches fit
_SAMPLES = 16  # images of a split that the report shows


class Loaders:
    """Makes the loaders of one run, whose ``transforms`` and ``sources`` have to be set."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def targets(self) -> BatchTargets | None:
        """What the dataset gives beside the labels, in its own order."""
        data = self._run.data
        values: dict[str, NDArray[Any]] = {**data.numbers, **data.masks}
        if data.boxes is not None:
            values |= {target.name: data.boxes for target in data.dataset.targets if target.kind == "boxes"}
        ordered = {target.name: values[target.name] for target in data.dataset.targets}
        return BatchTargets(ordered, self._run.device.torch) if ordered else None

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

        Of training the batches of epoch 1; of the others one batch spread evenly over the split, as its first
        images are all of one class.
        """
        run = self._run
        plain = run.image_inputs(run.transforms.evaluation)
        loaders = {"train": self._shuffled(run.image_inputs(run.transforms.train), 1)}
        for split in ("validation", "test"):
            positions = run.data.split.parts()[split]
            if len(positions):
                spread = np.unique(np.linspace(0, len(positions) - 1, _SAMPLES).astype(np.int64))
                loaders[split] = self._loader(positions[spread], plain, _SAMPLES, None)
        return loaders

    def _shuffled(self, inputs: Inputs, epoch: int) -> Loader:
        run = self._run
        seed = derive(run.settings.seed, "order")
        loader = self._loader(run.training_positions(epoch), inputs, run.settings.batch_size, seed)
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
            smallest=run.smallest_batch,
            targets=self.targets,
        )
