"""Trainers whose methods fail, or return what cannot be used: each is named with its method."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError, UsageError
from tests.training.probe import Probe

FAKE = "trainer fake (pneumo-fake 1.0)"


def _with(**methods: object) -> type:
    return type("Broken", (Probe,), methods)


def _fail(*_: object) -> None:
    raise StopIteration


def _sgd(run, *parameters):
    return {"main": torch.optim.SGD(parameters or run.model.parameters(), lr=0.1)}


class Needy(torch.optim.lr_scheduler.StepLR):
    def step(self, *_: object) -> None:
        if hasattr(self, "seen"):
            raise ValueError("no more")
        self.seen = True


BEFORE_A_FOLDER = {
    "model without values": (
        {"build_model": lambda self, run: Probe.build_model(self, run).to("meta")},
        "failed in build_model: NotImplementedError: Cannot copy out of meta tensor",
    ),
    "foreign weights": (
        {"build_optimizers": lambda self, run: _sgd(run, torch.nn.Parameter(torch.zeros(1)))},
        "broke the contract of build_optimizers: none of its optimizers has a parameter of the model to train",
    ),
    "closure": (
        {"build_optimizers": lambda self, run: {"main": torch.optim.LBFGS(run.model.parameters())}},
        "build_optimizers returned a dict of 'main': a LBFGS, not a dictionary of optimizers by name, whose step()",
    ),
    "class of a scheduler": (
        {"build_schedulers": lambda self, run: {"main": torch.optim.lr_scheduler.StepLR}},
        "build_schedulers returned a dict of 'main': a type, not a dictionary of schedulers",
    ),
    "plateau": (
        {
            "build_schedulers": lambda self, run: {
                "main": torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizers["main"])
            }
        },
        "a ReduceLROnPlateau, not a dictionary of schedulers by the name of their optimizer, whose step() needs no",
    ),
    "scheduler of nothing": (
        {"build_schedulers": lambda self, run: {"x": Needy(run.optimizers["main"], 1)}},
        "broke the contract of build_schedulers: it names ['x'], which build_optimizers does not (['main'])",
    ),
    "sources": (
        {"cache_sources": lambda self, run: 3},
        "broke the contract of cache_sources: it returned an int, not Sources",
    ),
    "remark": (
        {"load_pretrained": lambda self, run: 3},
        "broke the contract of load_pretrained: it returned 3, not text",
    ),
    "options": ({"model_options": _fail}, "failed in model_options: StopIteration"),
}


@pytest.mark.parametrize(("methods", "message"), BEFORE_A_FOLDER.values(), ids=BEFORE_A_FOLDER)
def test_what_can_be_seen_before_training_leaves_no_folder(methods, message: str, runner_of) -> None:
    runner = runner_of(_with(**methods))
    with pytest.raises(PneumoError) as caught:
        runner.start()
    assert str(caught.value).startswith(FAKE)
    assert message in str(caught.value)
    assert not list(Path("runs").glob("*/*"))


@pytest.mark.parametrize("name", ["only_class", "choose_images"])
def test_a_method_that_fails_while_the_data_are_opened_is_named(name: str, runner_of) -> None:
    method = property(_fail) if name == "only_class" else _fail
    with pytest.raises(UsageError) as caught:
        runner_of(_with(**{name: method}))
    assert str(caught.value).startswith(f"the {FAKE} failed in {name}: StopIteration")


def _transforms(self, run):
    return Probe.build_transforms(self, run)._replace(train=_fail)


def _optimizing(loss_of, name="main"):
    def train_step(self, run, batch):
        run.optimize(loss_of(run.model(batch.images).flatten()), name)
        return {"loss": torch.zeros(())}

    return train_step


def _step_with(**values):
    def train_step(self, run, batch):
        further = {name: make(run, batch) for name, make in values.items()}
        return {**Probe.train_step(self, run, batch), **further}

    return train_step


IN_TRAINING = {
    "inputs": (
        {"build_transforms": _transforms},
        "failed in the inputs of a batch (build_transforms, build_sources): ",
    ),
    "scheduler": (
        {"build_schedulers": lambda self, run: {"main": Needy(run.optimizers["main"], 1)}},
        "failed in the scheduler 'main' of build_schedulers: ValueError: no more",
    ),
    "per image": (
        {"train_step": _optimizing(lambda x: x)},
        "run.optimize takes a 0-d loss with a gradient, not a tensor of shape [8]: take its mean",
    ),
    "detached": (
        {"train_step": _optimizing(lambda x: x.mean().detach())},
        "run.optimize takes a 0-d loss with a gradient, not a detached tensor",
    ),
    "number": ({"train_step": _optimizing(lambda x: 1.0)}, "not float 1.0"),
    "other optimizer": (
        {"train_step": _optimizing(torch.mean, "generator")},
        "failed in train_step: ValueError: there is no optimizer 'generator'; build_optimizers returned 'main'",
    ),
    "width": (
        {"train_step": _step_with(x=lambda run, batch: torch.zeros(len(batch.labels), 1 + run.step))},
        "it returned loss (0-d), x ([B, 2]), and in the steps before loss (0-d), x ([B, 1])",
    ),
    "sparse": (
        {"train_step": _step_with(x=lambda run, batch: torch.eye(len(batch.labels)).to_sparse())},
        "broke the contract of train_step: its 'x' is sparse",
    ),
    "history": (
        {"train_mode": lambda self, run: run.history.clear()},
        "a plugin has changed run.history, which only the runner writes to: it has 0 rows after 1 epochs",
    ),
}


@pytest.mark.parametrize(("methods", "message"), IN_TRAINING.values(), ids=IN_TRAINING)
def test_what_fails_in_training_is_named_and_the_run_can_be_resumed(methods, message: str, runner_of) -> None:
    runner = runner_of(_with(**methods))
    with pytest.raises(PneumoError) as caught:
        runner.start()
    assert message in str(caught.value)
    assert str(caught.value).startswith("a plugin has changed" if "history" in message else FAKE)
    assert caught.value.exit_code == 1
    assert runner.saver.load("last")["epoch"] == 0


class Misspelt(Probe):
    @hookimpl
    def epoch_finish(self, run):
        pass


class OtherArgument(Probe):
    def evaluate(self, run, images):
        pass


@pytest.mark.parametrize(
    ("trainer", "message"), [(Misspelt, "there is no hook 'epoch_finish'"), (OtherArgument, "{'images'}")]
)
def test_a_trainer_whose_hooks_are_not_as_specified_is_refused(
    trainer: type, message: str, runner_of
) -> None:
    with pytest.raises(UsageError) as caught:
        runner_of(trainer)
    assert str(caught.value).startswith(f"{FAKE} cannot take part in a run: ")
    assert message in str(caught.value)


def test_an_observer_that_changes_the_metrics_it_is_given_changes_its_own_copy(runner_of) -> None:
    class Emptying:
        @hookimpl
        def epoch_finished(self, metrics):
            metrics["validation"].clear()

    changed, plain = runner_of(Probe, Emptying()), runner_of(Probe)
    changed.start()
    plain.start()
    values = [copy.deepcopy([row["validation"] for row in one.run.history]) for one in (changed, plain)]
    assert values[0] == values[1]
    assert all(values[0])


def test_an_observer_that_ends_a_generator_is_dropped_as_any_other(runner_of) -> None:
    class Ending:
        @hookimpl
        def epoch_finished(self):
            raise GeneratorExit

    assert "validation" in runner_of(Probe, Ending()).start()["evaluations"]


def test_a_remark_is_one_line_without_control_characters(runner_of) -> None:
    run = runner_of(Probe).run
    run.note("first\nsecond \x1b[31mred")
    run.note(3)
    assert run.notes[-2:] == ["first second [31mred", "3"]


def test_an_extension_may_replace_the_loss_without_asking_for_the_trainers(runner_of) -> None:
    class ByRun(Probe):
        def training_loss(self, run, outputs, batch):
            raise AssertionError("not asked for")

        def train_step(self, run, batch):
            loss = run.loss(run.model(batch.images).flatten(), batch)
            run.optimize(loss)
            return {"loss": loss.detach()}

    class Mean:
        @hookimpl
        def around_loss(self, run):
            return lambda loss, outputs, batch: outputs.mean()

    runner = runner_of(ByRun, Mean())
    runner.start()
    assert runner.run.updates.counts["main"]
