"""How much memory does fine-tuning take? The peak over two training steps on images of the phantom.

python examples/measure_memory.py [--model efficientnet-b7] [--batch-size 16] [--image-size 256] [--device cpu]

On a CPU it is the peak of the process, data and program included; on CUDA that of torch's allocations.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import recording
import torch

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import open_runner


def peak(device: torch.device) -> float:
    """Peak memory in GiB since the start of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Set up a run, train for two steps, and print the peak before and after them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="efficientnet-b7", help="registered classifier")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=256, help="in pixels")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    recording.add_option(parser)
    settings = vars(parser.parse_args())
    record = settings.pop("record")
    plugins = discover()
    with tempfile.TemporaryDirectory() as folder:
        flags = {**settings, "weights": "none", "dataset": "phantom", "output": Path(folder)}
        resolved = resolve(plugins, plugins.trainers.get("fine-tuning"), flags, preset="source", environ={})
        runner = open_runner(set_up(plugins, resolved), progress=for_stderr())
        run = runner.run
        runner.build()
        run.epoch = 1
        runner.trainer.train_mode(run)
        before = peak(run.device.torch)
        began = time.monotonic()
        for batch, _ in zip(runner.loaders.training(1), range(2), strict=False):
            with run.device.autocast():
                runner.trainer.train_step(run, batch)
        seconds = (time.monotonic() - began) / 2
    most = peak(run.device.torch)
    print(
        f"{run.device.name}, {run.device.precision}: {settings['model']} at {settings['image_size']} px, batch "
        f"{settings['batch_size']}: peak {most:.1f} GiB ({before:.1f} before the first step), "
        f"{seconds:.1f} s per step"
    )
    recording.write(record, {"gibibytes": round(most, 2), "seconds_per_step": round(seconds, 2)})


if __name__ == "__main__":
    main()
