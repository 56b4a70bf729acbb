"""A run that is opened to be measured: on a few of its images, in a temporary folder, and thrown away.

Its steps are made by the runner that makes those of a run. No observer is called, no pretrained weight loaded, and
no test image read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_bench.bare import bare_step
from pneumo_bench.machine import Memory, product
from pneumo_bench.rounds import Work
from pneumo_cli.data.loader import Batch, Loader
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Registries
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.groups import members_of
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.session import (
    Setup,
    open_named_dataset,
    prepare_device,
    run_on,
    set_up,
)
from pneumo_cli.training.build import cache_sources
from pneumo_cli.training.epoch_outputs import EpochOutputs
from pneumo_cli.training.evaluation import evaluate_split, evaluating
from pneumo_cli.training.few_images import few_images
from pneumo_cli.training.measurement import copy_remembered, few_positions
from pneumo_cli.training.runner import Runner

_FEW = 64  # training images at least, and validation images
_HELD = 4  # batches that stay on the device, for steps without the loader
_DECODED = 32  # images that are decoded to see how long that takes, if all are cached
_EPOCHS = 10_000  # schedules are not to end while a step is repeated


class FirstBatches(Loader):
    """The first batches of a loader.

    Args:
        steps: how many of them, at most.
    """

    def __init__(self, loader: Loader, steps: int) -> None:
        vars(self).update(vars(loader))
        self._steps = steps

    def __len__(self) -> int:
        return min(self._steps, super().__len__())


class HeldBatches(FirstBatches):
    """The same, where the batches, made before, are a few in turn.

    Args:
        held: of the loader.
    """

    def __init__(self, loader: Loader, steps: int, held: Sequence[Batch]) -> None:
        super().__init__(loader, steps)
        self._held = held

    def iterate(self, start: int = 0) -> Iterator[Batch]:
        """Yield as many batches as there are steps from ``start`` on."""
        yield from islice(cycle(self._held), len(self) - start)


@dataclass(frozen=True)
class _Opened:
    """The data of a run, of which a few images are decoded.

    Attributes:
        few: with a few training and validation images.
        whole: with as many training images as the run has, in whole batches: the few, repeated.
        decoded: number of images that were decoded into an empty cache.
        seconds: how long that took.
    """

    few: PreparedData
    whole: PreparedData
    decoded: int
    seconds: float


class Workload:
    """The work of one run, piece by piece.

    Attributes:
        run: opened and built.
        bare: what its bare loop is made of; empty: there is none.
        problems: pieces that cannot be measured, with the reason.
        facts: what was measured once, as JSON values by name.
        decoding_seconds: for which images were decoded before the first step.
    """

    def __init__(self, setup: Setup, data: _Opened, run: Run) -> None:
        self.run, self.trainer, self._setup = run, setup.trainer, setup
        self.runner = Runner(run, setup.trainer, (), ())
        self.bare = ""
        self.problems: dict[str, str] = {}
        self.facts: dict[str, Any] = {"decoding": data.decoded / data.seconds}
        self.decoding_seconds = data.seconds
        self._data = data
        self._held: Sequence[Batch] = ()

    def begin(self) -> None:
        """Build, and make the first step; the runner's folder has to be open."""
        run = self.run
        self.runner.build()
        self.runner.average_weights()
        plain, images = run.sources, len(self._data.few.split.train) + len(self._data.few.split.validation)
        run.data = self._data.few
        began = time.perf_counter()
        cache_sources(run, self.trainer)
        if run.sources is not plain:
            self.facts["features"] = images / (time.perf_counter() - began)
        run.data = self._data.whole
        row = {"epoch": 0, "train": {}, "validation": {}, "learning_rate": 0.0, "seconds": 0.0}
        run.history.append(row)  # of an untrained model, so that the first epoch is the next one
        self.epoch(1)

    def works(self) -> dict[str, Work]:
        """What is measured in turns, by name; the amount of each is a number of images, or of operations."""
        run, device = self.run, self.run.device
        works = {f"product {one}": product(device.torch, one) for one in {"fp32", device.precision}}
        self._held = list(FirstBatches(self.runner.loaders.training(1), _HELD))
        batch = self._held[0]
        try:
            step, self.bare = bare_step(run, self.trainer, batch)
            step()
        except (
            Exception
        ) as error:  # of a third party's model, or its step; the runner names those of real steps
            self.bare = ""
            self.problems["bare"] = f"its step needs what the runner does around it: {_reason(error)}"
        else:
            works["bare"] = lambda n: _repeated(step, n) * len(batch.index)
        works |= {
            "step": self.step,
            "epoch": self.epoch,
            "loader": self.loader,
            "evaluation": self.evaluation,
        }
        try:
            self.forward(1)
        except Exception:  # a model that takes no images, such as a GAN
            self.problems["forward"] = _no_forward(self.trainer)
        else:
            works["forward"] = self.forward
        return works

    def epoch(self, steps: int) -> float:
        """So many steps of an epoch, or all: loader, augmentation, steps, counting."""
        return self._trained(FirstBatches(self.runner.loaders.training(1), steps))

    def step(self, steps: int) -> float:
        """The same on batches that the loader has made before."""
        return self._trained(HeldBatches(self.runner.loaders.training(1), steps, self._held))

    def loader(self, steps: int) -> float:
        """Batches of the loader, augmented, without a step."""
        return float(sum(len(batch.index) for batch in FirstBatches(self.runner.loaders.training(1), steps)))

    def _trained(self, loader: Loader) -> float:
        """Train on the batches of a loader as in an epoch; return the number of images."""
        runner, loaders = self.runner, self.runner.loaders
        outputs = EpochOutputs(self.run.ranks)
        runner.loaders = _Training(loader)  # type: ignore[assignment]
        try:
            runner.train_epoch(outputs)
        finally:
            runner.loaders = loaders
        means, per_image = outputs.results()
        self.trainer.training_metrics(self.run, means, per_image)
        self.run.step = 0
        return float(len(per_image["index"]))

    def evaluation(self, passes: int) -> float:
        """Evaluations of the validation images, or of training images where there are none."""
        run = self.run
        run.data = self._data.few
        split = "validation" if len(run.data.split.validation) else "train"
        try:
            for _ in range(passes):
                evaluate_split(run, self.runner.hooks, split, self.runner.loaders.evaluation(split))
            return float(passes * len(run.data.split.parts()[split]))
        finally:
            run.data = self._data.whole
            self.trainer.train_mode(run)

    def forward(self, passes: int) -> float:
        """The whole model's outputs for a batch of decoded images, as in a prediction."""
        run = self.run
        positions = self._data.few.split.train[:_FEW]
        inputs = run.image_inputs(run.transforms.evaluation)
        with evaluating(run):
            for _ in range(passes):
                run.model(inputs(positions, 0))
        self.trainer.train_mode(run)
        return float(passes * len(positions))

    def operations(self) -> float | None:
        """Floating-point operations of a training step, forward and backward, per image; None: not known."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            images = self.step(1)
        return counter.get_total_flops() / images or None

    def save(self) -> None:
        """Save the state of the training once, and note how long that takes."""
        began = time.perf_counter()
        self.runner.saver.save(EpochOutputs(self.run.ranks))
        path = self.runner.saver.checkpoints.path("last")
        took = time.perf_counter() - began
        self.facts["checkpoint"] = {"seconds": round(took, 4), "bytes": path.stat().st_size}

    def describe(self) -> dict[str, Any]:
        """What is measured, as JSON values."""
        run, settings = self.run, self.run.settings
        parameters = list(run.model.parameters())
        return {
            "trainer": run.spec.name,
            "preset": run.resolved.preset.name,
            "model": settings.model,
            "dataset": run.data.dataset.name,
            "image_size": settings.image_size,
            "batch_size": settings.batch_size,
            "steps_per_epoch": len(self.runner.loaders.training(1)),
            "precision": run.device.precision,
            "device": str(run.device.torch),
            "threads": torch.get_num_threads(),
            "parameters": sum(one.numel() for one in parameters),
            "trainable": sum(one.numel() for one in parameters if one.requires_grad),
            "extensions": sorted(run.extensions),
        }


class _Training:
    """Loaders whose training batches are those of one loader."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def training(self, epoch: int) -> Loader:
        return self._loader


