"""What a run will cost: ``pneumo run --dry-run``, and the line that a long run begins with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pneumo_cli as pneumo_functions
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers import ClassificationTrainer
from pneumo_cli.training.estimate import Estimate, estimate_run, total
from pneumo_cli.training.measurement import Measurement

_PLUGIN = """
from pneumo_cli.api import DatasetSpec, Preset, TrainerSpec, hookimpl

api_version = 1
COMMON = dict(settings="sleepy:Settings", kind="classifier", model="plain-net")
PRESETS = (Preset(name="source", summary="Long"), Preset(name="quick", summary="Short", values={"epochs": 1}))

@hookimpl
def register_trainers():
    yield TrainerSpec(name="sleepy", summary="Slow", trainer="sleepy:Sleepy", presets=PRESETS, **COMMON)
    yield TrainerSpec(name="brisk", summary="Fast", trainer="sleepy:Brisk", presets=PRESETS, **COMMON)
    yield TrainerSpec(name="greedy", summary="Large", trainer="sleepy:Greedy", presets=PRESETS, **COMMON)

@hookimpl
def register_datasets():
    yield DatasetSpec(name="sealed", summary="Of train images alone", factory="sleepy:open_sealed")
"""
_TRAINERS = """
import time
import torch
from pydantic import Field
from pneumo_cli.testing import TinyDataset
from pneumo_fake.settings import FakeSettings
from pneumo_fake.trainers import FakeTrainer

STEPS = []

class Settings(FakeSettings):
    epochs: int = Field(1000, ge=1, description="passes over the training images")

class Brisk(FakeTrainer):
    pause = 0.0

    def train_step(self, run, batch):
        STEPS.append(len(batch.index))
        time.sleep(self.pause)
        run.stop("one epoch is enough for a test")
        return super().train_step(run, batch)

class Sleepy(Brisk):
    pause = 0.02

