"""Time of a training step of a trivially small model: of this version beside another one, and with extensions.

    git worktree add ../earlier c98a1a3
    python examples/measure_overhead.py ../earlier

Almost all of such a step is what pneumo does around the model. Each measurement is a process of its own, and those
to be compared alternate, as the speed of a machine changes. It is the processor time of the fastest epoch, on one
core, so that other processes disturb it little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import recording

HERE = Path(__file__).resolve().parents[1]
EPOCHS, BATCH, IMAGES = 10, 2, 1000


def main() -> None:
    """Compare in turn, and print the time of a step, ratios and differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("earlier", type=Path, nargs="?", help="source tree of another version")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    recording.add_option(parser)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        print(1e6 * seconds_per_step(arguments.worker))
        return
    kinds: dict[str, tuple[Path, int]] = {"this version": (HERE, 0), "with three extensions": (HERE, 3)}
    if arguments.earlier is not None:
        kinds = {"the other version": (arguments.earlier.resolve(), 0), **kinds}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(arguments.rounds):
        order = list(kinds.items())
        for name, (tree, extensions) in reversed(order) if number % 2 else order:
            times[name].append(measured(tree, extensions))
    own = times["this version"]
    found = {"microseconds": round(statistics.median(own))}
    for name, values in times.items():
        line = f"{name:<24}{statistics.median(values):7.0f} µs per step"
        if values is not own:
            ratio = statistics.median(value / mine for value, mine in zip(values, own, strict=True))
            difference = statistics.median(value - mine for value, mine in zip(values, own, strict=True))
            line += f"   {ratio:.3f} x this version   {difference:+.0f} µs"
            key = "other" if name == "the other version" else "extensions"
            found |= {f"{key}_ratio": round(ratio, 3), f"{key}_microseconds": round(difference)}
        print(line)
    recording.write(arguments.record, found)


def measured(tree: Path, extensions: int) -> float:
    """Microseconds per step, measured in a process with the source in ``tree``."""
    environ = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PNEUMO_DISABLE_PLUGINS": ""}
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(extensions)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ, cwd=folder)
    return float(done.stdout)


def seconds_per_step(extensions: int) -> float:
    """Train a model of a few parameters, and return the processor time of a step in the fastest epoch."""
    sys.modules.setdefault("measure_overhead", sys.modules[__name__])
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Provenance
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.specs import DatasetSpec, ModelSpec, Preset, TrainerSpec
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    plugins, origin = Plugins(), Provenance("overhead", "1")
    plugins.models.add(
        ModelSpec(name="means", kind="classifier", summary="Two weights", factory="measure_overhead:model"),
        origin,
    )
    plugins.datasets.add(
        DatasetSpec(name="noise", summary="Noise", factory="measure_overhead:dataset", synthetic=True), origin
    )
    spec = TrainerSpec(
        name="overhead",
        summary="Trains it",
        kind="classifier",
        model="means",
        trainer="pneumo_cli.trainers:ClassificationTrainer",
        settings="pneumo_cli.settings:ClassificationSettings",
        presets=(Preset(name="source", summary="Its own"),),
    )
    plugins.trainers.add(spec, origin)
    flags = {"dataset": "noise", "epochs": EPOCHS, "batch_size": BATCH, "image_size": 32, "augment": False}
    flags |= {
        "device": "cpu",
        "precision": "fp32",
        "cache": "cache",
        "output": "runs",
        "checkpoint_minutes": 60,
    }
    resolved = resolve(plugins, plugins.trainers.get("overhead"), flags, environ={})
    around = [("extension", extension) for extension in made_extensions()[:extensions]]
    runner = open_runner(set_up(plugins, resolved), around)
    times: list[float] = []
    train_epoch = runner.train_epoch

    def timed(outputs: Any) -> None:
        steps = -(-len(runner.run.data.split.train) // BATCH)
        began = time.process_time()
        train_epoch(outputs)
        times.append((time.process_time() - began) / steps)
        if len(times) == EPOCHS:
            raise SystemExit

    runner.train_epoch = timed  # type: ignore[method-assign]
    try:
        runner.start()
    except SystemExit:
        return min(times)
    raise RuntimeError("the run ended before its last epoch")


def model(channels: int, outputs: int) -> Any:
    """The mean of each channel, weighted."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def dataset(request: object) -> Any:
    """Noise in memory."""
    from pneumo_cli.testing import TinyDataset

    return TinyDataset("noise", images=IMAGES)


def made_extensions() -> list[object]:
    """A wrapper of the step, a function around it, and functions around loss and update, which change nothing."""
    from pneumo_cli.api import hookimpl

    class Wrapper:
        @hookimpl(wrapper=True)
        def train_step(self, run: Any, batch: Any) -> Any:
            return (yield)

    class AroundStep:
        @hookimpl
        def around_train_step(self, run: Any) -> Any:
            return lambda train_step, batch: train_step(batch)

    class AroundUpdate:
        @hookimpl
        def around_loss(self, run: Any) -> Any:
            return lambda loss, outputs, batch: loss(outputs, batch)

        @hookimpl
        def around_optimize(self, run: Any) -> Any:
            return lambda optimize, loss, name: optimize(loss, name)

    return [Wrapper(), AroundStep(), AroundUpdate()]


if __name__ == "__main__":
    main()
