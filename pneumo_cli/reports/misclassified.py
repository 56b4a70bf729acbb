"""The errors of a classifier: how many there are, their pictures, and a list of them.

Nothing here raises: any part of a report may be absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.reports.document import Block, Folded, Paragraph, Table
from pneumo_cli.reports.formatting import count, listing, share
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_MOST_LISTED = 200
_SHOWN = 20  # errors of K classes before the rest is folded, but at least one of each class
_COLUMNS = {"name": "Image", "truth": "Truth", "predicted": "Predicted"}


def errors(details: Mapping[str, Any], split: str, classes: Sequence[Any], task: str) -> Iterator[Block]:
    """A sentence on the misclassified images of a split, and the list of them, folded.

    Args:
        details: ``report["details"][split]``.
        task: ``binary``, ``multiclass`` or ``multilabel``.
    """
    found = mapping(details.get("errors"))
    rows = [mapping(row) for row in sequence(found.get("rows"))]
    wrong, images = number(found.get("count")), number(found.get("of"))
    if wrong is None and not rows:
        return
    wrong = len(rows) if wrong is None else wrong
    all_images = f"the {count(images)} {split} images" if images else f"the {split} images"
    if not wrong:
        yield Paragraph(f"None of {all_images} is misclassified.")
        return
    part = f" ({share(wrong / images, 1)})" if images else ""
    if task == "multilabel":
        sentence = f"At least one label is wrong for {count(wrong)} of {all_images}{part}"
    else:
        sentence = f"{count(wrong)} of {all_images}{part} {'is' if wrong == 1 else 'are'} misclassified"
    kinds = _kinds(found, rows, wrong, task)
    between = ". Wrong decisions by label: " if task == "multilabel" else ": "
    yield Paragraph(f"{sentence}{f'{between}{listing(kinds)}' if kinds else ''}.")
    if rows:
        yield Folded(
            f"The {count(wrong)} misclassified images" if wrong > 1 else "The misclassified image",
            tuple(
                _two_classes(rows, wrong, split, classes)
                if task == "binary"
                else _several(found, rows, split, task == "multilabel")
            ),
        )


def _kinds(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], wrong: float, task: str) -> list[str]:
    """How many errors there are of each kind, where that is known."""
    if task == "binary":
        if len(rows) != wrong:
            return []
        kinds = Counter((text(row.get("truth")), text(row.get("predicted"))) for row in rows)
        named = [
            (n, truth, predicted) for (truth, predicted), n in kinds.most_common() if truth and predicted
        ]
        return [f"{count(n)} {truth} as {predicted}" for n, truth, predicted in named]
    classes = {text(name): number(n) or 0 for name, n in mapping(found.get("classes")).items()}
    return [f"{count(n)} {name}" for name, n in classes.items() if n]


def _two_classes(
    rows: Sequence[Mapping[str, Any]], wrong: float, split: str, classes: Sequence[Any]
) -> Iterator[Block]:
    listed = rows[:_MOST_LISTED]
    note = "The most confident errors come first."
    if wrong > len(listed):
        note += f" {count(len(listed))} are listed; predictions/{split}.csv holds all predictions."
    probability = f"P({text(classes[1])})" if len(classes) == 2 else "Probability"
    yield _table(listed, {"probability": probability}, note)


def _several(
    found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], split: str, labels: bool
) -> Iterator[Block]:
    """Of each class the most confident errors first, then all others."""
    classes = [text(name) for name in mapping(found.get("classes"))]
    most = max(1, _SHOWN // max(1, len(classes)))
    own = {name: [row for row in rows if row.get("class") == name] for name in classes}
    shown = [row for of in own.values() for row in of[:most]]
    rest = [row for of in own.values() for row in of[most:]]
    note = "P: calibrated probability. The most confident errors of each class come first."
    note = note.replace("class", "label") if labels else note
    if any(
        (number(row.get("true_probability")) or 0) > (number(row.get("probability")) or 0) for row in rows
    ):
        note += " The class is predicted before calibration, so it need not have the highest probability."
    if len(rows) != sum(number(n) or 0 for n in mapping(found.get("classes")).values()):
        note += f" predictions/{split}.csv holds all predictions."
    probabilities = {"probability": "P(label)" if labels else "P(predicted)"}
    if any(number(row.get("true_probability")) is not None for row in rows):
        probabilities["true_probability"] = "P(truth)"
    yield _table(shown or rows, probabilities, note)
    if rest and shown:
        title = "1 more error" if len(rest) == 1 else f"{count(len(rest))} more errors"
        yield Folded(title, (_table(rest, probabilities, ""),))


def _table(rows: Sequence[Mapping[str, Any]], probabilities: Mapping[str, str], note: str) -> Table:
    """Few columns: names of files are long."""
    keys = [key for key in _COLUMNS if any(text(row.get(key)) for row in rows)]
    body = tuple(
        (
            *(_cell(row, key) for key in keys),
            *("–" if (p := number(row.get(key))) is None else f"{p:.3f}" for key in probabilities),
        )
        for row in rows
    )
    head = (*(_COLUMNS[key] for key in keys), *probabilities.values())
    return Table(head, body, frozenset(range(len(keys), len(head))), note=note)


def _cell(row: Mapping[str, Any], key: str) -> str:
    """The file's own name: its folders say the class and the split; the truth with its subtype."""
    value = text(row.get(key))
    if key == "name":
        return value.rpartition("/")[2] or value
    subtype = text(row.get("subtype"))
    return f"{value} ({subtype})" if key == "truth" and subtype not in ("", value) else value
