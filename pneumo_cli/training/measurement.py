"""A few real steps of a run that has not started, timed on its own images, device and precision.

The trainer, its model and its extensions are made anew for it and thrown away, on a few images of each split; its
caches and its folder are temporary. Random generators, switches of torch and the log are as before afterwards, so
that a run after it ends at the same bits. No test image is evaluated, and no observer is called.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.errors import EXITS, Interrupted, PneumoError, is_out_of_memory
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.accelerators import peak_memory, release_memory, reset_peak_memory, synchronize
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.runtime.turns import kept_state
from pneumo_cli.trainers.session import Setup, run_on, set_up
from pneumo_cli.training.build import cache_sources
from pneumo_cli.training.evaluation import evaluate_split, save_epoch_images
from pneumo_cli.training.runner import Runner
from pneumo_cli.training.state import best_state, training_state

_EVALUATED = 32  # validation images
_MEASURED = 1.0  # seconds: of all steps after the first
_STEPS = 7  # after the first, at least, on a busy machine too
_MOST = 4.0  # seconds: of all steps after the first, unless one takes longer
_SLOW = 8.0  # seconds: a first step of so many is not repeated, although a later one may be faster
_REST = 3.0  # of a run with epochs of few steps, in relation to its steps: evaluations, saving


@dataclass(frozen=True)
class Measurement:
    """What a run's work takes on this machine.

    Attributes:
        step: seconds of a training step of a whole batch.
        evaluation: seconds per image of an evaluation on training or validation images.
        test: seconds per image of one on test images, which pass the whole network, cached features or not.
        epoch: seconds at the end of each epoch, for the images that are saved.
        once: seconds per training and validation image before the first epoch, for cached features; 0: none.
        cached: bytes per training and validation image of cached features.
        best, last: bytes of the checkpoints.
        epoch_images: bytes of the images that are saved of each epoch.
        memory: bytes: of the device, or of this process (CPU); None: not known.
        parameters, trainable: of the model.
        smallest_batch: see :class:`~pneumo_cli.runs.run.Run`.
    """

    step: float
    evaluation: float
    test: float
    epoch: float
    once: float
    cached: float
    best: int
    last: int
    epoch_images: int
    memory: int | None
    parameters: int
    trainable: int
    smallest_batch: int


def few_positions(data: PreparedData, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The training and validation images to measure with: a batch, and a few, spread over all classes."""
    split = data.split
    return _spread(data, split.train, batch), _spread(data, split.validation, _EVALUATED)


