"""Extensions change what a run is built from: optimizers, schedulers, transforms, sources."""

from __future__ import annotations

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.errors import PneumoError
from pneumo_cli.trainers import ClassificationTrainer


class Everything:
    """Another optimizer and schedule, black images for training, and evaluation on training's."""

    @hookimpl(wrapper=True)
    def build_optimizers(self, run):
        optimizers = yield
        return {
            name: torch.optim.RMSprop(one.param_groups[0]["params"], lr=0.5)
            for name, one in optimizers.items()
        }

    @hookimpl(wrapper=True)
    def build_schedulers(self, run):
        yield
        return {"main": torch.optim.lr_scheduler.ConstantLR(run.optimizers["main"], factor=0.5)}

    @hookimpl(wrapper=True)
    def build_transforms(self, run):
        transforms = yield
        black = EvaluationTransform(mean=[0.0] * 3, std=[1e6] * 3)
        return transforms._replace(train=black)

    @hookimpl(wrapper=True)
    def build_sources(self, run):
        sources = yield
        return sources._replace(evaluation=sources.train)


def test_an_extension_changes_what_a_run_is_built_from(runner_of) -> None:
    runner = runner_of(ClassificationTrainer, Everything())
    runner.build()
    run = runner.run
    assert isinstance(run.optimizers["main"], torch.optim.RMSprop)
    assert runner.learning_rate == 0.25
    assert isinstance(run.schedulers["main"], torch.optim.lr_scheduler.ConstantLR)
    batch = next(iter(runner.loaders.training(1)))
    assert float(batch.images.abs().max()) < 1e-5
    assert float(next(iter(runner.loaders.evaluation("validation"))).images.abs().max()) < 1e-5
    assert run.extensions == {"further": ""}


def test_a_trainer_that_builds_something_else_is_named(runner_of) -> None:
    class Wrong(ClassificationTrainer):
        def build_optimizers(self, run):
            return torch.optim.SGD(run.model.parameters(), 0.1)

    with pytest.raises(
        PneumoError,
        match=r"trainer fake .* failed in build_optimizers: TypeError: build_optimizers returned a SGD, not a dict",
    ):
        runner_of(Wrong).build()


def test_the_builders_of_a_trainer_of_an_earlier_version_may_name_their_argument_as_they_like(
    runner_of,
) -> None:
    class Early(ClassificationTrainer):
        def build_optimizers(self, the_run):
            return super().build_optimizers(the_run)

        def build_transforms(self, r):
            return super().build_transforms(r)

    runner = runner_of(Early)
    runner.build()
    assert isinstance(runner.run.optimizers["main"], torch.optim.SGD)
