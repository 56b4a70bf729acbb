"""Draw images of several runs below real ones of held-out patients, as one PNG file.

    python examples/draw_samples.py samples.png RUN [RUN ...] [--data-root PATH] [--count 8]

The real images are of the first run's test split and class, evenly spread over it, at the size of the smallest run.
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
    """Draw the rows and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root")
    parser.add_argument("--count", type=int, default=8)
    wanted = parser.parse_args()
    plugins = discover()
    flags = {"data_root": wanted.data_root}
    runs = [load_trained(plugins, RunFolder.open(path), "best", flags) for path in wanted.runs]
    first = runs[0].resolved
    data = open_data(
        plugins.datasets.get(first.trainer.dataset),
        first,
        Progress(),
        size=min(run.resolved.trainer.image_size for run in runs),
        only=generative(runs[0]).only_class,
    )
    test = data.split.test
    spread = test[np.linspace(0, len(test) - 1, wanted.count).astype(int)]
    rows = [("real", data.images[spread])]
    for run in runs:
        images = generative(run).draw(run.model, 0, np.arange(wanted.count))
        rows.append((f"{run.entry.spec.name}, {run.resolved.trainer.image_size} px", images.numpy()))
    save(labelled_rows(rows), wanted.target)


if __name__ == "__main__":
    main()
