"""What a report says of how good a result is: the large numbers, the sentence, and the sections of results.

The part of a report that :mod:`pneumo_cli.reports.content` arranges among the others. Every part of a report may be
absent, and a table may be from a plugin: nothing here raises.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import in_order, interval_text, is_known, metric_label, metric_text
from pneumo_cli.reports.document import Block, Folded, Headline, Paragraph, Pictures, Table
from pneumo_cli.reports.formatting import count
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text

JUDGEMENT = "How good are the images?"
"""The title of a judgement that brings none."""

_HEADLINES = 4
_ERRORS_SHOWN, _ERRORS_LISTED = 20, 200
_ANOTHER_PREVALENCE = 0.02  # a difference of shares from which on calibration is off for it
_NUMBER_AT_MOST = 32  # characters
_GROUPS = ("summary", "explanations", "training", "data", "samples")
"""Groups of figures that stand in sections of their own."""

_SURE = (
    "The ranges are 95 % confidence intervals: the value for all patients like these lies within, by a method that "
    "is right about 95 times in 100. They hold neither the differences between hospitals nor those between "
    "training runs."
)


def evaluated_split(report: Mapping[str, Any]) -> str:
    """The split that a reader is told of first: test, else validation, else any; empty where there is none."""
    evaluations = mapping(report.get("evaluations"))
    return next((text(name) for name in ("test", "validation", *evaluations) if evaluations.get(name)), "")


def summary_title(report: Mapping[str, Any]) -> str:
    """The question that a judgement of the whole answers."""
    return text(mapping(report.get("summary")).get("title")) or JUDGEMENT


def headlines(report: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    """On what, and the few numbers to see first: of the result as a whole, where it was judged; else of one split.

    A judgement has many numbers, and most are there to be compared with: only those of the table of labels count.
    """
    metrics = mapping(mapping(report.get("summary")).get("metrics"))
    title, wanted = summary_title(report), [name for name in metrics if is_known(text(name))]
    intervals: Mapping[str, Any] = {}
    if not any(number(metrics[name]) is not None for name in wanted):
        judged = evaluated_split(report)
        metrics = mapping(mapping(report.get("evaluations")).get(judged))
        intervals = _intervals(report, judged)
        title, wanted = _measured_on(report, judged), [name for name in metrics if name != "loss"]
    shown = [name for name in in_order(wanted) if number(metrics[name]) is not None][:_HEADLINES]
    return title, tuple(
        Headline(
            metric_label(name).label,
            metric_text(name, metrics[name]),
            metric_label(name).meaning,
            interval_text(name, intervals.get(name), " to "),
        )
        for name in shown
    )


def verdict(report: Mapping[str, Any]) -> str:
    """Sensitivity and specificity of the judged split, counted in images of which there are a hundred."""
    judged = evaluated_split(report)
    classes = [text(name) for name in sequence(mapping(report.get("dataset")).get("classes"))]
    metrics = mapping(mapping(report.get("evaluations")).get(judged))
    found, right = number(metrics.get("recall")), number(metrics.get("specificity"))
    if len(classes) != 2 or found is None or right is None:
        return ""
    intervals = _intervals(report, judged)
    negative, positive = classes
    ends = number_ends(intervals.get("recall"))
    finds = f"{_of_hundred(found)}{_between(*ends) if ends else ''}"
    ends = number_ends(intervals.get("specificity"))
    alarms = f"{_of_hundred(1 - right)} {positive}{_between(1 - ends[1], 1 - ends[0]) if ends else ''}"
    where = "" if judged == "test" else f" of the {judged} set"
    return f"Of 100 {positive} images{where} it finds {finds}, and of 100 {negative} ones it calls {alarms}."


def results(report: Mapping[str, Any]) -> Iterator[Block]:
    """The metrics of all splits, then all else of the judged split, then what there is of the others, folded."""
    evaluations = mapping(report.get("evaluations"))
    judged = evaluated_split(report)
    # The reader's split comes first; report.json has them in the order in which they were measured.
    measured = {name: mapping(values) for name, values in evaluations.items() if values}
    splits = sorted(measured, key=lambda name: name != judged)
    if measured:
        yield _metrics_table(report, {name: measured[name] for name in splits})
    yield from _remarks(report, judged)
    yield from named_tables(mapping(report.get("tables")).get(judged))
    others = [name for name in splits if name != judged]
    groups = dict.fromkeys(["results", *(text(item.get("group")) for item in _figures(report))])
    own = [group for group in groups if group not in _GROUPS]
    for group in own:
        yield from pictures(report, group, but_of=others)
    yield from _errors(report, judged)
    for other in others:
        blocks = [
            *named_tables(mapping(report.get("tables")).get(other)),
            *(block for group in own for block in pictures(report, group, of=other)),
            *_errors(report, other),
        ]
        if blocks:
            yield Folded(f"The same for the {other} set", tuple(blocks))


def summary_blocks(report: Mapping[str, Any], group: str) -> Iterator[Block]:
    """What a task says of its result as a whole: ``judgement``, or ``why`` a model decides as it does."""
    said = mapping(report.get(group))
    for note in sequence(said.get("notes")):
        yield Paragraph(text(note))
    if group == "explanations":
        yield from pictures(report, group)
    yield from named_tables(said.get("tables"))
    if group != "explanations":
        yield from pictures(report, group)


def named_tables(tables: Any) -> Iterator[Block]:
    """Tables as a task gives them: ``[{"title", "head", "rows", "note"}]``; what is none is left out."""
    for table in map(mapping, sequence(tables)):
        head = tuple(text(cell) for cell in sequence(table.get("head")))
        if not head:
            continue
        # From a plugin, perhaps a stranger's: every row gets as many cells as the head has.
        rows = tuple(
            tuple(text(cell) for cell in (*sequence(row), *[""] * len(head))[: len(head)])
            for row in sequence(table.get("rows"))
        )
        # Numbers are short; a column with a sentence in it is set as text.
        numeric = frozenset(
            column
            for column in range(1, len(head))
            if all(len(row[column]) <= _NUMBER_AT_MOST for row in rows)
        )
        yield Table(head, rows, numeric, title=text(table.get("title")), note=text(table.get("note")))


def pictures(
    report: Mapping[str, Any], group: str, *, of: str = "", but_of: Sequence[str] = ()
) -> Iterator[Block]:
    """The figures of a group.

    Args:
        of: only those that are of this split.
        but_of: none of those that are of these splits.
    """
    items = tuple(
        (text(item["file"]), text(item.get("caption")))
        for item in _figures(report)
        if item.get("file")
        and text(item.get("group")) == group
        and (not of or item.get("split") == of)
        and item.get("split") not in but_of
    )
    if items:
        yield Pictures(items)


def split_rows(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """How many images of which classes are in each split."""
    return [
        mapping(row) for row in sequence(mapping(mapping(report.get("dataset")).get("split")).get("rows"))
    ]


def _metrics_table(report: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> Table:
    body = []
    for metric in in_order({metric: None for values in measured.values() for metric in values}):
        cells = []
        for split, values in measured.items():
            ends = _intervals(report, split).get(metric)
            known = number_ends(ends) and number(values.get(metric)) is not None
            between = f" ({interval_text(metric, ends)})" if known else ""
            cells.append(metric_text(metric, values.get(metric)) + between)
        body.append((metric_label(metric).label, *cells, metric_label(metric).meaning))
    columns = tuple(text(name).capitalize() for name in measured)
    sure = any(number_ends(ends) for split in measured for ends in _intervals(report, split).values())
    return Table(
        ("Metric", *columns, "What it means"),
        tuple(body),
        frozenset(range(1, len(columns) + 1)),
        note=(text(report.get("interval_note")) or _SURE) if sure else "",
    )


def _remarks(report: Mapping[str, Any], split: str) -> Iterator[Block]:
    """The calibration, and the other method's interval of the area."""
    details = mapping(mapping(report.get("details")).get(split))
    sentences = []
    sentences += _calibration(details, split, sequence(mapping(report.get("dataset")).get("classes")))
    delong = mapping(details.get("delong"))
    ends = number_ends((delong.get("low"), delong.get("high")))
    if ends and number(delong.get("auc")) is not None:
        sentences.append(
            f"As a check, DeLong's interval of the ROC AUC, which takes all images for independent: "
            f"{interval_text('auc', ends, ' to ')}."
        )
    if sentences:
        yield Paragraph(" ".join(sentences))


