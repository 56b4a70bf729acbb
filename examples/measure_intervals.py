"""How often do the 95 % intervals of the metrics cover the true value, and how long does a call take?

The predictions are simulated, so the true values are known: the logits of both classes are normal, a patient
has one class, and the logits of a patient's images are correlated. Three groups of designs:

- ``first``: 624 images, one or 1 to 6 of each patient, overconfident probabilities. The intervals were
  developed on these.
- ``few``: the same with 150 images, 30 of them positive at the lower prevalence.
- ``second``: other AUCs, prevalences, numbers of images and of images per patient (up to 12), and probabilities
  that are calibrated, overconfident, underconfident or shifted. No choice was made on these.

Each design is repeated, with new intervals each time. The true value is that of a sample of four million (0 for
the calibration error of calibrated probabilities). With 1000 repetitions a true coverage of 95 % is observed as
93.6 to 96.4.

    python examples/measure_intervals.py [--designs first second few] [--repetitions 1000] [--processes 2]

A call for 624 images takes about 7 ms, so all 36 designs take some minutes on two cores.
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
import recording
from numpy.typing import NDArray

from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.confidence.intervals import metric_intervals

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
    """A simulation.

    Attributes:
        auc: the true AUC.
        images: number of images in the split.
        prevalence: share of class 1.
        sizes: possible numbers of images of a patient, equally likely.
        correlation: between the images of a patient, within the class.
        factor, shift: the logits are factor * calibrated logits + shift.
    """

    auc: float
    images: int
    prevalence: float
    sizes: tuple[int, ...] = (1,)
    correlation: float = 0.6
    factor: float = 1.5
    shift: float = 0.0


class Split(NamedTuple):
    """Logits, labels and patients, each [N]."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]


def _crossed(images: int) -> tuple[Design, ...]:
    return tuple(
        Design(auc, images, prevalence, sizes)
        for auc, prevalence, sizes in itertools.product(
            (0.8, 0.95, 0.99), (0.62, 0.2), ((1,), (1, 1, 2, 3, 6))
        )
    )


DESIGNS = {
    "first": _crossed(624),
    "second": (
        Design(0.75, 1000, 0.3, factor=1.0),
        Design(0.75, 1000, 0.5, (3, 4, 6, 12), factor=1.0),
        Design(0.85, 300, 0.5, factor=0.7),
        Design(0.85, 1000, 0.15, (1, 4), factor=1.8),
        Design(0.85, 1000, 0.4, (3, 12), correlation=0.8, factor=1.0, shift=0.6),
        Design(0.92, 1000, 0.8, (2, 5), correlation=0.3, factor=0.7, shift=-0.7),
        Design(0.92, 300, 0.4, (1, 2, 3), factor=1.0),
        Design(0.92, 1000, 0.12, factor=1.0, shift=1.0),
        Design(0.98, 1000, 0.5, factor=1.0),
        Design(0.98, 1000, 0.3, (3, 4, 6, 12), factor=2.0),
        Design(0.98, 1000, 0.7, (1, 3, 7), factor=1.0),
        Design(0.98, 300, 0.6, factor=1.3, shift=0.5),
    ),
    "few": _crossed(150),
}


def simulate(design: Design, generator: np.random.Generator) -> Split:
    """One split; the distribution of an image does not depend on the number of images of its patient."""
    n = design.images
    patients = np.repeat(np.arange(n), generator.choice(design.sizes, size=n))[:n]
    labels = (generator.random(n) < design.prevalence)[patients].astype(np.int64)
    common, own = generator.normal(size=n)[patients], generator.normal(size=n)
    noise = np.sqrt(design.correlation) * common + np.sqrt(1 - design.correlation) * own
    distance = np.sqrt(2) * NormalDist().inv_cdf(design.auc)
    odds = np.log(design.prevalence / (1 - design.prevalence))
    calibrated = distance * (labels * distance + noise) - distance**2 / 2 + odds
    return Split(design.factor * calibrated + design.shift, labels, patients)