@contextmanager
def opened(
    registries: Registries, resolved: Resolved, progress: Progress, folder: Path
) -> Iterator[Workload]:
    """A workload for the settings of a run, whose first step is made.

    Args:
        folder: an empty one, for what is written.

    Raises:
        UsageError: the request cannot be met.
        PneumoError: the first step fails.
    """
    if resolved.machine.devices > 1:
        raise UsageError(f"devices = {resolved.machine.devices}: bench measures one; leave --devices out")
    first = members_of(resolved.trainer)[0]
    recipe = resolved.trainer.model_copy(
        update={"fold": first.fold, "seed": first.seed, "seeds": 1, "epochs": _EPOCHS}
    )
    machine = resolved.machine.model_copy(update={"cache": folder / "cache", "output": folder})
    setup = set_up(registries, replace(resolved, trainer=recipe, machine=machine))
    setup.check_request()
    device = prepare_device(machine)
    memory = Memory(device.torch)
    copy_remembered(resolved.machine.cache, machine.cache)
    data = _few_images(setup, resolved.machine.cache, folder, progress)
    run = run_on(setup, data.whole, device, Progress(), Ranks())
    workload = Workload(setup, data, run)
    with ExitStack() as stack:
        stack.enter_context(workload.runner.opened(RunFolder.create(folder, run.spec.name)))
        workload.begin()
        workload.facts["memory"] = memory.content()
        yield workload


def _few_images(setup: Setup, cache: Path, folder: Path, progress: Progress) -> _Opened:
    """A few images of the run, from the cache or decoded into ``folder``."""
    batch = setup.resolved.trainer.batch_size

    def choose(data: PreparedData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        train, validation = few_positions(data, max(batch, _FEW))
        held_out = data.split.validation
        if len(held_out):
            further = held_out[np.linspace(0, len(held_out) - 1, _FEW).astype(np.int64)]
            validation = np.union1d(validation, further)
        return train, validation

    dataset = open_named_dataset(setup.registries, setup.resolved, progress)
    opened = few_images(setup, dataset, progress, cache=cache, folder=folder, choose=choose, anyway=_DECODED)
    data = opened.data
    few = replace(data, split=replace(data.split, train=opened.train, validation=opened.validation))
    many = _as_many(data, opened.train, batch)
    whole = replace(few, split=replace(few.split, train=many))
    return _Opened(few, whole, opened.decoded, opened.seconds)


def _as_many(data: PreparedData, few: NDArray[np.int64], batch: int) -> NDArray[np.int64]:
    """The few positions, repeated to the number of training images, without the last batch if it is not whole."""
    count = len(data.split.train)
    return np.resize(few, max(count // batch * batch, min(count, batch)))


def _repeated(step: Any, times: int) -> float:
    for _ in range(times):
        step()
    return float(times)


def _no_forward(trainer: Trainer) -> str:
    """Why a model gives nothing for decoded images. What torch says of it names shapes, and no reason."""
    if trainer.as_generator() is not None:
        return "the model makes images of noise, and predicts nothing of one"
    return "the model takes something else than a batch of images"


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
