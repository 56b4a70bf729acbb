"""Time of a training step of a small model: of this version beside another one, with extensions, or a bare loop.

    git worktree add ../earlier c98a1a3
    python examples/measure_overhead.py ../earlier
    python examples/measure_overhead.py --bare

Almost all of a step of a model of a few parameters is what pneumo does around it. Each measurement is a process of
its own, and those to be compared alternate, as the speed of a machine changes. It is the processor time of the
fastest epoch, on one core, so that other processes disturb it little.

With ``--bare``: LeNet (pneumo-lenet) at 32 px, in pneumo (of the other version, if one is named) and in a loop of
plain torch (``bare_loop.py``), whose epochs alternate within a process; with augmentation in neither, in both, and
in pneumo alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import recording

HERE = Path(__file__).resolve().parents[1]
EPOCHS = 10
FEW, MANY = 1000, 3000  # images: for a model of two weights, and for LeNet


def main() -> None:
    """Compare in turn, and print the time of a step, ratios and differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("earlier", type=Path, nargs="?", help="source tree of another version")
    parser.add_argument("--bare", action="store_true", help="compare LeNet with a loop of plain torch")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of LeNet, with --bare")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    recording.add_option(parser)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        how = json.loads(arguments.worker)
        print(json.dumps(beside_bare_loop(how["augment"]) if "augment" in how else seconds_per_step(**how)))
        return
    if arguments.bare:
        tree = (arguments.earlier or HERE).resolve()
        recording.write(arguments.record, compared_with_bare(tree, arguments.rounds, arguments.threads))
        return
    recording.write(arguments.record, compared_with_earlier(arguments.earlier, arguments.rounds))


def compared_with_earlier(earlier: Path | None, rounds: int) -> dict[str, float]:
    """A model of a few parameters: this version, the other one, and this one with three extensions."""
    kinds: dict[str, tuple[Path, int]] = {"this version": (HERE, 0), "with three extensions": (HERE, 3)}
    if earlier is not None:
        kinds = {"the other version": (earlier.resolve(), 0), **kinds}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        order = list(kinds.items())
        for name, (tree, extensions) in reversed(order) if number % 2 else order:
            times[name].append(1e6 * measured(tree, {"extensions": extensions}))
    own = times["this version"]
    found: dict[str, float] = {"microseconds": round(statistics.median(own))}
    for name, values in times.items():
        line = f"{name:<24}{statistics.median(values):7.0f} µs per step"
        if values is not own:
            ratio = statistics.median(value / mine for value, mine in zip(values, own, strict=True))
            difference = statistics.median(value - mine for value, mine in zip(values, own, strict=True))
            line += f"   {ratio:.3f} x this version   {difference:+.0f} µs"
            key = "other" if name == "the other version" else "extensions"
            found |= {f"{key}_ratio": round(ratio, 3), f"{key}_microseconds": round(difference)}
        print(line)
    return found


def compared_with_bare(tree: Path, rounds: int, threads: list[int]) -> dict[str, float]:
    """LeNet, on so many threads: in pneumo, with the source in ``tree``, and in a bare loop."""
    found: dict[str, float] = {}
    for count in threads:
        both: dict[bool, list[Any]] = {True: [], False: []}
        for _ in range(rounds):
            for augment, results in both.items():
                results.append(measured(tree, {"augment": augment}, threads=count))
        for title, name, pneumo, bare in (
            ("augmentation in neither", "plain", False, "bare"),
            ("augmentation in both", "augmented", True, "augmented"),
            ("augmentation in pneumo alone", "alone", True, "bare"),
        ):
            runs = both[pneumo]
            ratios = [a / b for one in runs for a, b in zip(one["pneumo"], one[bare], strict=True)]
            own, other = (min(min(one[kind]) for one in runs) for kind in ("pneumo", bare))
            key = f"{name}_threads{count}"
            found |= {
                f"{key}_ratio": round(statistics.median(ratios), 3),
                f"{key}_fastest_ratio": round(own / other, 3),
                f"{key}_microseconds": round(1e6 * own),
                f"{key}_bare_microseconds": round(1e6 * other),
            }
            print(
                f"{count} thread{'s' * (count > 1)}, {title:<29} {found[f'{key}_ratio']:.3f} x the bare loop; "
                f"fastest epochs {1e6 * own:.0f} and {1e6 * other:.0f} µs per step, {own / other:.3f} x"
            )
    return found


