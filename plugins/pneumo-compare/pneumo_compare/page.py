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
from pneumo_cli.evaluation.metric_names import in_order, interval_text, is_known, metric_label, metric_text
from pneumo_cli.reports.document import Block, Document, Folded, Headline, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import count, when
from pneumo_cli.reports.html import render_document
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_compare import figures
from pneumo_compare.comparison import ComparedRun, Comparison
from pneumo_compare.disagreements import classes_of, disagreements
from pneumo_compare.paired import Scored
from pneumo_compare.tables import (
    class_head,
    class_table,
    difference_table,
    letters,
    metric_rows,
    metric_title,
    plain,
    run_rows,
    settings_that_differ,
)
from pneumo_compare.wording import (
    SPOKEN,
    cautions,
    difference_text,
    metric_verdict,
    p_text,
    pair_sentence,
    side_by_side,
    verdict,
)

PAGE, CONTENT = "compare.html", "compare.json"

_CARDS = 4
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
    differing = [*settings_that_differ(runs)]
    sections = (
        Section("runs", "The runs", (_runs_table(comparison),)),
        Section(
            "metrics", f"Metrics on the {comparison.split} images", tuple(_metrics(comparison, pictures))
        ),
        Section(
            "differences",
            f"Differences from {comparison.first.letter}",
            tuple(_differences(comparison, pictures)),
        ),
        Section("curves", "Training", tuple(_curves(comparison, pictures))),
        Section("settings", "Different settings", tuple(_settings(runs, differing))),
        Section("method", "Methods", tuple(_method(comparison))),
    )
    names = [run.name for run in runs]
    return Document(
        title=f"{len(runs)} runs compared" if len(runs) > 2 else " and ".join(names),
        byline=when(datetime.now(UTC).isoformat(timespec="seconds")),
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
        f"{count(len(set(images.patients)))} patients. Differences are from {comparison.first.letter}, "
        f"{comparison.first.name}."
    )


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
            f"{metric_title(comparison, name)} of {run.letter}",
            metric_text(name, run.metrics.get(name)),
            f"{run.name}, {run.listed.model}",
            interval_text(name, run.intervals.get(name), " to "),
        )
    for place, pair in comparison.pairs.items():
        if name in pair.metrics:
            tested = pair.metrics[name]
            value, _, ends = difference_text(name, tested.difference).partition(" (")
            yield Headline(
                f"{comparison.runs[place].letter} − {comparison.first.letter}",
                value,
                metric_verdict(comparison, place, name),
                ends.rstrip(")"),
            )


def _runs_table(comparison: Comparison) -> Table:
    rows = tuple(
        (
            *row[:4],
            count(mapping(run.report.get("model")).get("parameters")),
            *row[4:],
            value_text(mapping(run.report.get("monitor")).get("epoch")),
            when(run.listed.started),
        )
        for row, run in zip(run_rows(comparison), comparison.runs, strict=True)
    )
    head = ("", "Run", "Trainer", "Model", "Parameters", "Seed", "Epochs", "Best epoch", "Started")
    return Table(head, rows, frozenset({4, 5, 6, 7}), marked=comparison.baseline)


