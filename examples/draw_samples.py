"""Write a PNG file with a row of real images of held-out patients, and a row of samples of each run below it.

    python examples/draw_samples.py samples.png RUN [RUN ...] [--data-root PATH] [--count 8]

The real images are evenly spaced over the test split and class of the first run, at the smallest image size of
all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.reports.figures.galleries import labelled_rows
from pneumo_cli.reports.figures.style import save
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.loading import load_trained
from pneumo_cli.trainers.session import open_data
from pneumo_synthetic.generate import generative


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", type=Path, help="the PNG file")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of gan or autoencoder")
    parser.add_argument("--data-root", help="folder of the radiographs")
    parser.add_argument("--count", type=int, default=8, help="images of a row")
    arguments = parser.parse_args()
    plugins = discover()
    flags = {"data_root": arguments.data_root}
    runs = [load_trained(plugins, RunFolder.open(path), "best", flags) for path in arguments.runs]
    first = runs[0].resolved
    data = open_data(
        *(plugins, first, Progress()),
        size=min(run.resolved.trainer.image_size for run in runs),
        only=generative(runs[0]).only_class,
    )
    test = data.split.test
    positions = test[np.linspace(0, len(test) - 1, arguments.count).astype(int)]
    rows = [("real", data.images[positions])]
    for run in runs:
        images = generative(run).sample(run.model, 0, np.arange(arguments.count))
        rows.append((f"{run.entry.spec.name}, {run.resolved.trainer.image_size} px", images.numpy()))
    save(labelled_rows(rows), arguments.target)


if __name__ == "__main__":
    main()
