"""How long a run would take: a few of its real steps, on noise, timed on this machine.

``python -m pneumo_reproduce.timing SETTINGS.toml…`` prints a line of JSON per file. It is a process of its own, so
that memory and device are free afterwards. Model, batch, precision and threads are the run's; only the images are
not. What is not timed (rendering or decoding images, the final evaluation, the report) is :data:`AROUND`, measured
once.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Dataset, Pool, Record

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.settings.resolve import Resolved

AROUND = 45.0
"""Seconds that a run takes in addition to its epochs, for a few thousand small images on two cores."""

_STEPS = 3  # of a benchmark's epoch, after the first one
_EPOCHS = 3  # of a benchmark, at most
_LONGEST = 10.0  # seconds, after which no further step is timed
_PASSES = 3  # over the validation images, after an untimed one
_PATIENTS = 8  # per class and pool, at least


@dataclass(frozen=True)
class Throughput:
    """Seconds per image.

    Attributes:
        train: of a training step with its update.
        evaluation: of an evaluation.
        once: of what is computed once per image before the first epoch; 0 if nothing is.
        views: how many views of each training image are computed then.
    """

    train: float
    evaluation: float
    once: float
    views: int

    def seconds(self, train: int, validation: int, epochs: int) -> float:
        """How long a run with so many images and epochs takes, with epoch 0 and :data:`AROUND`."""
        before = self.once * (self.views * train + validation)
        evaluated = self.evaluation * (train + validation * (epochs + 1))
        return AROUND + before + evaluated + self.train * train * epochs


class Noise(Dataset):
    """Images without content, as many as a benchmark needs, in every class, pool and subtype.

    Args:
        images: of each class, in training and validation together.
    """

    synthetic = True
    origin = "Noise, for a benchmark."
    place = "generated in memory"

    def __init__(self, classes: tuple[str, ...], images: int, size: int) -> None:
        self.name = "noise"
        self.classes = classes
        self._size = size
        count = max(images, _PATIENTS)
        pools: tuple[tuple[Pool, int], ...] = (("train", count), ("test", _PATIENTS))
        self.records = [
            Record(name, label, name, pool, name, ("bacteria", "virus")[number % 2] if label else "")
            for label in range(len(classes))
            for pool, of in pools
            for number, name in enumerate(f"{pool}/{classes[label]}/{n:06}" for n in range(of))
        ]

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Return noise that depends on the record's name alone."""
        seed = int.from_bytes(record.name.encode()[-16:], "big")
        side = size or self._size
        return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def measure(plugins: Plugins, resolved: Resolved) -> Throughput:
    """Build the model that the settings name, and time a few of its steps.

    Raises:
        PneumoError: the settings cannot be carried out.
    """
    with tempfile.TemporaryDirectory(prefix="pneumo-trial-") as cache:
        machine = resolved.machine.model_copy(update={"cache": Path(cache), "output": Path(cache)})
        return _measured(plugins, replace(resolved, machine=machine))


def _measured(plugins: Plugins, resolved: Resolved) -> Throughput:
    import torch

    from pneumo_cli.data.prepare import SplitRequest, prepare
    from pneumo_cli.runtime.distributed import Ranks
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.trainers.session import prepare_device, run_on, set_up
    from pneumo_cli.training.runner import Runner

    settings, machine = resolved.trainer, resolved.machine
    setup = set_up(plugins, resolved)
    trainer = setup.trainer
    device = prepare_device(machine)
    only = trainer.only_class
    data = prepare(
        Noise(
            ("NORMAL", only if only not in ("", "NORMAL") else "PNEUMONIA"),
            (_STEPS + 1) * settings.batch_size * 2,
            settings.image_size,
        ),
        size=settings.image_size,
        split=SplitRequest("patient", seed=0),
        cache=machine.cache,
        progress=Progress(),
        skip_unreadable=False,
        only=only,
    )
    run = run_on(setup, data, device, Progress(), Ranks())
    runner = Runner(run, trainer, [], [])
    runner.build()
    runner.average_weights()
    parts = data.split.parts()
    plain = run.sources
    views = max(1, int(getattr(settings, "feature_views", 0)))
    start = time.monotonic()
    run.sources = trainer.cache_sources(run)
    computed = views * len(parts["train"]) + len(parts["validation"])
    once = (time.monotonic() - start) / computed if run.sources is not plain else 0.0

    def wait() -> None:
        if run.device.torch.type == "cuda":
            torch.cuda.synchronize(run.device.torch)

    def batches() -> Iterator[Batch]:
        for epoch in range(1, _EPOCHS + 1):
            run.epoch = epoch
            trainer.train_mode(run)
            yield from islice(runner.loaders.training(epoch).iterate(0), _STEPS + 1)

    steps: list[float] = []  # with loading the batch
    first = start = time.monotonic()
    for batch in batches():
        with run.device.autocast():
            run.functions.train_step(batch)
        runner.steps.finish()
        wait()
        now = time.monotonic()
        steps.append((now - start) / len(batch.index))
        start = now
        if len(steps) > 1 and now - first > _LONGEST:
            break
    passes: list[float] = []
    runner.evaluate("validation", "trial")  # imports what an evaluation needs
    first = time.monotonic()
    while len(passes) < _PASSES and (not passes or time.monotonic() - first < _LONGEST):
        start = time.monotonic()
        runner.evaluate("validation", "trial")
        wait()
        passes.append((time.monotonic() - start) / len(parts["validation"]))
    # Other programs can only slow a step down, so the fastest is nearest to what the machine can do. The very
    # first step allocates what the others use.
    return Throughput(min(steps[1:] or steps), min(passes), once, views)


def main(files: list[str]) -> None:
    """Print a line per settings file: the throughput, or the error."""
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.settings.resolve import resolve

    plugins = discover()
    for file in files:
        line: dict[str, Any]
        try:
            path = Path(file)
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            entry = plugins.trainers.get(str(content.get("run", content).get("trainer", content["trainer"])))
            line = asdict(measure(plugins, resolve(plugins, entry, {}, config=path, environ={})))
        except Exception as error:
            line = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
