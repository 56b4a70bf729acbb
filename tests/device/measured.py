"""Functions of the check that need Python: ``measured.py NAME JSON`` prints the result as one line of JSON.

Each runs in a process of its own, as a switch of torch or a killed run is not undone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MODEL = "mobilenet-v3-small"  # with dropout and batch normalization, whose states have to be resumed


def rate(
    device: str, dataset: str, algorithms: str, image_size: int, batch_size: int, seconds: float
) -> dict[str, Any]:
    """Images per second of a CNN's step."""
    import torch

    import pneumo_cli as pneumo

    torch.backends.cudnn.benchmark = algorithms == "benchmark"
    result = pneumo.bench(
        "cnn",
        dataset=dataset,
        device=device,
        image_size=image_size,
        batch_size=batch_size,
        seconds=seconds,
        deterministic=algorithms == "deterministic",
        progress=False,
    )
    return {"rate": result.content["trainers"][0]["images_per_second"]["step"]["median"]}


def trained(device: str, dataset: str, **settings: Any) -> dict[str, Any]:
    """A run of two epochs whose bits are to be the same each time."""
    return {"folder": str(_run(device, dataset, settings).folder)}


def killed(device: str, dataset: str, step: int, **settings: Any) -> dict[str, Any]:
    """The same, which saves at every step that may and kills itself after one of its second epoch."""

    class Killer:
        def step_finished(self, run: Any) -> None:
            if run.epoch == 2 and run.step == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return {"folder": str(_run(device, dataset, {**settings, "checkpoint_minutes": 1e-6}, Killer()).folder)}


def _run(device: str, dataset: str, settings: Mapping[str, Any], *observers: object) -> Any:
    import pneumo_cli as pneumo

    return pneumo.run(
        "cnn",
        dataset=dataset,
        device=device,
        model=_MODEL,
        epochs=2,
        precision="fp32",
        deterministic=True,
        report=False,
        evaluate_test=False,
        progress=False,
        observers=observers,
        **settings,
    )


def compared(device: str, dataset: str, first: str, second: str, killed_at: str) -> dict[str, Any]:
    """How many tensors of the last checkpoints of two runs differ, and the step from which one was resumed."""
    import torch

    def last(path: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    one, other = (last(Path(folder) / "checkpoints" / "last.pt") for folder in (first, second))
    pairs = list(zip(_tensors(one), _tensors(other), strict=True))
    metrics = [[(row["train"], row["validation"]) for row in state["history"]] for state in (one, other)]
    different = sum(not torch.equal(left, right) for left, right in pairs)
    return {
        "tensors": len(pairs),
        "different": different,
        "metrics": metrics[0] == metrics[1],
        "step": last(Path(killed_at))["step"],
    }


def _tensors(state: Mapping[str, Any]) -> list[Any]:
    """Those that training goes on from, in order."""
    import torch

    def found(value: Any) -> list[Any]:
        if isinstance(value, torch.Tensor):
            return [value]
        if isinstance(value, Mapping):
            return [one for name in sorted(value, key=str) for one in found(value[name])]
        return [one for part in value for one in found(part)] if isinstance(value, list | tuple) else []

    return found({name: state[name] for name in ("model", "average", "optimizers")})


def stalls(device: str, dataset: str, **settings: Any) -> dict[str, Any]:
    """What a step of the CNN waits for, by the lines of code that do so.

    Operations are counted where torch dispatches them; ``waits`` are those that CUDA itself reports.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    import pneumo_cli as pneumo

    copies: Counter[str] = Counter()
    reads: Counter[str] = Counter()

    def line() -> str:
        frame: Any = sys._getframe(2)
        while frame is not None and "pneumo" not in Path(frame.f_code.co_filename).parent.name:
            frame = frame.f_back
        if frame is None:
            return "elsewhere"
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if name == "_local_scalar_dense":
                reads[line()] += 1
            elif name in ("_to_copy", "copy_"):
                source = args[0] if name == "_to_copy" else args[1]
                if source.device.type != result.device.type:
                    (reads if result.device.type == "cpu" else copies)[line()] += 1
            return result

    class Watching:
        mode: Any = None
        steps = 0
        resident = False
        counts: Mapping[str, Any] = {}

        def epoch_started(self, run: Any, epoch: int) -> None:
            Watching.resident = run.images.device.type == run.device.torch.type
            if epoch == 2:  # the first one warms up
                if run.device.torch.type == "cuda":
                    torch.cuda.set_sync_debug_mode("warn")
                self.caught = warnings.catch_warnings(record=True)
                self.warned = self.caught.__enter__()
                warnings.simplefilter("always")
                self.mode = Counting()
                self.mode.__enter__()

        def step_finished(self, run: Any) -> None:
            if self.mode is not None:
                Watching.steps += 1
                waits = Counter(
                    f"{Path(one.filename).name}:{one.lineno}"
                    for one in self.warned
                    if "synchronizing" in str(one.message)
                )
                Watching.counts = {"waits": waits, "copies": Counter(copies), "reads": Counter(reads)}

        def epoch_finished(self, run: Any) -> None:
            if self.mode is not None:
                self.mode.__exit__(None, None, None)
                self.caught.__exit__(None, None, None)
                self.mode = None
                if run.device.torch.type == "cuda":
                    torch.cuda.set_sync_debug_mode("default")

    pneumo.run(
        "cnn",
        dataset=dataset,
        device=device,
        report=False,
        evaluate_test=False,
        progress=False,
        observers=[Watching()],
        **settings,
    )
    steps = max(Watching.steps, 1)
    sums = {f"{name}_per_step": sum(found.values()) / steps for name, found in Watching.counts.items()}
    lines = {name: dict(found.most_common(20)) for name, found in Watching.counts.items()}
    return {"resident": Watching.resident, "steps": Watching.steps, **sums, **lines}


def files(device: str, dataset: str, count: int, size: int, output: str) -> dict[str, Any]:
    """A short run and so many radiographs as files, to predict."""
    import numpy as np
    from PIL import Image

    import pneumo_cli as pneumo

    result = pneumo.run(
        "cnn",
        dataset=dataset,
        device=device,
        image_size=size,
        epochs=1,
        report=False,
        evaluate_test=False,
        progress=False,
        output=Path(output) / "runs",
    )
    images = Path(output) / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).resize((1024, 1024), Image.Resampling.BICUBIC).save(
            images / f"{number:04d}.jpg"
        )
    return {"run": str(result.folder), "images": str(images)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