def coverage(design: Design, repetitions: int, resamples: int) -> dict[str, float]:
    """Share of the repetitions with an interval, 0 to 1, in which it contains the true value; for each metric."""
    group = [design in designs for designs in DESIGNS.values()].index(True)
    generator = np.random.default_rng([group, list(DESIGNS.values())[group].index(design)])
    large = simulate(design._replace(images=4_000_000, sizes=(1,)), generator)
    truth = binary_metrics(large.logits, large.labels)
    if (design.factor, design.shift) == (1.0, 0.0):
        truth["ece"] = 0.0
    hits: dict[str, list[bool]] = {name: [] for name in METRICS}
    for repetition in range(repetitions):
        split = simulate(design, generator)
        for name, (low, high) in metric_intervals(*split, resamples=resamples, seed=repetition).items():
            hits[name].append(low <= truth[name] <= high)
    return {name: float(np.mean(values)) for name, values in hits.items()}


def seconds(images: int) -> float:
    """The shortest of three calls with 1000 resamples."""
    split = simulate(Design(0.95, images, 0.62, (1, 1, 2, 3, 6)), np.random.default_rng(0))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        metric_intervals(*split)
        times.append(time.perf_counter() - started)
    return min(times)


def table(rows: Iterable[tuple[Design, dict[str, float]]]) -> dict[str, list[float]]:
    """Print coverage in percent as Markdown, each row as soon as it is ready, and last the range of each metric.

    Returns:
        the coverages of each metric.
    """
    print("| AUC | images | prevalence | per patient | calibration | " + " | ".join(METRICS) + " |")
    print("|" + " --- |" * (len(METRICS) + 5))
    values_of: dict[str, list[float]] = {name: [] for name in METRICS}
    for design, coverages in rows:
        cells = [f"{design.auc:g}", f"{design.images}", f"{design.prevalence:g}"]
        cells.append(" or ".join(f"{size}" for size in sorted(set(design.sizes))))
        cells.append(f"x {design.factor:g} {design.shift:+g}")
        cells += [f"{100 * coverages[name]:.1f}" for name in METRICS]
        print("| " + " | ".join(cells) + " |", flush=True)
        for name in METRICS:
            values_of[name].append(100 * coverages[name])
    ranges = [f"{min(values):.1f} to {max(values):.1f}" for values in values_of.values()]
    print("| all | | | | | " + " | ".join(ranges) + " |")
    return values_of


def extremes(values_of: dict[str, list[float]]) -> dict[str, float]:
    """The least and largest coverage in percent of each metric, and ``low`` and ``high`` of all but the ECE."""
    others = [value for name, values in values_of.items() if name != "ece" for value in values]
    groups = {**{f"{name}_": values for name, values in values_of.items()}, "": others}
    return {
        f"{name}{end}": round(function(values), 1)
        for name, values in groups.items()
        for end, function in (("low", min), ("high", max))
    }


def main() -> None:
    """Print the time of a call, and a table for each group of designs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=1000, help="of each design")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--designs",
        nargs="*",
        choices=list(DESIGNS),
        default=list(DESIGNS),
        help="none: only the time of a call",
    )
    recording.add_option(parser)
    arguments = parser.parse_args()
    if arguments.record and len(arguments.designs) > 1:
        parser.error("an entry is of one group of designs, or of none")
    values: dict[str, float] = {}
    for images in (624, 5_216, 100_000):
        values[f"seconds_{images}"] = round(seconds(images), 3)
        print(f"1000 resamples of {images:,} predictions, all metrics: {values[f'seconds_{images}']:.3f} s")
    measure = partial(coverage, repetitions=arguments.repetitions, resamples=arguments.resamples)
    with ProcessPoolExecutor(arguments.processes) as pool:
        for name in arguments.designs:
            print(f"\n{name}")
            values |= extremes(table(zip(DESIGNS[name], pool.map(measure, DESIGNS[name]), strict=True)))
    recording.write(arguments.record, values)


if __name__ == "__main__":
    main()
