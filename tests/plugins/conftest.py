"""A minimal trainer, and the hooks of a run with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.registry import Provenance
from pneumo_cli.trainers.base import Trainer


class MinimalTrainer(Trainer):
    """The smallest complete trainer."""

    def build_model(self, run):
        return torch.nn.Linear(1, 1)

    def train_step(self, run, batch):
        return {"loss": torch.tensor(float(batch))}

    def evaluate(self, run, loader):
        return Evaluation({"loss": 0.0})


@pytest.fixture
def trainer() -> Trainer:
    return MinimalTrainer(settings=None)


@pytest.fixture
def hooks_of(trainer: Trainer) -> Callable[..., RunHooks]:
    """The hooks of a run with the given plugins, all of the distribution ``pneumo-listening 2.1``."""
    provenance = Provenance("pneumo-listening", "2.1")

    def make(*plugins: object) -> RunHooks:
        return RunHooks(trainer, [(type(plugin).__name__, plugin, provenance) for plugin in plugins])

    return make