class Greedy(Brisk):
    def train_step(self, run, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\\nmore lines")

class Sealed(TinyDataset):
    def read(self, record, size=None):
        assert record.pool != "test", "a test image was read"
        return super().read(record, size)

def open_sealed(request):
    return Sealed("sealed")
"""


@pytest.fixture
def sleepy(install: Callable[..., None]) -> None:
    """Trainers of slow steps, of fast ones, and of steps that need too much memory."""
    install("pneumo-sleepy", {"sleepy": "sleepy_plugin"}, {"sleepy_plugin": _PLUGIN, "sleepy": _TRAINERS})


def estimated(trainer: str, **settings: Any) -> Estimate:
    plugins = discover()
    given = {"precision": "fp32", **settings}
    return estimate_run(plugins, resolve(plugins, plugins.trainers.get(trainer), given), Progress())


def results(output: str) -> list[Any]:
    """What a run has measured after each epoch, without times."""
    (file,) = Path(output).glob("*/*/metrics.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [(row["train"], row["validation"]) for row in rows]


@pytest.mark.usefixtures("sleepy")
def test_the_time_is_that_of_all_steps_of_all_runs() -> None:
    one = estimated("sleepy", epochs=10)
    assert (one.images, one.steps_per_epoch, one.steps) == (
        {"train": 36, "validation": 12, "test": 16},
        5,
        50,
    )
    assert one.seconds_of["training"] > 50 * 0.02
    assert one.seconds == pytest.approx(sum(one.seconds_of.values()))
    four = estimated("sleepy", epochs=10, folds=4)
    assert (four.runs, four.steps) == (4, 200)
    assert four.seconds_of["training"] > 200 * 0.02


def test_what_was_measured_is_multiplied_by_epochs_images_and_runs(runner_of: Callable[..., Any]) -> None:
    run = runner_of(ClassificationTrainer, epochs=10).run  # 36, 12 and 16 images, 5 steps per epoch
    measured = Measurement(
        *(2.0, 0.1, 0.2, 0.5, 0.3, 1000.0), best=40, last=100, epoch_images=7, memory=None, parameters=9,
        trainable=8, smallest_batch=1,
    )  # fmt: skip
    one = total(run, 1, measured, decoding=60.0)
    assert one.seconds_of == pytest.approx(
        {
            "decoding": 60,
            "features": 0.3 * (36 + 12),
            "training": 10 * (5 * 2.0 + 0.5),
            "validation": 0.1 * (36 + 12 * (1 + 10 + 1)),
            "test": 0.2 * 16,
            "report": one.seconds_of["report"],
        },
        rel=1e-3,
    )
    assert (one.disk["features"], one.disk["checkpoints"]) == (48_000, 140)
    three = total(run, 3, measured, decoding=60.0)
    assert three.seconds == pytest.approx(60 + 3 * (one.seconds - 60))
    assert three.disk["checkpoints"] == 420


@pytest.mark.parametrize("trainer", ["fake", "duel", "painter"])
def test_every_kind_of_trainer_can_be_estimated(fakes: Path, trainer: str) -> None:
    found = estimated(trainer)
    assert found.problem == ""
    assert found.parameters >= found.trainable > 0
    assert found.seconds > 0
    assert found.disk["checkpoints"] > 4 * found.parameters
    assert list(fakes.iterdir()) == []


@pytest.mark.usefixtures("sleepy")
def test_a_dry_run_writes_nothing_reads_no_test_image_and_changes_no_generator(pneumo, fakes: Path) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    ended = pneumo(
        "run", "fake", "--dataset", "sealed", "--cache", "cache", "--data-home", "home", "--dry-run"
    )
    assert ended.code == 0, ended.stderr
    assert ended.stderr == "pneumo: timing a few steps …\n"
    assert {"images", "model", "steps", "time", "disk"} <= {
        line.split()[0] for line in ended.stdout.splitlines()
    }
    assert "decoded images" in ended.stdout
    assert list(fakes.iterdir()) == []
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


def test_the_json_of_a_dry_run_has_all_numbers(pneumo, fakes: Path) -> None:
    shown = json.loads(pneumo("run", "fake", "--seeds", 3, "--dry-run", "--json").stdout)
    assert (shown["runs"], shown["epochs"], shown["steps"]) == (3, 3, 45)
    assert shown["seconds"] == pytest.approx(sum(shown["seconds_of"].values()), abs=0.5)
    refused = pneumo("run", "fake", "--json")
    assert refused.code == 2
    assert "--json goes with --dry-run" in refused.stderr


@pytest.mark.usefixtures("sleepy")
def test_steps_without_enough_memory_are_said_in_one_line(pneumo, fakes: Path) -> None:
    ended = pneumo("run", "greedy", "--dry-run", "--json")
    shown = json.loads(ended.stdout)
    assert (ended.code, shown["seconds"], shown["images"]["train"]) == (1, None, 36)
    assert shown["problem"] == (
        "out of memory on cpu with a batch of 8 images: lower --batch-size or --image-size"
    )
    _, line = ended.stderr.splitlines()
    assert line.startswith("pneumo: the run would fail: ")


@pytest.mark.usefixtures("sleepy")
def test_a_long_run_says_its_price_before_it_trains_and_ends_at_the_same_bits(
    pneumo, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo_cli.training.estimate.LONG", 20.0)
    ended = pneumo("run", "sleepy", "--no-report", "--output", "said")
    assert ended.code == 0, ended.stderr
    lines = ended.stderr.splitlines()
    (place,) = (n for n, line in enumerate(lines) if "on this machine" in line)
    assert lines[place].startswith("pneumo: about ")
    assert "(1,000 epochs of 5 steps); --preset quick takes about " in lines[place]
    assert "started" not in "".join(lines[:place])
    monkeypatch.setattr("pneumo_cli.workflows.training.say_if_long", lambda run: None)
    assert pneumo("run", "sleepy", "--no-report", "--output", "unsaid").code == 0
    assert results("said") == results("unsaid")


@pytest.mark.usefixtures("sleepy")
def test_a_short_run_is_recognized_by_its_first_step_and_says_nothing(pneumo, fakes: Path) -> None:
    ended = pneumo("run", "brisk", "--epochs", 300, "--no-report", "--output", "out")
    assert ended.code == 0, ended.stderr
    assert "on this machine" not in ended.stderr
    import sleepy  # type: ignore[import-not-found]

    assert len(sleepy.STEPS) == 5 + 1
    sleepy.STEPS.clear()
    assert pneumo("run", "brisk", "--epochs", 20, "--no-report", "--output", "shorter").code == 0
    assert len(sleepy.STEPS) == 5, "so few images are not worth a step"


@pytest.mark.usefixtures("sleepy")
def test_of_several_devices_one_is_measured_with_its_share_of_the_batch(fakes: Path) -> None:
    found = estimated("brisk", devices=2, device="cpu")
    import sleepy

    assert (found.devices, found.steps_per_epoch, set(sleepy.STEPS)) == (2, 5, {4})
    assert "measured on one, without the exchange between them" in repr(found)


def test_the_function_gives_what_the_command_prints(pneumo, fakes: Path) -> None:
    found = pneumo_functions.estimate("fake", epochs=2, progress=False)
    assert isinstance(found, pneumo_functions.Estimate)
    assert (found.trainer, found.preset, found.epochs) == ("fake", "source", 2)
    assert repr(found).splitlines()[0].split(maxsplit=1)[1] in pneumo("run", "fake", "--dry-run").stdout
    with pytest.raises(pneumo_functions.UsageError, match="did you mean"):
        pneumo_functions.estimate("faek")
