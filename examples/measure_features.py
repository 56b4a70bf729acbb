"""How much faster is feature extraction when frozen features are computed once, and is the result the same?

Runs the trainer feature-extraction twice, with and without the cache of features, in this one process, on images
that were decoded before. Timed is all from the start to the end of the last epoch: computing the features, the
judgement of the untrained head, the epochs with their validation and checkpoints; not the report.

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
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner


class Clock:
    """Notes when the last epoch ended."""

    @hookimpl
    def epoch_finished(self) -> None:
        """Called after each epoch."""
        self.ended = time.monotonic()


def validation_logits(runner: Runner) -> np.ndarray[Any, Any]:
    """The best checkpoint's logits, in the order of the images."""
    run = runner.run
    with torch.no_grad(), run.device.autocast():
        return runner.trainer.evaluate(run, runner.loaders.evaluation("validation")).outputs["logits"]


def main() -> None:
    """Run both, and print times, ratio and the largest difference of a logit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", default="auto")
    wanted = parser.parse_args()
    plugins = discover()
    entry = plugins.trainers.get("feature-extraction")

    def opened(folder: str, cache: bool, clock: Clock) -> Runner:
        flags = {
            "model": wanted.model,
            "weights": wanted.weights,
            "image_size": wanted.image_size,
            "epochs": wanted.epochs,
            "precision": wanted.precision,
            "dataset": "chest-xray",
            "data_root": wanted.root,
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
            runner = opened(folder, cache, clock)  # decodes the images, once for both
            run = runner.run
            began = time.monotonic()
            runner.start()
            seconds[cache] = clock.ended - began
            logits[cache] = validation_logits(runner)
            aucs[cache] = run.best.value
            images = len(run.data.split.train) + len(run.data.split.validation)
            print(
                f"{'cached' if cache else 'anew':<8}{seconds[cache]:>8.1f} s   validation AUC {aucs[cache]:.5f}",
                flush=True,
            )
    difference = float(np.abs(logits[True] - logits[False]).max())
    print(
        f"{run.device.name}, {run.device.precision}, {wanted.model}, {wanted.image_size} px, {images:,} images, "
        f"{wanted.epochs} epochs: {seconds[False] / seconds[True]:.1f} times as fast; logits differ by at most "
        f"{difference:.2g} of a range of {float(np.ptp(logits[False])):.3g}"
    )


if __name__ == "__main__":
    main()