def measured(tree: Path, how: Mapping[str, Any], threads: int = 1) -> Any:
    """What the worker prints, in a process of its own with the source in ``tree``."""
    paths = os.pathsep.join((str(tree), str(HERE / "examples" / "pneumo-lenet")))
    environ = {
        **os.environ,
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": str(threads),
        "PNEUMO_DISABLE_PLUGINS": "",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", json.dumps(how)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ, cwd=folder)
    return json.loads(done.stdout.splitlines()[-1])


def seconds_per_step(extensions: int) -> float:
    """Train a model of a few parameters, and return the processor time of a step in the fastest epoch."""
    around = [("extension", extension) for extension in made_extensions()[:extensions]]
    flags = {"batch_size": 2, "augment": False, "precision": "fp32"}
    return min(trained("measure_overhead:model", "measure_overhead:few", flags, around))


def beside_bare_loop(augment: bool) -> dict[str, list[float]]:
    """Train LeNet, and after each epoch the same in bare loops; return the processor times of a step.

    Args:
        augment: whether the run augments its images.

    Returns:
        seconds in each epoch of ``pneumo``, of a ``bare`` loop, and, if the run augments its images, of one that
        augments them as well (``augmented``).
    """
    from bare_loop import BareLoop

    loops: dict[str, BareLoop] = {}
    times: dict[str, list[float]] = {}

    def besides(run: Any) -> None:
        if not loops:
            loops["bare"] = BareLoop(run)
            if augment:
                loops["augmented"] = BareLoop(run, run.transforms.train)
            for loop in loops.values():
                loop.epoch()  # the first one does what happens once
        for name, loop in loops.items():
            times.setdefault(name, []).append(loop.epoch())

    own = trained(
        "pneumo_lenet.model:build_lenet", "measure_overhead:many", {"augment": augment}, (), besides
    )
    return {"pneumo": own, **times}


def trained(
    model: str,
    dataset: str,
    flags: Mapping[str, Any],
    around: Sequence[tuple[str, object]],
    besides: Callable[[Any], None] = lambda run: None,
) -> list[float]:
    """Train a model; return the processor time of a step in each epoch.

    Args:
        model, dataset: the factories' names.
        flags: of the run.
        around: extensions, by name.
        besides: is called with the run after each epoch, whose time does not contain it.
    """
    sys.modules.setdefault("measure_overhead", sys.modules[__name__])
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Provenance
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.specs import DatasetSpec, ModelSpec, Preset, TrainerSpec
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    plugins, origin = Plugins(), Provenance("overhead", "1")
    plugins.models.add(ModelSpec(name="small", kind="classifier", summary="Small", factory=model), origin)
    plugins.datasets.add(DatasetSpec(name="noise", summary="Noise", factory=dataset, synthetic=True), origin)
    spec = TrainerSpec(
        name="overhead",
        summary="Trains it",
        kind="classifier",
        model="small",
        trainer="pneumo_cli.trainers:ClassificationTrainer",
        settings="pneumo_cli.settings:ClassificationSettings",
        presets=(Preset(name="source", summary="Its own"),),
    )
    plugins.trainers.add(spec, origin)
    places = {"cache": "cache", "output": "runs", "checkpoint_minutes": 60}
    fixed = {"dataset": "noise", "epochs": EPOCHS, "image_size": 32, "device": "cpu", **places}
    resolved = resolve(plugins, plugins.trainers.get("overhead"), {**fixed, **flags}, environ={})
    runner = open_runner(set_up(plugins, resolved), around)
    times: list[float] = []
    train_epoch = runner.train_epoch

    def timed(outputs: Any) -> None:
        began = time.process_time()
        train_epoch(outputs)
        took = time.process_time() - began
        times.append(took / -(-len(runner.run.data.split.train) // runner.run.settings.batch_size))
        besides(runner.run)
        if len(times) == EPOCHS:
            raise SystemExit

    runner.train_epoch = timed  # type: ignore[method-assign]
    try:
        runner.start()
    except SystemExit:
        return times
    raise RuntimeError("the run ended before its last epoch")


def model(channels: int, outputs: int) -> Any:
    """The mean of each channel, weighted."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def few(request: object) -> Any:
    """Noise in memory."""
    from pneumo_cli.testing import TinyDataset

    return TinyDataset("noise", images=FEW)


def many(request: object) -> Any:
    """More noise in memory."""
    from pneumo_cli.testing import TinyDataset

    return TinyDataset("noise", images=MANY)


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
