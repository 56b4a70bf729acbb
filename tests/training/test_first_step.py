"""The first training step is watched: what trains past the run, or not at all, is an error with a name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError
from pneumo_cli.trainers import ClassificationTrainer
from tests.training_only import EndsWithTheLastEpoch, TrainedEnough


class Own(ClassificationTrainer):
    """Computes its own loss."""

    def train_step(self, run, batch):
        loss = F.binary_cross_entropy_with_logits(run.model(batch.images).flatten(), batch.labels.float())
        self.train(run, loss)
        return {"loss": loss.detach(), "logits": torch.zeros(len(batch.labels)), "labels": batch.labels}

    def train(self, run, loss):
        run.optimize(loss)


class Forgetful(Own):
    def train(self, run, loss):
        """Trains nothing."""


class Stepping(Own):
    def train(self, run, loss):
        run.optimize(loss)
        run.optimizers["main"].step()


class Alone(Own):
    def train(self, run, loss):
        loss.backward()
        run.optimizers["main"].step()
        run.optimizers["main"].zero_grad()


class WithItsOwnOptimizer(Own):
    def train(self, run, loss):
        run.optimize(loss)
        torch.optim.SGD(run.model.parameters(), 0.1).step()


class Rare(Own):
    """Updates every second step only, and says so."""

    updates_each_step = False

    def train(self, run, loss):
        if run.step % 2:
            run.optimize(loss)


class Twice(Own):
    """Has an optimizer that it never uses."""

    def build_optimizers(self, run):
        return {name: torch.optim.SGD(run.model.parameters(), 0.01) for name in ("main", "spare")}

    def build_schedulers(self, run):
        return {}


def trained(runner: Any) -> list[str]:
    """Train to the last epoch; return the run's notes."""
    runner.hooks.add("ending", EndsWithTheLastEpoch())
    with pytest.raises(TrainedEnough):
        runner.start()
    return list(runner.run.notes)


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        (Forgetful, "the first train_step made no update, so nothing would be trained"),
        (Stepping, r"train_step calls the step\(\) of an optimizer itself; updates go through run.optimize"),
        (Alone, r"train_step calls backward\(\) itself and calls the step\(\) of an optimizer itself"),
        (WithItsOwnOptimizer, r"train_step calls the step\(\) of an optimizer itself"),
    ],
)
def test_a_trainer_that_trains_past_the_run_is_named_at_the_first_step(trainer, words, runner_of) -> None:
    with pytest.raises(PneumoError, match=rf"^trainer fake \(pneumo-fake 1.0\): {words}"):
        runner_of(trainer).start()


@pytest.mark.parametrize("trainer", [Own, Rare])
def test_a_trainer_that_trains_through_the_run_is_not_complained_about(trainer, runner_of) -> None:
    runner = runner_of(trainer)
    assert not any("update" in note for note in trained(runner))
    steps = len(runner.loaders.training(1))
    assert runner.run.updates.counts["main"] == (steps if trainer is Own else steps // 2)


def test_an_optimizer_without_an_update_in_the_first_epoch_is_noted(runner_of) -> None:
    notes = [note for note in trained(runner_of(Twice)) if "optimizer" in note]
    assert notes == [
        "the optimizer 'spare' made no update in epoch 1: trainer fake (pneumo-fake 1.0) never called "
        "run.optimize(loss, 'spare')"
    ]


def test_an_extension_that_swallows_the_update_is_named_with_the_trainer(runner_of) -> None:
    class Swallowing:
        @hookimpl
        def around_optimize(self, run):
            return lambda optimize, loss, name: None

    with pytest.raises(
        PneumoError, match=r"trainer fake .* \(with further\): the first train_step made no update"
    ):
        runner_of(Own, Swallowing()).start()


def test_an_extension_of_a_loss_that_the_trainer_does_not_ask_for_is_refused(runner_of) -> None:
    class Halving:
        @hookimpl
        def around_loss(self, run):
            return lambda loss, outputs, batch: loss(outputs, batch) / 2

    with pytest.raises(
        PneumoError, match=r"extension further cannot change the loss of trainer fake"
    ) as caught:
        runner_of(Own, Halving()).start()
    assert caught.value.exit_code == 1, "the run has a folder by then"


def test_a_loss_that_is_trained_and_not_finite_ends_the_run_though_the_returned_one_is(runner_of) -> None:
    class Poisoned(Own):
        def train(self, run, loss):
            run.optimize(loss * float("nan") if run.step == 2 else loss)

    with pytest.raises(
        PneumoError, match=r"epoch 1: the loss of an update is not finite .* by step 3; the last good"
    ):
        runner_of(Poisoned).start()
