"""How often do the 95 % intervals of the metrics cover the truth, and what does one call cost?

Simulated radiographs of which the truth is known: the logits of both classes are normal, a patient has one class,
and in half of the designs a patient has 1 to 6 images that resemble each other (correlation 0.6 within a class).
Each design is repeated, its intervals are made anew each time, and the truth is that of a sample of four million.
With 1000 repetitions a coverage of 95 % is seen as 93.6 to 96.4.

    python examples/measure_intervals.py [--repetitions 1000] [--resamples 1000] [--processes 2]

About 20 ms a repetition of 624 images; half an hour on two cores for all 24 designs.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.intervals import metric_intervals

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "auc",
    "average_precision",
    "brier",
    "ece",
)


class Design(NamedTuple):
    """What is simulated: the true AUC, images, share of class 1, and whether patients have several images."""

    auc: float
    images: int
    prevalence: float
    clustered: bool


class Split(NamedTuple):
    """Logits, labels and patients, each [N]."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]


DESIGNS = tuple(
    Design(*values) for values in itertools.product((0.8, 0.95, 0.99), (624, 150), (0.62, 0.2), (False, True))
)
_WITHIN = 0.6  # correlation of the images of a patient
_OVERCONFIDENT = 1.5  # logits are that much too large, so that there is a calibration error to be covered


def draw(design: Design, generator: np.random.Generator) -> Split:
    """One split of a design; the same for each image whether patients have one or several."""
    n = design.images
    sizes = (
        generator.choice([1, 2, 3, 6], size=n, p=[0.4, 0.2, 0.2, 0.2])
        if design.clustered
        else np.ones(n, int)
    )
    patients = np.repeat(np.arange(n), sizes)[:n]
    labels = (generator.random(n) < design.prevalence)[patients].astype(np.int64)
    noise = generator.normal(size=n)
    if design.clustered:
        noise = np.sqrt(_WITHIN) * generator.normal(size=n)[patients] + np.sqrt(1 - _WITHIN) * noise
    apart = np.sqrt(2) * NormalDist().inv_cdf(design.auc)
    odds = np.log(design.prevalence / (1 - design.prevalence))
    evidence = apart * (labels * apart + noise) - apart**2 / 2 + odds
    return Split(_OVERCONFIDENT * evidence, labels, patients)


def covered(design: Design, repetitions: int, resamples: int) -> dict[str, float]:
    """Share of repetitions, 0 to 1, in which each metric's interval holds the truth; of those that have one."""
    generator = np.random.default_rng(DESIGNS.index(design))
    large = draw(design._replace(images=4_000_000, clustered=False), generator)
    truth = binary_metrics(large.logits, large.labels)
    hits: dict[str, list[bool]] = {name: [] for name in METRICS}
    for repetition in range(repetitions):
        split = draw(design, generator)
        for name, (low, high) in metric_intervals(*split, resamples=resamples, seed=repetition).items():
            hits[name].append(low <= truth[name] <= high)
    return {name: float(np.mean(values)) for name, values in hits.items()}


def seconds(images: int) -> float:
    """The shortest of three calls with 1000 resamples."""
    split = draw(Design(0.95, images, 0.62, True), np.random.default_rng(0))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        metric_intervals(*split)
        times.append(time.perf_counter() - started)
    return min(times)


def table(rows: Iterable[tuple[Design, dict[str, float]]]) -> None:
    """Print coverage in percent as Markdown, one row per design as it is ready, the range of each metric last."""
    print("| AUC | images | prevalence | patients of | " + " | ".join(METRICS) + " |")
    print("|" + " --- |" * (len(METRICS) + 4))
    ends: dict[str, list[float]] = {name: [] for name in METRICS}
    for design, found in rows:
        cells = [f"{design.auc:g}", f"{design.images}", f"{design.prevalence:g}"]
        cells.append("1 to 6 images" if design.clustered else "1 image")
        cells += [f"{100 * found[name]:.1f}" for name in METRICS]
        print("| " + " | ".join(cells) + " |", flush=True)
        for name in METRICS:
            ends[name].append(100 * found[name])
    ranges = [f"{min(values):.1f} to {max(values):.1f}" for values in ends.values()]
    print("| all | | | | " + " | ".join(ranges) + " |")


def main() -> None:
    """Print the time of a call and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, choices=(150, 624), help="only the designs of that many images")
    wanted = parser.parse_args()
    designs = [design for design in DESIGNS if wanted.images in (None, design.images)]
    for images in (624, 5_216, 100_000):
        print(f"1000 resamples of {images:,} predictions, all metrics: {seconds(images):.3f} s")
    measure = partial(covered, repetitions=wanted.repetitions, resamples=wanted.resamples)
    with ProcessPoolExecutor(wanted.processes) as pool:
        table(zip(designs, pool.map(measure, designs), strict=True))


if __name__ == "__main__":
    main()
