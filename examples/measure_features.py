"""How much faster is feature extraction with cached features, and is the result the same?

Runs the trainer feature-extraction twice in this process, with and without the feature cache, on decoded
images. The time is that from the start to the end of the last epoch: computing the features, evaluating the
untrained head, and the epochs with their validation and checkpoints, without the report.

    python examples/measure_features.py PATH/TO/chest_xray [--model efficientnet-lite0] [--epochs 20]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import recording
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner


class Clock:
    """Records when the last epoch ended."""

    @hookimpl
    def epoch_finished(self) -> None:
        """Called after each epoch."""
        self.ended = time.monotonic()


def validation_logits(runner: Runner) -> np.ndarray[Any, Any]:
    """Logits of the best checkpoint, in the order of the images."""
    run = runner.run
    with torch.no_grad(), run.device.autocast():
        return runner.trainer.evaluate(run, runner.loaders.evaluation("validation")).outputs["logits"]


def main() -> None:
    """Run both, and print times, their ratio and the largest difference between logits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument("--model", default="efficientnet-lite0", help="registered classifier")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a file")
    parser.add_argument("--image-size", type=int, default=224, help="in pixels")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    recording.add_option(parser)
    arguments = parser.parse_args()
    plugins = discover()
    entry = plugins.trainers.get("feature-extraction")

    def opened(folder: str, cache: bool, clock: Clock) -> Runner:
        flags = {
            "model": arguments.model,
            "weights": arguments.weights,
            "image_size": arguments.image_size,
            "epochs": arguments.epochs,
            "precision": arguments.precision,
            "dataset": "chest-xray",
            "data_root": arguments.root,
            "output": Path(folder) / "runs",
            "cache": Path(folder) / "cache",
            "feature_cache": cache,
        }
        resolved = resolve(plugins, entry, flags, preset="cached", environ={})
        return open_runner(
            set_up(plugins, resolved), [("clock", clock)], progress=for_stderr(), command=sys.argv
        )

    seconds, logits, aucs = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for cache in (True, False):
            clock = Clock()
            runner = opened(folder, cache, clock)  # decodes the images; both share them
            run = runner.run
            began = time.monotonic()
            runner.start()
            seconds[cache] = clock.ended - began
            logits[cache] = validation_logits(runner)
            aucs[cache] = run.best.value
            images = len(run.data.split.train) + len(run.data.split.validation)
            print(
                f"{'cached' if cache else 'not':<8}{seconds[cache]:>8.1f} s   validation AUC {aucs[cache]:.5f}",
                flush=True,
            )
    difference = float(np.abs(logits[True] - logits[False]).max())
    ratio = seconds[False] / seconds[True]
    print(
        f"{run.device.name}, {run.device.precision}, {arguments.model}, {arguments.image_size} px, "
        f"{images:,} images, {arguments.epochs} epochs: {ratio:.1f} times as fast; "
        f"logits differ by at most {difference:.2g} of a range of {float(np.ptp(logits[False])):.3g}"
    )
    values = {"seconds_cached": round(seconds[True], 1), "seconds_not_cached": round(seconds[False], 1)}
    recording.write(arguments.record, {"ratio": round(ratio, 1), **values, "difference": difference})


if __name__ == "__main__":
    main()