def measure(run: Run, enough: float = 0.0) -> Measurement | None:
    """Time a few steps of a run, and what comes between and after them.

    Args:
        run: opened, with its data, and not built. Of the images only those of :func:`few_positions` are looked at;
            with several devices, each of them makes a share of the batch.
        enough: None is returned after the first step if it shows that the run takes fewer seconds than this.

    Raises:
        PneumoError: the first steps of the run would fail, for this reason.
    """
    machine, settings, device, data = run.machine, run.settings, run.device, run.data
    put_back = kept_state()
    try:
        with temporary_folder() as folder, silent():
            own = machine.model_copy(update={"cache": folder, "output": folder})
            share = -(-settings.batch_size // machine.devices)
            recipe = settings.model_copy(update={"batch_size": share})
            setup = set_up(run.registries, replace(run.resolved, machine=own, trainer=recipe))
            train, validation = few_positions(data, share)
            few = replace(data, split=replace(data.split, train=train, validation=validation))
            small = run_on(setup, few, device, Progress(), Ranks())
            small.folder = RunFolder(folder / "run")
            with _one_line(device.torch, share):
                return _Probe(small, setup).measured(run, enough)
    finally:
        put_back()
        gc.collect()
        release_memory(device.torch)


class _Probe:
    """Measures one run on a few images."""

    def __init__(self, run: Run, setup: Setup) -> None:
        self.run, self.trainer = run, setup.trainer
        self.runner = Runner(run, setup.trainer, (), ())
        self.device = run.device.torch

    def measured(self, whole: Run, enough: float) -> Measurement | None:
        """As :func:`measure`; ``whole`` is the run with all its images."""
        run, runner = self.run, self.runner
        reset_peak_memory(self.device)
        runner.build()
        runner.average_weights()
        positions = len(run.data.split.train) + len(run.data.split.validation)
        plain = run.sources
        once = self.seconds(lambda: cache_sources(run, self.trainer)) / positions
        cached = run.sources is not plain
        if cached:
            enough -= once * (len(whole.data.split.train) + len(whole.data.split.validation))
        steps = whole.settings.epochs * math.ceil(whole.images_per_epoch / whole.settings.batch_size)
        enough /= _REST * max(steps, 1)
        step = self.step_seconds(enough)
        if step < enough:
            return None
        evaluation = self.evaluation_seconds()
        self.add_epoch()
        epoch = self.seconds(lambda: save_epoch_images(run, self.trainer))
        parameters = list(run.model.parameters())
        return Measurement(
            step=step,
            evaluation=evaluation,
            test=max(evaluation, once) if run.sources.test is not run.sources.evaluation else evaluation,
            epoch=epoch,
            once=once if cached else 0.0,
            cached=_size(run.machine.cache / "features") / positions,
            best=_bytes(best_state(run)),
            last=_bytes(training_state(run, {}, runner.hooks.states())),
            epoch_images=_size(run.folder.samples),
            memory=self.memory(),
            parameters=sum(one.numel() for one in parameters),
            trainable=sum(one.numel() for one in parameters if one.requires_grad),
            smallest_batch=run.smallest_batch,
        )

    def seconds(self, work: Callable[[], object]) -> float:
        """How long some work takes, on the device too."""
        began = time.perf_counter()
        work()
        synchronize(self.device)
        return time.perf_counter() - began

    def step_seconds(self, enough: float) -> float:
        """Seconds per step: the median of those after the first, unless that is long or short enough."""
        steps = self.steps()
        first = self.seconds(lambda: next(steps))
        compiles = bool(self.run.extensions)  # or may do so: only in the first step
        if (first > _SLOW and not compiles) or first < enough:
            return first
        taken: list[float] = []
        while sum(taken) < _MEASURED or (len(taken) < _STEPS and sum(taken) < _MOST):
            taken.append(self.seconds(lambda: next(steps)))
        return float(np.median(taken))  # other programs delay some steps by as much as several take

    def steps(self) -> Iterator[None]:
        """Training steps, with what the runner does around them but schedules, which end with the run."""
        run, runner = self.run, self.runner
        for epoch in count(1):
            run.epoch, run.step = epoch, 0
            self.trainer.train_mode(run)
            loader = runner.loaders.training(epoch)
            for batch in loader.iterate(0):
                seed_all(run.settings.seed, epoch, run.step, run.ranks.rank)
                runner.steps.make(loader, batch)
                run.step += 1
                if run.average is not None and run.updates.complete:
                    run.average.update_parameters(run.model)
                yield

    def evaluation_seconds(self) -> float:
        """Seconds per image of an evaluation."""
        run, runner = self.run, self.runner
        split = "validation" if len(run.data.split.validation) else "train"

        def evaluate() -> None:
            evaluate_split(run, runner.hooks, split, runner.loaders.evaluation(split))

        first = self.seconds(evaluate)
        taken = first if first > _MOST else self.seconds(evaluate)
        return taken / len(run.data.split.parts()[split])

    def add_epoch(self) -> None:
        """An epoch in the history, which the images of an epoch may ask for."""
        self.run.history.append(
            {"epoch": 0, "train": {}, "validation": {}, "learning_rate": 0.0, "seconds": 0.0}
        )

    def memory(self) -> int | None:
        """The memory in use at the peak: freed blocks are kept, so it is that of the process now."""
        if self.device.type != "cpu":
            return peak_memory(self.device)
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None


def copy_remembered(cache: Path, copy: Path) -> None:
    """Copy what opening a dataset remembers (hashes of its files): it is read, and nothing is added to it."""
    for kept in ("digests", "depths"):
        with suppress(OSError):
            copytree(cache / kept, copy / kept)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what an estimate writes.

    Raises:
        PneumoError: there is no place for one.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="pneumo-estimate-", ignore_cleanup_errors=True)
    except OSError as error:
        raise PneumoError(f"temporary files cannot be written: {error.strerror}") from error
    with folder as path:
        yield Path(path)


@contextmanager
def silent() -> Iterator[None]:
    """Keep what this thread logs from being shown: the run itself says it again."""
    logger, own = logging.getLogger("pneumo"), threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != own

    logger.addFilter(of_others)
    try:
        yield
    finally:
        logger.removeFilter(of_others)


@contextmanager
def _one_line(device: torch.device, batch: int) -> Iterator[None]:
    """Turn what the steps raise into a PneumoError of one line."""
    try:
        yield
    except (PneumoError, Interrupted):
        raise
    except (Exception, *EXITS) as error:
        text = next(iter(str(error).splitlines()), "")
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            raise PneumoError(
                f"out of memory on {device} with a batch of {batch} images: lower --batch-size or --image-size"
            ) from None
        raise PneumoError(f"{type(error).__name__}: {text}") from error


def _spread(data: PreparedData, positions: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Some positions, the first of each class among them, and the others spread over all classes; in order."""
    if len(positions) <= wanted:
        return positions
    labels = data.labels[positions].reshape(len(positions), -1)
    firsts = {
        int(np.argmax(labels[:, column] == value))
        for column in range(labels.shape[1])
        for value in np.unique(labels[:, column])
    }
    by_class = np.lexsort(labels.T)
    spread = by_class[np.linspace(0, len(positions) - 1, max(wanted - len(firsts), 0)).astype(np.int64)]
    chosen = {*firsts, *spread.tolist()}
    chosen |= set([one for one in range(len(positions)) if one not in chosen][: max(wanted - len(chosen), 0)])
    return positions[sorted(chosen)]


def _bytes(state: Any) -> int:
    """The bytes of all tensors in a checkpoint's content."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(_bytes, state.values()))
    return sum(map(_bytes, state)) if isinstance(state, list | tuple) else 0


def _size(folder: Path) -> int:
    """The bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