def _calibration(details: Mapping[str, Any], split: str, classes: Sequence[Any]) -> list[str]:
    """How probabilities were made, and for whom they hold."""
    temperature, bias = number(details.get("temperature")), number(details.get("bias")) or 0.0
    if temperature is None or (temperature, bias) == (1.0, 0.0):
        return []
    positive = text(classes[1]) if len(classes) == 2 else "the second class"
    said = f"Probabilities are calibrated with the temperature {temperature:.2f}"
    effects = []
    if temperature != 1:
        effects.append(f"they are {'less' if temperature > 1 else 'more'} extreme than the network's own")
    if bias:
        said += f" and the bias {bias:+.2f}"
        effects.append(f"the odds of {positive} are multiplied by {_factor(bias)}")
    sentences = [f"{said}, fitted on the validation images: {', and '.join(effects)}."]
    there, here = number(details.get("validation_prevalence")), number(details.get("split_prevalence"))
    if there is not None:
        hold = f"They hold where {there:.0%} of the images are {positive}, as there"
        if here is not None and abs(here - there) >= _ANOTHER_PREVALENCE:
            off = "high" if here < there else "low"
            hold += f"; of the {text(split)} images {here:.0%} are, for which they are too {off}"
        sentences.append(f"{hold}. pneumo predict --prevalence SHARE carries them over to another share.")
    return sentences


