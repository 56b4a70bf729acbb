"""The page of a comparison: the result first, then metrics, tests, curves and the settings that differ.

It is made of the same blocks as a run's report (:mod:`pneumo_cli.reports.html`). :mod:`pneumo_compare.comparison`
computes, :mod:`pneumo_compare.wording` has the sentences.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.binary import roc_points
from pneumo_cli.evaluation.confidence.paired import Scored, difference_text
from pneumo_cli.evaluation.metric_names import in_order, interval_text, is_known, metric_text
from pneumo_cli.reports.document import Block, Document, Folded, Headline, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import count, when
from pneumo_cli.reports.html import render_document
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_compare import figures
from pneumo_compare.comparison import ComparedRun, Comparison
from pneumo_compare.disagreements import classes_of
from pneumo_compare.pairs import pair_blocks
from pneumo_compare.settings import settings_that_differ
from pneumo_compare.tables import (
    metric_rows,
    metric_title,
    plain,
    run_rows,
    whole_rows,
)
from pneumo_compare.wording import cautions, metric_verdict, side_by_side, verdict

PAGE, CONTENT = "compare.html", "compare.json"

_CARDS = 4
_NAMED = 3  # runs whose folders are named below the title
_WITH_INTERVALS = 4  # runs in a table of metrics with intervals; with more it would be wider than a page
_COUNTED = 6  # classes in the summary
_GOOD = 0.95  # AUC above which only the corner of a ROC curve matters


def write_comparison(comparison: Comparison, target: Path) -> Path:
    """Write the page, which needs no other file, to a ``.html`` file, or into a folder with ``compare.json``.

    Returns:
        the file of the page.

    Raises:
        OSError: the target cannot be written, or the disk is full.
    """
    page = target if target.suffix == ".html" else target / PAGE
    with tempfile.TemporaryDirectory(prefix="pneumo-compare-") as pictures:
        html = render_document(document(comparison, Path(pictures)), Path(pictures))
    if page != target:
        atomic.write_json(target / CONTENT, plain(comparison))
    atomic.write_text(page, html)
    return page


def document(comparison: Comparison, pictures: Path) -> Document:
    """The content of the page; its figures are written into the folder ``pictures``."""
    runs = comparison.runs
    differing = [*settings_that_differ([run.report for run in runs])]
    sections = (
        Section("pairs", "Differences", tuple(pair_blocks(comparison, pictures))),
        Section("runs", "The runs", (_runs_table(comparison), *_recipes(runs, differing))),
        Section(
            "metrics", f"Metrics on the {comparison.split} images", tuple(_metrics(comparison, pictures))
        ),
        Section("curves", "Training", tuple(_curves(comparison, pictures)), folded=True),
        Section("method", "Methods", tuple(_method(comparison)), folded=True),
    )
    return Document(
        title=f"{len(runs)} runs compared" if len(runs) > 2 else " and ".join(run.label for run in runs),
        byline=" · ".join(
            (when(datetime.now(UTC).isoformat(timespec="seconds")), *(run.name for run in runs[:_NAMED]))
        ),
        cautions=cautions(comparison),
        summary=_summary(comparison),
        verdict=verdict(comparison),
        headline_title=f"On the {comparison.split} images",
        headlines=tuple(_headlines(comparison))[:_CARDS],
        sections=tuple(section for section in sections if section.blocks),
        version=version("pneumo-cli"),
    )


def _summary(comparison: Comparison) -> str:
    images, untested = comparison.first.images, side_by_side(comparison)
    if images is None or untested:
        return untested
    total, classes = len(images.names), classes_of(comparison.first)
    numbers = _numbers(images.labels, classes)
    of_classes = f" ({', '.join(f'{count(n)} {name}' for name, n in numbers.items())})" if numbers else ""
    return (
        f"All runs were evaluated on the same {count(total)} {comparison.split} images{of_classes} of "
        f"{count(len(set(images.patients)))} patients. "
        + ("Every pair of runs is compared." if comparison.all_pairs else _direction(comparison))
    )


def _direction(comparison: Comparison) -> str:
    return f"Differences are from {comparison.first.label} ({text(comparison.first.name)})."


def _numbers(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    """The number of images of each class; empty for more than a sentence holds."""
    if not 2 <= len(classes) <= _COUNTED:
        return {}
    shown = (labels[:, place] if labels.ndim == 2 else labels == place for place in range(len(classes)))
    return {name: int((one == 1).sum()) for name, one in zip(classes, shown, strict=True)}


def _headlines(comparison: Comparison) -> Iterator[Headline]:
    measured = [name for name in in_order(comparison.first.metrics) if name != "loss"]
    monitored = text(mapping(comparison.first.report.get("monitor")).get("metric"))
    shown = [name for name in measured if is_known(name)] or [name for name in measured if name == monitored]
    name = "auc" if "auc" in shown else next(iter(shown), "")
    if not name:
        return
    for run in comparison.runs:
        yield Headline(
            f"{metric_title(comparison, name)}, {run.title}",
            metric_text(name, run.metrics.get(name)),
            text(run.name),
            interval_text(name, run.intervals.get(name), " to "),
        )
    for places, pair in comparison.pairs.items():
        if name in pair.metrics and len(comparison.pairs) == 1:
            first, second = comparison.of(places)
            value, _, ends = difference_text(name, pair.metrics[name].difference).partition(" (")
            yield Headline(
                f"{second.letter} − {first.letter}",
                value,
                metric_verdict(comparison, places, name),
                ends.rstrip(")"),
            )


def _runs_table(comparison: Comparison) -> Table:
    rows = tuple(
        (
            *row,
            count(mapping(run.report.get("model")).get("parameters")),
            value_text(mapping(run.report.get("monitor")).get("epoch")),
            when(run.listed.started),
        )
        for row, run in zip(run_rows(comparison), comparison.runs, strict=True)
    )
    head = ("", "Run", "Folder", "Model", "Seed", "Epochs", "Parameters", "Best epoch", "Started")
    marked = None if comparison.all_pairs or len(comparison.runs) == 2 else comparison.baseline
    return Table(head, rows, frozenset({4, 5, 6, 7}), marked=marked)


def _metrics(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    head = ("Metric", *(run.title for run in comparison.runs))
    numeric = frozenset(range(1, len(head)))
    ranged = len(comparison.runs) <= _WITH_INTERVALS
    note = ""
    if comparison.pairs and any(run.intervals for run in comparison.runs):
        note = (
            "Do not conclude from the overlap of intervals whether two runs differ: both were evaluated on the "
            "same patients, and paired differences are more certain than the values."
        )
        note = f"In brackets: 95 % intervals over patients. {note}" if ranged else note
    yield Table(head, tuple(metric_rows(comparison, intervals=ranged)), numeric, note=note)
    if rows := whole_rows(comparison):
        yield Table(head, tuple(rows), numeric, title="Metrics of the whole set of images")
    images = comparison.first.images
    first = comparison.first.scored
    if not isinstance(first, Scored) or images is None or not 0 < images.labels.sum() < images.labels.size:
        return
    curves = {
        f"{run.title}: AUC {run.metrics['auc']:.3f}": roc_points(run.scored.logits, images.labels)
        for run in comparison.runs
        if isinstance(run.scored, Scored)
    }
    corner = all(run.metrics["auc"] > _GOOD for run in comparison.runs)
    save(figures.overlaid_roc(curves, corner=corner), pictures / "roc.png")
    part = "The upper left corner of the ROC curves" if corner else "ROC curves"
    areas = ", ".join(f"{run.label} {metric_text('auc', run.metrics['auc'])}" for run in comparison.runs)
    yield Pictures(
        (("roc.png", f"{part} of the runs on the same {comparison.split} images."),),
        alternatives=(f"{part} on the {comparison.split} images, with the areas {areas}.",),
    )


def _curves(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    histories = {
        run.title: [
            row
            for row in map(mapping, sequence(run.report.get("history")))
            if number(row.get("epoch")) is not None
        ]
        for run in comparison.runs
    }
    wanted = [text(name) for run in comparison.runs for name in sequence(run.report.get("curves"))]
    wanted += [text(mapping(run.report.get("monitor")).get("metric") or "") for run in comparison.runs]
    available = {
        name
        for rows in histories.values()
        for row in rows
        for side in ("train", "validation")
        for name in mapping(row.get(side))
    }
    metrics = [name for name in dict.fromkeys(wanted) if name in available]
    if not metrics:
        return
    save(figures.overlaid_curves(histories, metrics), pictures / "curves.png")
    best = ", ".join(
        f"{run.label}: epoch {value_text(mapping(run.report.get('monitor')).get('epoch'))}"
        for run in comparison.runs
    )
    yield Pictures(
        (("curves.png", "Validation metrics over the epochs; epoch 0 is the untrained model."),),
        alternatives=(f"Validation metrics over the epochs. Selected epochs: {best}.",),
    )


def _recipes(
    runs: Sequence[ComparedRun], differing: Sequence[tuple[str, tuple[Any, ...], bool]]
) -> Iterator[Block]:
    head = ("Setting", *(run.title for run in runs))

    def table(of_machine: bool) -> Table:
        return Table(
            head,
            tuple(
                (name, *map(value_text, values))
                for name, values, machine in differing
                if machine == of_machine
            ),
        )

    recipe, machine = table(False), table(True)
    names = [row[0] for row in recipe.rows]
    if not names:
        yield Paragraph("All runs have the same recipe, including the seed.")
    elif names == ["seed"]:
        yield Paragraph("Only the seed differs: the runs repeat one recipe.")
    else:
        yield Folded(f"The {len(names)} settings that differ", (recipe,))
    if machine.rows:
        yield Folded("Different machines", (machine,))


def _method(comparison: Comparison) -> Iterator[Block]:
    if not comparison.pairs:
        return
    tests = comparison.tests
    macro = "macro " if comparison.classes else ""
    yield Paragraph(
        "Each difference is that of two runs on the same images; its interval and its p are from a paired "
        "bootstrap over patients: patients are sampled with replacement, each with all images, and the same "
        "ones for both runs. Classes are predicted at each run's own operating point, which was chosen on "
        "its validation images."
    )
    yield Paragraph(
        f"The {macro}ROC AUC is the primary metric; its p values are adjusted for {_tests(tests['primary'])} "
        f"(Holm). All other metrics are a second family, adjusted for {_tests(tests['other'])}. A difference with "
        "an adjusted p below 0.05 is significant; intervals are not adjusted. Holm's adjustment is valid however "
        "the tests depend on one another, as those of all pairs of some runs do."
    )
    if comparison.classes:
        yield Paragraph(
            "Metrics are means over the classes (macro averages), each class against the rest; accuracy is that of "
            f"all decisions. The ROC AUC of single classes is a third family, adjusted for "
            f"{_tests(tests['classes'])}."
        )
    yield Paragraph(
        "No significant difference does not mean no difference: the interval shows how large a difference "
        "would still be consistent with the data."
    )


def _tests(number: int) -> str:
    return "1 test" if number == 1 else f"{number} tests"
