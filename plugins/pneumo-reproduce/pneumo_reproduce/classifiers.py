"""The three classifiers beside each other: their differences on the same test images, and the report's expectation.

The source report expects fine-tuning to do better than feature extraction. Whether it does here is tested on the
predictions of our runs, in pairs, by a bootstrap over patients (:mod:`pneumo_cli.evaluation.confidence.paired`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.binary import RocPoints, roc_points
from pneumo_cli.evaluation.confidence.intervals import Difference
from pneumo_cli.evaluation.confidence.paired import (
    NO_DIFFERENCE,
    SIGNIFICANT,
    Scored,
    compare_pairs,
    difference_text,
    holm,
    p_clause,
    p_text,
)
from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.document import Block, Paragraph, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import listing, lowered
from pneumo_cli.runs.predictions import Images, binary_predictions, prediction_rows
from pneumo_cli.runtime.json_values import mapping, text
from pneumo_reproduce.figures import all_roc_curves
from pneumo_reproduce.source_report import SourceReport
from pneumo_reproduce.values import Ours

EXPECTED = ("feature-extraction", "fine-tuning")
"""The second of the two is better, the report expects."""
_TESTED = ("accuracy", "auc")
_ROC = "figures/roc-of-all.png"


@dataclass(frozen=True)
class Paired:
    """The difference of two of our classifiers in one metric, second minus first, and p adjusted for all pairs."""

    first: str
    second: str
    metric: str
    difference: Difference
    p: float

    @property
    def better(self) -> int:
        """1 if the second is significantly better, -1 if the first is, else 0."""
        if self.p >= SIGNIFICANT or not self.difference.value:
            return 0
        return 1 if self.difference.value > 0 else -1


@dataclass(frozen=True)
class Classifiers:
    """Our finished classifiers on the same test images.

    Attributes:
        curves: task to its ROC curve; empty without test images of both classes.
        pairs: all pairs of them, in each metric; empty if there are not two on the same images.
    """

    curves: Mapping[str, RocPoints]
    pairs: tuple[Paired, ...]

    def of(self, first: str, second: str) -> dict[str, Paired]:
        """The differences of two tasks by metric."""
        return {pair.metric: pair for pair in self.pairs if (pair.first, pair.second) == (first, second)}


def read_classifiers(folder: Path, source: SourceReport, ours: Mapping[str, Ours]) -> Classifiers:
    """Read the predictions of our classifiers, and compare each pair. One without predictions is left out."""
    found: dict[str, tuple[Images, Scored]] = {}
    for task in source.tasks:
        mine = ours[task.name]
        if task.kind == "classification" and mine.report and (one := _predictions(folder, mine)):
            found[task.name] = one
    images = next(iter(found.values()), (None,))[0]
    if images is None:
        return Classifiers({}, ())
    # All tasks have the same dataset; a run of which files were exchanged is not compared.
    found = {name: one for name, one in found.items() if _same(one[0], images)}
    if not 0 < images.labels.sum() < images.labels.size:
        return Classifiers({}, ())
    curves = {name: roc_points(scored.logits, images.labels) for name, (_, scored) in found.items()}
    names = list(found)
    places = [*combinations(range(len(names)), 2)]
    results, _ = compare_pairs(
        [scored for _, scored in found.values()], places, images.labels, images.patients
    )
    pairs = []
    for metric in _TESTED:
        several = [
            (names[a], names[b], pair.metrics[metric].difference)
            for (a, b), pair in zip(places, results, strict=True)
            if metric in pair.metrics
        ]
        ps = holm([difference.p for _, _, difference in several])
        pairs += [Paired(a, b, metric, one, p) for (a, b, one), p in zip(several, ps, strict=True)]
    return Classifiers(curves, tuple(pairs))


def _predictions(folder: Path, mine: Ours) -> tuple[Images, Scored] | None:
    file = folder / mine.run / "predictions" / "test.csv"
    details = mapping(mapping(mine.report.get("details")).get("test"))
    try:
        rows = prediction_rows(file)
        if not rows or not {"name", "patient", "logits", "labels"} <= rows[0].keys():
            return None
        return binary_predictions(file, rows, details)
    except PneumoError:
        return None


def _same(one: Images, other: Images) -> bool:
    return (one.names, one.patients) == (other.names, other.patients) and np.array_equal(
        one.labels, other.labels
    )


def answer(source: SourceReport, ours: Mapping[str, Ours], found: Classifiers) -> str:
    """Whether fine-tuning does better than feature extraction here, in a few sentences."""
    first, second = EXPECTED
    tested = found.of(first, second)
    theirs = [_reported(source, name) for name in EXPECTED]
    claim = (
        "The report expects fine-tuning to do better than feature extraction; its accuracies, without intervals, "
        f"are {theirs[1]:.4f} and {theirs[0]:.4f}."
    )
    if not tested:
        return f"{claim} Here it cannot be tested yet: both tasks have to be finished."
    ahead, behind = (
        [_spoken(name) for name, pair in tested.items() if pair.better == better] for better in (1, -1)
    )
    if not ahead and not behind:
        result = "Here the two do not differ significantly."
    elif not behind:
        result = f"Here it does, in {listing(ahead)}."
    elif not ahead:
        result = f"Here it does not: feature extraction is better in {listing(behind)}."
    else:
        result = f"Here it does in {listing(ahead)}, and feature extraction is better in {listing(behind)}."
    numbers = "; ".join(f"{_spoken(name)} {_difference(name, pair)}" for name, pair in tested.items())
    networks = [text(ours[name].value("report.model.name")) for name in EXPECTED]
    other = ""
    if any(network != "efficientnet-b7" for network in networks):
        other = (
            f" The networks are {networks[1]} and {networks[0]}, not the report's EfficientNet-B7, so this is no "
            "answer about its networks."
        )
    return f"{claim} {result} Fine-tuning − feature extraction, paired: {numbers}.{other}"


def _spoken(metric: str) -> str:
    return lowered(metric_label(metric).label)


def _difference(metric: str, pair: Paired) -> str:
    if pair.difference == NO_DIFFERENCE:
        return "no difference"
    return f"{difference_text(metric, pair.difference)}, p {p_clause(pair.p)}"


def _reported(source: SourceReport, name: str) -> float:
    task = next(task for task in source.tasks if task.name == name)
    return next(
        asked.value
        for group in task.groups
        for asked in group.numbers
        if asked.ours == "report.evaluations.test.accuracy" and isinstance(asked.value, float)
    )


def paired_blocks(source: SourceReport, ours: Mapping[str, Ours], found: Classifiers) -> Iterator[Block]:
    """The differences of all pairs, and the answer."""
    yield Paragraph(answer(source, ours, found))
    titles = {task.name: _short(task.title) for task in source.tasks}
    rows = []
    for first, second in dict.fromkeys((pair.first, pair.second) for pair in found.pairs):
        tested = found.of(first, second)
        reported = _reported(source, second) - _reported(source, first)
        cells = [cell for metric in _TESTED for cell in _cells(metric, tested.get(metric))]
        won = {
            name: [_spoken(pair.metric) for pair in tested.values() if pair.better == better]
            for name, better in ((titles[second], 1), (titles[first], -1))
        }
        result = "; ".join(
            f"{name} is better in {listing(metrics)}" for name, metrics in won.items() if metrics
        )
        result = result or "no significant difference"
        rows.append((f"{titles[second]} − {titles[first]}", f"{reported:+.4f}", *cells, result))
    if rows:
        tests = f"p adjusted for {len(rows)} pairs (Holm). " if len(rows) > 1 else ""
        yield Table(
            (
                "Difference",
                "The report, accuracy",
                "Here, accuracy",
                "p",
                "Here, ROC AUC",
                "p",
                "Result here",
            ),
            tuple(rows),
            frozenset({1, 2, 3, 4, 5}),
            title="Paired differences on the same test images",
            note=f"In brackets: 95 % intervals over patients, the same ones for both. {tests}One run with one seed "
            "each: the intervals do not cover the chance in training.",
        )


def _cells(metric: str, pair: Paired | None) -> tuple[str, str]:
    """The difference with its interval, and its p; empty where there is none."""
    if pair is None:
        return "", ""
    return difference_text(metric, pair.difference), p_text(pair.p)


def _short(title: str) -> str:
    """A task's title without its number and network.

    >>> _short("Task 3: EfficientNet-B7, fine-tuning")
    'Fine-tuning'
    """
    name = title.partition(": ")[2].rpartition(", ")[2]
    return name[:1].upper() + name[1:]


def roc_picture(folder: Path, source: SourceReport, found: Classifiers) -> Iterator[dict[str, str]]:
    """Draw the ROC curves of all classifiers into one figure, with its texts as in ``report["figures"]``."""
    if not found.curves:
        return
    titles = {task.name: _short(task.title) for task in source.tasks}
    (folder / "figures").mkdir(exist_ok=True)
    save(all_roc_curves({titles[name]: points for name, points in found.curves.items()}), folder / _ROC)
    areas = ", ".join(
        f"{titles[name]} {metric_text('auc', np.trapezoid(points.true_positive_rate, points.false_positive_rate))}"
        for name, points in found.curves.items()
    )
    yield {
        "file": _ROC,
        "caption": "Tasks 1 to 3. Our classifiers on the same test images.",
        "alternative": f"ROC curves of our classifiers, with the areas {areas}.",
    }