def _factor(log_odds: float) -> str:
    """What odds are multiplied by; without a crowd of digits.

    >>> _factor(1.0), _factor(-1.0), _factor(900.0)
    ('2.72', '0.368', 'more than a thousand')
    """
    if log_odds > math.log(1000):
        return "more than a thousand"
    return f"{math.exp(log_odds):.3g}" if log_odds > -math.log(1000) else "less than a thousandth"


def _errors(report: Mapping[str, Any], split: str) -> Iterator[Block]:
    """The images of a split that were called wrong, the surest first."""
    errors = mapping(mapping(mapping(report.get("details")).get(split)).get("errors"))
    listed = [mapping(row) for row in sequence(errors.get("rows"))][:_ERRORS_LISTED]
    wrong, images = number(errors.get("count")), number(errors.get("of"))
    if wrong is None:
        wrong = float(len(listed)) if listed else None
    if wrong is None:
        return
    of = f" of the {count(images)}" if images else ""
    if not wrong:
        yield Paragraph(f"None{of or ' of the'} {split} images was called wrong.")
        return
    share = f" ({wrong / images:.1%})" if images else ""
    title = f"Called wrong: {count(wrong)}{of} {split} images{share}"
    note = "Those first of which it was surest."
    if wrong > len(listed):
        note += f" {count(len(listed))} are listed; the file of predictions has all."
    classes = sequence(mapping(report.get("dataset")).get("classes"))
    columns = {
        "name": "Image",
        "patient": "Patient",
        "subtype": "Subtype",
        "truth": "Truth",
        "predicted": "Predicted",
    }
    there = [key for key in columns if any(text(row.get(key)) for row in listed)]
    head = (
        *(columns[key] for key in there),
        f"Probability of {text(classes[1])}" if len(classes) == 2 else "Probability",
    )
    body = tuple(
        (*(text(row.get(key)) for key in there), _probability(row.get("probability"))) for row in listed
    )
    numeric = frozenset({len(head) - 1})
    if not body:
        yield Paragraph(f"{title}.")
        return
    yield Table(head, body[:_ERRORS_SHOWN], numeric, title=title, note=note)
    if len(body) > _ERRORS_SHOWN:
        rest = Table(head, body[_ERRORS_SHOWN:], numeric)
        yield Folded(f"{count(len(body) - _ERRORS_SHOWN)} more that were called wrong", (rest,))


def _probability(value: Any) -> str:
    known = number(value)
    return "–" if known is None else f"{known:.3f}"


def _measured_on(report: Mapping[str, Any], split: str) -> str:
    if not split:
        return ""
    for row in split_rows(report):
        if row.get("split") == split and number(row.get("images")):
            return f"On the {split} set, {count(row['images'])} images"
    return f"On the {split} set"


def _of_hundred(share: float) -> str:
    """A share in images of a hundred; not "100" or "0" where it is not all or none of them."""
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "more than 99"
    if rounded == 0 and share > 0:
        return "fewer than 1"
    return "all" if share >= 1 else "none" if share <= 0 else f"about {rounded}"


def _between(low: float, high: float) -> str:
    return f" ({round(100 * low)} to {round(100 * high)})"


def _intervals(report: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    return mapping(mapping(report.get("intervals")).get(split))


def _figures(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(item) for item in sequence(report.get("figures"))]
