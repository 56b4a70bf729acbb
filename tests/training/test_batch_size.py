"""A model that cannot be trained on one image at a time, and 36 training images in batches of 5 and 1."""

from __future__ import annotations

import dataclasses
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.data.records import Target
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.batch_size import check_batch_size, smallest_batch
from pneumo_cli.training.runner import Runner, open_runner
from tests.training.comparison import assert_same_training, only_run
from tests.training_only import EndsWithTheLastEpoch, TrainedEnough

SINGLE = {"batch_size": 5, "precision": "fp32"}


@pytest.fixture
def built(fakes: Path) -> Callable[..., Runner]:
    """The runner of a built run that is not started."""

    def build(trainer: str = "fake", **settings: object) -> Runner:
        plugins = discover()
        resolved = resolve(plugins, plugins.trainers.get(trainer), {**SINGLE, **settings})
        runner = open_runner(set_up(plugins, resolved), plugins.observing())
        runner.build()
        return runner

    return build


class Batches:
    """Keeps the images of each step, by epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, list[list[int]]] = {}

    @hookimpl(wrapper=True)
    def train_step(self, run: Any, batch: Any) -> Any:
        self.epochs.setdefault(run.epoch, []).append(batch.index.tolist())
        return (yield)


def test_a_last_image_that_cannot_be_trained_on_is_left_out_of_each_epoch_and_noted(
    start_run, caplog
) -> None:
    batches = Batches()
    with pytest.raises(TrainedEnough), caplog.at_level("INFO"):
        start_run("fake", batches, EndsWithTheLastEpoch(), model="pooled-net", epochs=3, **SINGLE)
    assert [[len(batch) for batch in epoch] for epoch in batches.epochs.values()] == [[5] * 7] * 3
    left_out = [
        set(range(48)) - {image for batch in epoch for image in batch} for epoch in batches.epochs.values()
    ]
    assert len(set(map(frozenset, left_out))) > 1, "always the same image"
    assert {text for text in caplog.messages if "left out" in text} == {
        "one training image is left out of each epoch, not the same each time: pooled-net at 32 px is trained on "
        "at least 2 images at a time, as it normalizes over the batch; another --batch-size uses all"
    }


@pytest.mark.parametrize("trainer", ["fake", "duel"])
def test_a_model_that_can_be_trained_on_one_image_is(trainer: str, start_run, caplog) -> None:
    batches = Batches()
    with pytest.raises(TrainedEnough), caplog.at_level("INFO"):
        start_run(trainer, batches, EndsWithTheLastEpoch(), epochs=1, **SINGLE)
    assert [len(batch) for batch in batches.epochs[1]] == [5] * 7 + [1]
    assert not [text for text in caplog.messages if "left out" in text]


@pytest.mark.parametrize("model", ["pooled-net", "tiny-net"])
def test_trying_a_step_changes_neither_model_nor_random_numbers(model: str, built) -> None:
    runner = built(model=model)
    run = runner.run
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    modes = [module.training for module in run.model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    assert smallest_batch(run, runner.trainer) == (2 if model == "pooled-net" else 1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert [module.training for module in run.model.modules()] == modes


@pytest.mark.parametrize(("batch_size", "steps"), [(5, 7), (7, 5), (6, 6), (35, 1), (8, 5)])
def test_schedules_count_the_batches_that_there_are(batch_size: int, steps: int, built) -> None:
    run = (runner := built(model="pooled-net", batch_size=batch_size, schedule="cosine")).run
    assert run.updates_per_epoch == len(runner.loaders.training(1)) == steps
    shares = []
    for run.step in range(steps):
        loader = runner.loaders.training(1)
        shares.append(runner.steps._batch_share(loader, loader.batch_sizes(run.step)[0]))
    assert shares == [1.0] * steps


def test_no_step_is_tried_where_every_batch_has_several_images(
    built, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = built(model="pooled-net", batch_size=8)
    monkeypatch.setattr(runner.trainer, "train_step", None)
    assert smallest_batch(runner.run, runner.trainer) == 1


def test_a_batch_size_of_one_image_is_one_clear_line_and_nothing_is_written(pneumo, fakes: Path) -> None:
    ended = pneumo("run", "fake", "--model", "pooled-net", "--batch-size", 1)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert ended.stderr == (
        "pneumo: batch_size = 1: pooled-net at 32 px is trained on at least 2 images at a time, as it normalizes "
        "over the batch\n"
    )
    assert not (fakes / "runs").exists()


def test_a_single_training_image_is_refused_too(built, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = built(model="pooled-net")
    run = runner.run
    split = dataclasses.replace(run.data.split, train=run.data.split.train[:1])
    monkeypatch.setattr(run, "data", dataclasses.replace(run.data, split=split))
    monkeypatch.delitem(vars(run), "_sampling", raising=False)  # of the former split
    run.smallest_batch = smallest_batch(run, runner.trainer)
    with pytest.raises(UsageError, match="there are too few training images, 1: pooled-net at"):
        check_batch_size(run)


def test_a_run_that_leaves_an_image_out_resumes_to_the_same_bits(processes, tmp_path: Path) -> None:
    flags = (
        *("--model", "pooled-net", "--batch-size", 5, "--epochs", 2),
        *("--schedule", "cosine", "--accumulate", 2),
    )
    runs = []
    # One ends after its training: only the other one's report is needed.
    for name, point in (("whole", "epoch:2"), ("killed", "step:2:3")):
        folder = tmp_path / name
        folder.mkdir()
        ended = processes.run(folder, "run", "fake", *flags, SABOTAGE=f"SIGKILL@{point}")
        assert ended.code == -signal.SIGKILL, ended.stderr
        runs.append(only_run(folder))
    resumed = processes.run(tmp_path / "killed", "resume", runs[1])
    assert resumed.code == 0, resumed.stderr
    assert_same_training(*runs)


def test_the_step_that_is_tried_has_the_targets_of_the_dataset(
    built, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = built(model="pooled-net")
    run, train_step = runner.run, runner.trainer.train_step
    ages = np.arange(len(run.data.dataset.records), dtype=np.float32)
    monkeypatch.setattr(run.data.dataset, "targets", (Target("age", "number", "age in years"),))
    monkeypatch.setattr(run, "data", dataclasses.replace(run.data, numbers={"age": ages}))

    def reads_them(run, batch):
        assert batch.targets["age"].tolist() == batch.index.tolist()
        return train_step(run, batch)

    monkeypatch.setattr(runner.trainer, "train_step", reads_them)
    assert smallest_batch(run, runner.trainer) == 2  # it normalizes over the batch
