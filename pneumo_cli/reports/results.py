"""The results of a report: headline metrics, the main result in one sentence, and the sections of results.

:mod:`pneumo_cli.reports.content` places them among the other sections. Any part of a report may be absent, and a
table may come from a plugin: nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pneumo_cli.evaluation.metric_names import in_order, interval_text, is_known, metric_label, metric_text
from pneumo_cli.reports import class_results
from pneumo_cli.reports.document import Block, Folded, Headline, Paragraph, Pictures, Table
from pneumo_cli.reports.formatting import count, in_hundred, of_hundred, share
from pneumo_cli.reports.misclassified import errors
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text

_HEADLINES = 4
NO_HEADLINES = ("loss", "keras_accuracy")
"""Metrics that are not among the first numbers of a report."""

_LONG = 10  # rows of a table that is folded
_FEW = 8  # metrics of a split that are shown, not folded
_FIRST = 2  # figures of a split that are shown, not folded
_OTHER_PREVALENCE = 0.02  # difference from the validation set above which calibration is off
_LONGEST_NUMBER = 32  # characters
_OTHER_SECTIONS = ("opening", "errors", "summary", "explanations", "training", "data", "samples", "spread")
"""Groups of figures with a section of their own."""
_SECTION = re.compile(r"section-\d+")
"""The groups of plugins' sections."""
_EASY_WITH_RARE_LABELS = ("accuracy", "exact_match")
_INTERVALS = (
    "Values in brackets are 95 % confidence intervals: such an interval covers the true value in about 95 of 100 "
    "samples of patients from the same population. They do not include differences between hospitals or between "
    "training runs."
)
_OVERESTIMATED = (
    " A calibration error measured on few images overestimates the true one, which its interval is for: it may "
    "lie outside."
)


def evaluated_split(report: Mapping[str, Any]) -> str:
    """The split to report first: test, else validation, else any; empty where there is none."""
    evaluations = mapping(report.get("evaluations"))
    return next((text(name) for name in ("test", "validation", *evaluations) if evaluations.get(name)), "")


def task_of(report: Mapping[str, Any]) -> str:
    """What the classifier decides: ``binary``, ``multiclass`` or ``multilabel``."""
    return text(mapping(report.get("dataset")).get("task")) or "binary"


def summary_title(report: Mapping[str, Any]) -> str:
    """The heading of the evaluation of the whole run."""
    return text(mapping(report.get("summary")).get("title")) or "Image quality"


