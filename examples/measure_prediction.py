"""Throughput and peak memory of ``pneumo predict``, also beside a bare loop around the same network.

    python examples/measure_prediction.py MODEL FOLDER [--files 500 5000] [--bare]

Predicts links to the images of FOLDER, repeated to the given numbers of files, with one process for each
number. Prints images per minute, including start-up, and the peak memory of the process. With ``--bare`` it also
measures, in a process of its own, what a script without pneumo takes: of a bundle or an ``.onnx`` file onnxruntime,
of a run the network in torch; Pillow decodes and resizes in threads while a batch is computed. The two alternate
``--rounds`` times, and the fastest of each counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".dcm")
BATCH = 32


class Cost(NamedTuple):
    """What a process took: seconds, those of its processors, and its peak memory in MiB."""

    seconds: float
    processor_seconds: float
    mebibytes: float


def main() -> None:
    """Measure each number of files, and print a line for it."""
    import recording

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path, help="folder of the run or bundle, or an .onnx file")
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--files", type=int, nargs="+", default=[500, 5000], help="numbers of files")
    parser.add_argument("--bare", action="store_true", help="measure a script without pneumo, too")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured")
    recording.add_option(parser)
    arguments = parser.parse_args()
    images = sorted(p.absolute() for p in arguments.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not images:
        parser.error(f"there are no images below {arguments.folder}")
    values: dict[str, int] = {}
    for count in arguments.files:
        with tempfile.TemporaryDirectory() as place:
            for number in range(count):
                image = images[number % len(images)]
                (Path(place) / f"{number:07}{image.suffix}").symlink_to(image)
            commands = {"pneumo": [sys.executable, "-m", "pneumo_cli", "predict"]}
            if arguments.bare:
                commands["bare"] = [sys.executable, __file__, "--as-bare-loop"]
            costs = measure(
                {name: [*one, str(arguments.model), place] for name, one in commands.items()},
                arguments.rounds,
            )
        for name, cost in costs.items():
            prefix = "" if name == "pneumo" else f"{name}_"
            print(
                f"{count:,} files, {name}: {count / cost.seconds * 60:,.0f} images/min ({cost.seconds:.1f} s, "
                f"{cost.processor_seconds:.1f} s of processors), {cost.mebibytes:.0f} MiB"
            )
            values |= {
                f"{prefix}images_per_minute_{count}": round(count / cost.seconds * 60),
                f"{prefix}mebibytes_{count}": round(cost.mebibytes),
            }
    recording.write(arguments.record, values)


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, Cost]:
    """The cost of each command: the fastest of some rounds, in which they alternate."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"{' '.join(command)} failed")
            processors = usage.ru_utime + usage.ru_stime
            costs[name].append(Cost(time.monotonic() - began, processors, usage.ru_maxrss / 1024))
    return {name: min(each) for name, each in costs.items()}


def bare_loop(model: Path, folder: Path) -> None:
    """Print what a network gives for each file of a folder: decoding ahead in threads, and nothing else."""
    import numpy as np
    from PIL import Image

    is_graph = model.is_file() or (model / "model.onnx").is_file()
    size, compute = _graph(model) if is_graph else _torch_network(model)

    def load(path: Path) -> Any:
        with Image.open(path) as image:
            image.draft("L", (2 * size, 2 * size))
            gray = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(gray, np.float32)[None] / np.float32(255)

    def batches() -> Iterator[tuple[list[Path], Any]]:
        files = iter(sorted(folder.iterdir()))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

            def begin() -> tuple[list[Path], list[Any]]:
                paths = list(islice(files, BATCH))
                return paths, [pool.submit(load, path) for path in paths]

            paths, loading = begin()
            while paths:
                images = np.stack([future.result() for future in loading])
                ahead = begin()
                yield paths, images
                paths, loading = ahead

    for paths, images in batches():
        for path, value in zip(paths, compute(images), strict=True):
            print(path, value)


def _graph(model: Path) -> tuple[int, Callable[[Any], Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model / "model.onnx" if model.is_dir() else model))
    (given,) = session.get_inputs()
    first = session.get_outputs()[0].name
    return given.shape[-1], lambda images: session.run([first], {given.name: images})[0]


def _torch_network(run: Path) -> tuple[int, Callable[[Any], Any]]:
    """A run's network in torch. It is built by pneumo: what is bare is the loop."""
    import torch

    from pneumo_cli.inference.predictors import open_models
    from pneumo_cli.plugins.discovery import discover

    predictor: Any = open_models(discover(), [run])
    trained = predictor.trained

    def compute(images: Any) -> Any:
        levels = torch.from_numpy(images)
        with torch.no_grad(), trained.device.autocast():
            inputs = predictor.transform((levels[:, 0] * 255).round().byte(), torch.arange(len(levels)), 0)
            return trained.model(inputs.to(memory_format=trained.device.memory_format)).float().numpy()

    return predictor.size, compute


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-bare-loop"]:
        bare_loop(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
