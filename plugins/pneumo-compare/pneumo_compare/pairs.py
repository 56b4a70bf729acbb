"""The section of a comparison's page with one line per pair of runs, and everything about each pair behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumo_cli.evaluation.confidence.paired import PRIMARY, p_text
from pneumo_cli.evaluation.metric_names import in_order, metric_label
from pneumo_cli.reports.document import Block, Folded, Paragraph, Pictures, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.runtime.json_values import text
from pneumo_compare import figures
from pneumo_compare.comparison import Comparison, Places
from pneumo_compare.disagreements import disagreements
from pneumo_compare.tables import class_head, class_table, difference_table, metric_title, pair_rows
from pneumo_compare.wording import pair_sentence


def pair_blocks(comparison: Comparison, pictures: Path) -> Iterator[Block]:
    """One line per pair, then everything about each of them."""
    rows = pair_rows(comparison)
    if rows:
        yield Table(
            ("Pair", "Runs", f"Difference, {metric_title(comparison, PRIMARY)}", "p", "p adjusted", "Result"),
            tuple(
                (letters, f"{second.label} − {first.label}", *cells)
                for places, (letters, *cells) in rows.items()
                for first, second in [comparison.of(places)]
            ),
            frozenset({2, 3, 4}),
            note=_adjustment(comparison),
        )
    alone = len(comparison.pairs) == 1
    for places, pair in comparison.pairs.items():
        first, second = comparison.of(places)
        if not pair.metrics:
            yield Paragraph(pair_sentence(comparison, places))
            continue
        blocks = tuple(_differences(comparison, places, pictures))
        if alone:
            yield from blocks
        else:
            yield Folded(
                f"{second.title} − {first.title}", (Paragraph(pair_sentence(comparison, places)), *blocks)
            )


def _differences(comparison: Comparison, places: Places, pictures: Path) -> Iterator[Block]:
    """The tests of one pair."""
    pair, (first, second) = comparison.pairs[places], comparison.of(places)
    yield Table(
        ("Metric", "Difference", "p", "p adjusted", "Result"),
        tuple(difference_table(comparison, places)),
        frozenset({1, 2, 3}),
        title=f"All metrics, {second.label} − {first.label}",
    )
    if pair.equal:
        return
    spans = [
        figures.Span(metric_title(comparison, name), *tested.difference[:3], tested.better)
        for name in in_order(pair.metrics)
        if metric_label(name).share
        for tested in [pair.metrics[name]]
    ]
    file = f"differences-{second.letter}-{first.letter}.png"
    save(figures.difference_rows(spans, plus=second.label, minus=first.label), pictures / file)
    caption = f"{second.label} − {first.label} on the same patients, with 95 % intervals."
    yield Pictures(((file, caption),), alternatives=(_said(spans, second.label, first.label),))
    yield from _of_classes(comparison, places, pictures)
    yield from _checks(comparison, places)
    yield from disagreements(comparison, places)


def _said(spans: Sequence[figures.Span], plus: str, minus: str) -> str:
    """What a figure of differences shows."""
    parts = [
        f"{who} is better in {', '.join(names)}"
        for better, who in ((1, plus), (-1, minus))
        if (names := [span.label for span in spans if span.better == better])
    ]
    return f"Differences with 95 % intervals: {'; '.join(parts) or 'none is significant'}."


def _of_classes(comparison: Comparison, places: Places, pictures: Path) -> Iterator[Block]:
    """The ROC AUC of each of K classes or labels."""
    pair, (first, second) = comparison.pairs[places], comparison.of(places)
    if not pair.classes:
        return
    yield Table(
        class_head(comparison, places),
        tuple(class_table(comparison, places)),
        frozenset({1, 2, 3, 4, 5}),
        title=f"ROC AUC of each class against the rest, {second.label} − {first.label}",
    )
    spans = [
        figures.Span(text(name), *tested.difference[:3], tested.better)
        for name, tested in pair.classes.items()
    ]
    file = f"classes-{second.letter}-{first.letter}.png"
    save(figures.difference_rows(spans, plus=second.label, minus=first.label), pictures / file)
    caption = f"Difference of the ROC AUC of each class, {second.label} − {first.label}."
    yield Pictures(((file, caption),), alternatives=(_said(spans, second.label, first.label),))


def _checks(comparison: Comparison, places: Places) -> Iterator[Block]:
    pair, (first, second) = comparison.pairs[places], comparison.of(places)
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
    yield Folded(
        "Checks by tests that take images for independent (DeLong, McNemar)",
        (
            Table(
                ("Check", f"Only {second.label} correct", f"Only {first.label} correct", "p"),
                tuple(rows),
                frozenset({1, 2, 3}),
                note="McNemar's is the mid-p, at each run's own operating point. Several images of one patient "
                "make both p too small; the results above do not depend on them.",
            ),
        ),
    )


def _adjustment(comparison: Comparison) -> str:
    """For how many tests the p values of the pairs are adjusted."""
    tests = comparison.tests["primary"]
    images = "The same patients for both runs of a pair; 95 % intervals."
    return images if tests < 2 else f"{images} p adjusted for {tests} tests (Holm)."