def _metrics(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    head = ("Metric", *letters(comparison.runs))
    numeric = frozenset(range(1, len(head)))
    note = ""
    if comparison.pairs and any(run.intervals for run in comparison.runs):
        note = (
            "In brackets: 95 % intervals over patients. Do not conclude from their overlap whether two runs "
            "differ: both were evaluated on the same patients, and paired differences are more certain than "
            "the values."
        )
    yield Table(head, tuple(metric_rows(comparison)), numeric, note=note)
    summaries = [mapping(mapping(run.report.get("summary")).get("metrics")) for run in comparison.runs]
    names = [name for name in in_order(dict.fromkeys(n for one in summaries for n in one)) if is_known(name)]
    if names:
        rows = tuple(
            (metric_label(n).label, *(metric_text(n, one.get(n)) for one in summaries)) for n in names
        )
        yield Table(head, rows, numeric, title="Metrics of the whole set of images")
    images = comparison.first.images
    first = comparison.first.scored
    if not isinstance(first, Scored) or images is None or not 0 < images.labels.sum() < images.labels.size:
        return
    curves = {
        f"{run.letter}  AUC {run.metrics['auc']:.3f}": roc_points(run.scored.logits, images.labels)
        for run in comparison.runs
        if isinstance(run.scored, Scored)
    }
    corner = all(run.metrics["auc"] > _GOOD for run in comparison.runs)
    save(figures.overlaid_roc(curves, corner=corner), pictures / "roc.png")
    part = "The upper left corner of the ROC curves" if corner else "ROC curves"
    yield Pictures((("roc.png", f"{part} of the runs on the same {comparison.split} images."),))


def _differences(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    first = comparison.first.letter
    head = ("Metric", "Difference", "p", "p adjusted", "Result")
    for place, pair in comparison.pairs.items():
        letter = comparison.runs[place].letter
        if not pair.metrics:
            yield Paragraph(pair_sentence(comparison, place))
            continue
        yield Table(
            head,
            tuple(difference_table(comparison, place)),
            frozenset({1, 2, 3}),
            title=f"{letter} − {first}",
            # For a few runs it is already in the result above.
            note=pair_sentence(comparison, place) if len(comparison.pairs) > SPOKEN else "",
        )
        if pair.equal:
            continue
        spans = [
            figures.Span(metric_title(comparison, name), *tested.difference[:3], tested.better)
            for name in in_order(pair.metrics)
            if metric_label(name).share
            for tested in [pair.metrics[name]]
        ]
        file = f"differences-{letter}.png"
        save(figures.difference_rows(spans, plus=letter, minus=first), pictures / file)
        yield Pictures(((file, f"{letter} − {first} on the same patients, with 95 % intervals."),))
        yield from _of_classes(comparison, place, pictures)
        yield from _checks(comparison, place)
        yield from disagreements(comparison, place)


def _of_classes(comparison: Comparison, place: int, pictures: Path) -> Iterator[Block]:
    """The ROC AUC of each of K classes or labels."""
    pair, first, letter = comparison.pairs[place], comparison.first.letter, comparison.runs[place].letter
    if not pair.classes:
        return
    yield Table(
        class_head(comparison, place),
        tuple(class_table(comparison, place)),
        frozenset({1, 2, 3, 4, 5}),
        title=f"ROC AUC of each class against the rest, {letter} − {first}",
    )
    spans = [
        figures.Span(text(name), *tested.difference[:3], tested.better)
        for name, tested in pair.classes.items()
    ]
    file = f"classes-{letter}.png"
    save(figures.difference_rows(spans, plus=letter, minus=first), pictures / file)
    yield Pictures(((file, f"Difference of the ROC AUC of each class, {letter} − {first}."),))


def _checks(comparison: Comparison, place: int) -> Iterator[Block]:
    pair, first, letter = comparison.pairs[place], comparison.first.letter, comparison.runs[place].letter
    rows = []
    if pair.delong is not None:
        rows.append(("DeLong, ROC AUC", f"z = {pair.delong.z:.2f}", "", p_text(pair.delong.p)))
    subsets = {"accuracy": "all images", "recall": "positive images", "specificity": "negative images"}
    rows += [
        (f"McNemar, {subsets[name]}", f"{calls.first_only:,}", f"{calls.second_only:,}", p_text(calls.p))
        for name, calls in pair.calls.items()
    ]
    if not rows:
        return
    yield Table(
        ("Check", f"Only {letter} correct", f"Only {first} correct", "p"),
        tuple(rows),
        frozenset({1, 2, 3}),
        title="Checks by tests that take images for independent",
        note="McNemar's is the mid-p, at each run's own operating point. Several images of one patient make both p "
        "too small; the results above do not depend on them.",
    )


def _curves(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    histories = {
        _legend(run): [
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
    yield Pictures((("curves.png", "Validation metrics over the epochs; epoch 0 is the untrained model."),))


def _legend(run: ComparedRun) -> str:
    model, seed = text(mapping(run.report.get("model")).get("name")), run.listed.settings.get("seed")
    return f"{run.letter}  {model or run.listed.trainer}" + (f", seed {seed}" if seed is not None else "")


def _settings(
    runs: Sequence[ComparedRun], differing: Sequence[tuple[str, tuple[Any, ...], bool]]
) -> Iterator[Block]:
    head = ("Setting", *letters(runs))

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
        yield Paragraph("None: all runs have the same recipe, including the seed.")
    elif names == ["seed"]:
        yield Paragraph("Only the seed: the runs repeat one recipe.")
    if names:
        yield recipe
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
        "an adjusted p below 0.05 is significant; intervals are not adjusted."
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
