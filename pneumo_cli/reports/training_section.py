"""The section of a report on the course of training: curves, images of some epochs, all epochs as a table.

Nothing here raises: any part of a report may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.document import Block, Folded, Paragraph, Table
from pneumo_cli.reports.formatting import count, duration
from pneumo_cli.reports.results import as_pictures
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_RATE = "figures/learning-rate"
_SIDES = {"train": "training", "validation": "validation"}


def training_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """The curves and the images of some epochs; folded, the learning rate where it changes and all epochs."""
    figures = [mapping(item) for item in sequence(report.get("figures"))]
    figures = [item for item in figures if item.get("file") and item.get("group") == "training"]
    history = [mapping(entry) for entry in sequence(report.get("history"))]
    rates = {rate for entry in history if (rate := number(entry.get("learning_rate"))) is not None}
    curves = [item for item in figures if not _is_of(item, "samples") and not _is_of(item, _RATE)]
    if curves:
        yield as_pictures(curves, compact=True)
    if images := [item for item in figures if _is_of(item, "samples")]:
        yield as_pictures(images, compact=True)
    notes = _notes(report, history)
    if len(rates) == 1:
        notes.append(f"The learning rate was {rates.pop():g} in all epochs.")
        folded: list[Block] = []
    else:
        folded = [as_pictures([item]) for item in figures if _is_of(item, _RATE)]
    if notes:
        yield Paragraph(" ".join(notes))
    if history:
        folded.append(_epochs_table(report, history))
        title = "Learning rate and metrics" if len(folded) > 1 else "Metrics"
        yield Folded(f"{title} of all {len(history)} epochs", tuple(folded))


def _is_of(figure: Mapping[str, Any], start: str) -> bool:
    return text(figure.get("file")).startswith(start)


def _notes(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    """How long training took, and which epoch was selected."""
    run, monitor = mapping(report.get("run")), mapping(report.get("monitor"))
    trained = [entry for entry in history if entry.get("epoch")]
    notes = []
    seconds = sum(number(entry.get("seconds")) or 0 for entry in trained)
    if trained and seconds:
        epochs = "1 epoch" if len(trained) == 1 else f"{count(len(trained))} epochs"
        notes.append(f"{epochs} took {duration(seconds)}.")
    best = number(monitor.get("epoch"))
    if best is not None and text(monitor.get("metric")):
        notes.append(f"Epoch {best:.0f} was selected.")
    stopped = mapping(run.get("stopped"))
    if reason := text(stopped.get("reason")):
        notes.append(f"Training was stopped: {reason.rstrip('.')}.")
    return notes


def _epochs_table(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Table:
    monitor = mapping(report.get("monitor"))
    recorded: dict[str, tuple[str, ...]] = {}
    for metric in map(str, (*sequence(report.get("curves")), monitor.get("metric") or "")):
        sides = tuple(side for side in _SIDES if any(metric in mapping(entry.get(side)) for entry in history))
        if metric and sides:
            recorded[metric] = sides
    rates = [("Learning rate", "learning_rate", "{:g}"), ("Seconds", "seconds", "{:.1f}")]
    rates += [("Images/s", "images_per_second", "{:,.0f}")]
    rates = [rate for rate in rates if any(number(entry.get(rate[1])) is not None for entry in history)]
    body = []
    for entry in history:
        cells = [text(entry.get("epoch"))]
        for metric, sides in recorded.items():
            cells.append(
                " / ".join(metric_text(metric, mapping(entry.get(side)).get(metric)) for side in sides)
            )
        for _, key, style in rates:
            value = number(entry.get(key))
            cells.append("–" if value is None else style.format(value))
        body.append(tuple(cells))
    selected = next(
        (i for i, entry in enumerate(history) if entry.get("epoch") == monitor.get("epoch")), None
    )
    kinds = set(recorded.values())
    titles = (
        metric_label(name).label + ("" if len(kinds) == 1 or len(sides) > 1 else f" ({_SIDES[sides[0]]})")
        for name, sides in recorded.items()
    )
    head = ("Epoch", *titles, *(label for label, _, _ in rates))
    notes = []
    if tuple(_SIDES) in kinds:
        notes.append("Pairs of values are training / validation.")
    elif len(kinds) == 1:
        notes.append(f"All metrics are {_SIDES[kinds.pop()[0]]} metrics.")
    if history[0].get("epoch") == 0:
        notes.append("Epoch 0 is the untrained model.")
    if selected is not None:
        notes.append("The selected epoch is marked.")
    return Table(head, tuple(body), frozenset(range(len(head))), selected, note=" ".join(notes))