def headlines(report: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    """Title and values of the headline metrics: those of the whole run where it has any, else those of one split.

    Of the many metrics of a whole run only those with a label count; the others are baselines.
    """
    metrics = mapping(mapping(report.get("summary")).get("metrics"))
    title, wanted = summary_title(report), [name for name in metrics if is_known(text(name))]
    intervals: Mapping[str, Any] = {}
    if not any(number(metrics[name]) is not None for name in wanted):
        split = evaluated_split(report)
        metrics = mapping(mapping(report.get("evaluations")).get(split))
        intervals = _intervals(report, split)
        title, wanted = _set_title(report, split), [name for name in metrics if name not in NO_HEADLINES]
    task, ordered = task_of(report), in_order(wanted)
    if task == "multilabel":  # most images have none of the rare labels, so a high accuracy is easy
        ordered.sort(key=lambda name: name in _EASY_WITH_RARE_LABELS)
    shown = [name for name in ordered if number(metrics[name]) is not None][:_HEADLINES]
    return title, tuple(
        Headline(
            metric_label(name, task).label,
            metric_text(name, metrics[name]),
            metric_label(name, task).meaning,
            interval_text(name, intervals.get(name), " to "),
        )
        for name in shown
    )


def verdict(report: Mapping[str, Any]) -> str:
    """The main result in one sentence: what the trainer says of the whole run, else the decisions of a classifier.

    Of two classes those are sensitivity and false positive rate of the first split, as images out of 100; of more
    than two, the share of right decisions; of labels, the mean ROC AUC.
    """
    if own := text(mapping(report.get("summary")).get("verdict")):
        return own
    split = evaluated_split(report)
    classes = [text(name) for name in sequence(mapping(report.get("dataset")).get("classes"))]
    metrics, intervals = mapping(mapping(report.get("evaluations")).get(split)), _intervals(report, split)
    model = "the ensemble" if report.get("kind") == "group" else "the model"
    if task_of(report) != "binary":
        return class_results.main_result(
            _details(report, split), metrics, intervals, split=split, model=model
        )
    sensitivity, specificity = number(metrics.get("recall")), number(metrics.get("specificity"))
    if len(classes) != 2 or sensitivity is None or specificity is None:
        return ""
    negative, positive = classes
    detected = number_ends(intervals.get("recall"))
    ends = number_ends(intervals.get("specificity"))
    misclassified = ends and (1 - ends[1], 1 - ends[0])
    return (
        f"On the {split} set, {model} detects {of_hundred(sensitivity)} {positive} images{in_hundred(detected)} "
        f"and misclassifies {of_hundred(1 - specificity)} {negative} images as {positive}"
        f"{in_hundred(misclassified)}."
    )


def results(report: Mapping[str, Any]) -> Iterator[Block]:
    """All results by split: the main ones and the errors of the first split, then all others."""
    yield from main_results(report)
    yield from error_blocks(report)
    yield from further_results(report)


def main_results(report: Mapping[str, Any]) -> Iterator[Block]:
    """The first figures of the first split, and its metrics where they are few.

    Figures are in the order of their importance: a classifier's begin with confusion matrix and ROC curve.
    Nothing where the whole run was evaluated: its summary says more than a loss by split.
    """
    if _is_summarized(report):
        return
    first = evaluated_split(report)
    if shown := _result_figures(report, first)[:_FIRST]:
        yield as_pictures(shown, compact=True)
    if _has_few_metrics(report):
        yield _metrics_table(report, _by_split(report))


def further_results(report: Mapping[str, Any]) -> Iterator[Block]:
    """What :func:`main_results` leaves out: all metrics, tables and curves, and the other splits, folded."""
    first, measured = evaluated_split(report), _by_split(report)
    summarized = _is_summarized(report)
    if measured and (summarized or not _has_few_metrics(report)):
        yield _metrics_table(report, measured)
    yield from _remarks(report, first)
    tables = list(named_tables(mapping(report.get("tables")).get(first)))
    yield from tables if task_of(report) == "binary" else _with_long_ones_folded(tables)
    if figures := _result_figures(report, first)[0 if summarized else _FIRST :]:
        yield as_pictures(figures)
    for other in list(measured)[1:]:
        figures = _result_figures(report, other, alone=True)
        blocks = [
            *named_tables(mapping(report.get("tables")).get(other)),
            *([as_pictures(figures)] if figures else []),
            *errors(_details(report, other), other, _classes(report), task_of(report)),
        ]
        if blocks:
            yield Folded(f"Results on the {other} set", tuple(blocks))


def error_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """The errors of a classifier on the first split: how many, pictures with their evidence, and a list, folded."""
    split = evaluated_split(report)
    found = list(errors(_details(report, split), split, _classes(report), task_of(report)))
    yield from found[:1]
    shown = list(pictures(report, "errors"))
    yield from shown
    if shown:  # what is to be known of the maps
        for note in sequence(mapping(report.get("explanations")).get("notes")):
            yield Paragraph(text(note), warning=True)
    yield from found[1:]


def summary_blocks(report: Mapping[str, Any], group: str) -> Iterator[Block]:
    """The task's evaluation of the whole run: ``summary``, or ``explanations`` of its decisions."""
    summary = mapping(report.get(group))
    shown, tables = list(pictures(report, group)), list(named_tables(summary.get("tables")))
    warnings = sequence(summary.get("warnings"))  # at the top of the report
    notes = [Paragraph(text(note)) for note in sequence(summary.get("notes")) if note not in warnings]
    if group == "explanations":
        # The notes stand beside the maps of the errors, if there are any.
        yield from [] if any(text(item.get("group")) == "errors" for item in _figures(report)) else notes
        yield from shown + tables
        return
    yield from notes + tables[:1]
    if rest := tables[1:] + shown:
        yield Folded(_title_of(tables[1:], shown), tuple(rest))


def _title_of(tables: Sequence[Block], figures: Sequence[Block]) -> str:
    titles = [table.title for table in tables if isinstance(table, Table) and table.title]
    return "; ".join([*titles, *(["figures"] if figures and titles else [])]) or "Figures"


def named_tables(tables: Any) -> Iterator[Block]:
    """Tables as a task gives them: ``[{"title", "head", "rows", "note"}]``; anything else is left out."""
    for table in map(mapping, sequence(tables)):
        head = tuple(text(cell) for cell in sequence(table.get("head")))
        if not head:
            continue
        # A plugin may give rows of any length; each gets as many cells as the head.
        rows = tuple(
            tuple(text(cell) for cell in (*sequence(row), *[""] * len(head))[: len(head)])
            for row in sequence(table.get("rows"))
        )
        # Numbers are short; a column with sentences is set as text.
        numeric = frozenset(
            column
            for column in range(1, len(head))
            if all(len(row[column]) <= _LONGEST_NUMBER for row in rows)
        )
        yield Table(head, rows, numeric, title=text(table.get("title")), note=text(table.get("note")))


def _with_long_ones_folded(tables: Sequence[Block]) -> Iterator[Block]:
    """Tables of many classes, all but the first one folded: the first says how good each class is."""
    for place, table in enumerate(tables):
        if place and isinstance(table, Table) and len(table.rows) > _LONG:
            yield Folded(table.title, (replace(table, title=""),))
        else:
            yield table


def pictures(report: Mapping[str, Any], group: str) -> Iterator[Block]:
    """The figures of a group."""
    items = [item for item in _figures(report) if text(item.get("group")) == group]
    if items:
        yield as_pictures(items)


def as_pictures(items: Sequence[Mapping[str, Any]], compact: bool = False) -> Pictures:
    """Entries of ``report["figures"]`` as a block, with their texts for those who do not see them."""
    return Pictures(
        tuple((text(item.get("file")), text(item.get("caption"))) for item in items),
        tuple(text(item.get("alternative") or item.get("caption")) for item in items),
        compact,
    )


def _result_figures(report: Mapping[str, Any], split: str, alone: bool = False) -> list[Mapping[str, Any]]:
    """The figures of a split in all groups without a section of their own.

    Args:
        alone: without those that belong to no split.
    """
    others = [name for name in _by_split(report) if name != split]
    return [
        item
        for item in _figures(report)
        if text(item.get("group")) not in _OTHER_SECTIONS
        and not _SECTION.fullmatch(text(item.get("group")))
        and item.get("split") not in others
        and (item.get("split") == split or not alone)
    ]


def _by_split(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The metrics of each split that has any, the one to report first in front."""
    measured = {text(name): mapping(of) for name, of in mapping(report.get("evaluations")).items() if of}
    first = evaluated_split(report)
    return {name: measured[name] for name in sorted(measured, key=lambda name: name != first)}


def _is_summarized(report: Mapping[str, Any]) -> bool:
    """Whether the headlines are those of the whole run, or its summary has tables."""
    summary = mapping(report.get("summary"))
    return bool(sequence(summary.get("tables"))) or any(
        is_known(text(name)) and number(value) is not None
        for name, value in mapping(summary.get("metrics")).items()
    )


def _has_few_metrics(report: Mapping[str, Any]) -> bool:
    return 0 < len({metric for of in _by_split(report).values() for metric in of}) <= _FEW


def _classes(report: Mapping[str, Any]) -> Sequence[Any]:
    return sequence(mapping(report.get("dataset")).get("classes"))


def split_rows(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Each split with its images, patients and class counts."""
    split = mapping(mapping(report.get("dataset")).get("split"))
    return [mapping(row) for row in sequence(split.get("rows"))]


def _metrics_table(report: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> Table:
    body = []
    for metric in in_order({metric: None for values in measured.values() for metric in values}):
        cells = []
        for split, values in measured.items():
            ends = _intervals(report, split).get(metric) if number(values.get(metric)) is not None else None
            interval = interval_text(metric, ends)
            cells.append(metric_text(metric, values.get(metric)) + (f" ({interval})" if interval else ""))
        label = metric_label(metric, task_of(report))
        body.append((label.label, *cells, label.meaning))
    columns = tuple(text(name).capitalize() for name in measured)
    known = any(number_ends(ends) for split in measured for ends in _intervals(report, split).values())
    note = (text(report.get("interval_note")) or _INTERVALS) if known else ""
    if any(_outside(values, _intervals(report, split)) for split, values in measured.items()):
        note += _OVERESTIMATED
    return Table(
        ("Metric", *columns, "Meaning"), tuple(body), frozenset(range(1, len(columns) + 1)), note=note
    )


def _outside(values: Mapping[str, Any], intervals: Mapping[str, Any]) -> bool:
    """Whether a calibration error lies outside its interval, which is that of the true error."""
    for name in ("ece", "ece_calibrated"):
        value, ends = number(values.get(name)), number_ends(intervals.get(name))
        if value is not None and ends and not ends[0] <= value <= ends[1]:
            return True
    return False


def _remarks(report: Mapping[str, Any], split: str) -> Iterator[Block]:
    """Calibration, and DeLong's interval of the ROC AUC."""
    details = _details(report, split)
    if task_of(report) == "binary":
        classes = sequence(mapping(report.get("dataset")).get("classes"))
        sentences = _calibration(details, split, classes)
    else:
        sentences = class_results.calibration_remarks(details, split)
    delong = mapping(details.get("delong"))
    ends = number_ends((delong.get("low"), delong.get("high")))
    if ends and number(delong.get("auc")) is not None:
        interval = interval_text("auc", ends, " to ")
        sentences.append(
            f"For comparison, DeLong's interval of the ROC AUC, which treats images as independent, is {interval}."
        )
    if sentences:
        yield Paragraph(" ".join(sentences))


def _calibration(details: Mapping[str, Any], split: str, classes: Sequence[Any]) -> list[str]:
    """How probabilities were calibrated, and the prevalence for which they are valid."""
    temperature, bias = number(details.get("temperature")), number(details.get("bias")) or 0.0
    if temperature is None or (temperature, bias) == (1.0, 0.0):
        return []
    positive = text(classes[1]) if len(classes) == 2 else "the second class"
    parameters, effects = f"temperature {temperature:.2f}", []
    if temperature != 1:
        effects.append(f"they are {'less' if temperature > 1 else 'more'} extreme than the uncalibrated ones")
    if bias:
        parameters += f", bias {bias:+.2f}"
        effects.append(f"the odds of {positive} are multiplied by {_factor(bias)}")
    sentences = [
        f"Probabilities are calibrated on the validation images ({parameters}): {', and '.join(effects)}."
    ]
    there, here = (number(details.get(f"{name}_prevalence")) for name in ("validation", "split"))
    if there is not None:
        validity = f"They are valid at the {positive} prevalence of the validation images, {share(there)}"
        if here is not None and abs(here - there) >= _OTHER_PREVALENCE:
            direction = "high" if here < there else "low"
            validity += f"; at that of the {text(split)} images, {share(here)}, they are too {direction}"
        sentences.append(f"{validity}. pneumo predict --prevalence SHARE adjusts them to another prevalence.")
    return sentences


def _factor(log_odds: float) -> str:
    """The factor of the odds, without excess digits.

    >>> _factor(1.0), _factor(-1.0), _factor(900.0)
    ('2.72', '0.368', 'more than a thousand')
    """
    if log_odds > math.log(1000):
        return "more than a thousand"
    return f"{math.exp(log_odds):.3g}" if log_odds > -math.log(1000) else "less than a thousandth"


def _set_title(report: Mapping[str, Any], split: str) -> str:
    if not split:
        return ""
    images = next((row.get("images") for row in split_rows(report) if row.get("split") == split), None)
    return f"{split.capitalize()} set" + (f" ({count(images)} images)" if number(images) else "")


def _intervals(report: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    return mapping(mapping(report.get("intervals")).get(split))


def _details(report: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    return mapping(mapping(report.get("details")).get(split))


def _figures(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item for item in map(mapping, sequence(report.get("figures"))) if item.get("file")]
