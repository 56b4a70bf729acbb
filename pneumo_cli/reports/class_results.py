"""The results of K exclusive classes or K labels in sentences and tables: main result, calibration, errors.

:mod:`pneumo_cli.reports.results` has those of two classes, and places both. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.reports.document import Block, Folded, Paragraph, Table
from pneumo_cli.reports.formatting import count, in_hundred, listing, of_hundred
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text

_NAMED = 5  # classes that a sentence names
_SHOWN = 20  # errors before the rest is folded, but at least one of each class
_OTHER_PREVALENCE = 0.02  # as for two classes
_COLUMNS = {
    "name": "Image",
    "patient": "Patient",
    "subtype": "Subtype",
    "truth": "Truth",
    "predicted": "Predicted",
}


def main_result(
    details: Mapping[str, Any],
    metrics: Mapping[str, Any],
    intervals: Mapping[str, Any],
    *,
    split: str,
    model: str,
) -> str:
    """The main result of a split in one sentence; empty where it was not measured.

    Args:
        details, metrics, intervals: of the split.
        model: ``the model`` or ``the ensemble``.
    """
    found = [mapping(of) for of in sequence(details.get("classes"))]
    if details.get("task") == "multilabel":
        area, areas = number(metrics.get("auc")), _by_class(found, "auc")
        if area is None or not areas:
            return ""
        interval = interval_text("auc", intervals.get("auc"), " to ")
        ordered = sorted(areas, key=lambda name: areas[name])
        best, worst = (f"{name} ({metric_text('auc', areas[name])})" for name in (ordered[-1], ordered[0]))
        extremes = f": highest for {best}, lowest for {worst}" if len(areas) > 1 else ""
        mean = metric_text("auc", area) + (f" ({interval})" if interval else "")
        return f"On the {split} set, {model} has a mean ROC AUC over {len(areas)} labels of {mean}{extremes}."
    accuracy, recalls = number(metrics.get("accuracy")), _by_class(found, "recall")
    if accuracy is None or not recalls:
        return ""
    right = f"{of_hundred(accuracy)} images{in_hundred(number_ends(intervals.get('accuracy')))}"
    if len(recalls) <= _NAMED:
        detected = listing(f"{of_hundred(share)} {name}" for name, share in recalls.items()) + " images"
    else:
        ordered = sorted(recalls, key=lambda name: recalls[name])
        most, fewest = (f"{name} ({of_hundred(recalls[name])})" for name in (ordered[-1], ordered[0]))
        detected = f"{most} best and {fewest} worst"
    return f"On the {split} set, {model} assigns the right class to {right}; it detects {detected}."


def calibration_remarks(details: Mapping[str, Any], split: str) -> list[str]:
    """How probabilities were calibrated, and the frequencies of the classes for which they are valid."""
    fitted = mapping(details.get("calibration"))
    temperatures = [value for value in map(number, sequence(fitted.get("temperature"))) if value is not None]
    if not fitted.get("fitted") or not temperatures:
        return []
    low, high = min(temperatures), max(temperatures)
    each = "label" if details.get("task") == "multilabel" else "class"
    if each == "label":
        how = ", each label by itself" + (f" (temperatures {low:.2f} to {high:.2f})" if high != low else "")
    elif low == 1:
        how = " (a bias for each class)"
    else:
        effect = f"they are {'less' if low > 1 else 'more'} extreme than the uncalibrated ones"
        how = f" (temperature {low:.2f}, and a bias for each class): {effect}"
    sentences = [f"Probabilities are calibrated on the validation images{how}."]
    changed = {}
    for of in map(mapping, sequence(details.get("classes"))):
        there, images = number(of.get("validation_prevalence")), number(of.get("images"))
        here = (number(of.get("positives")) or 0.0) / images if images else None
        if there is not None and here is not None and abs(here - there) >= _OTHER_PREVALENCE:
            changed[text(of.get("name"))] = (there, here)
    valid = f"They are valid for the frequency of each {each} in the validation images"
    if not changed:
        return [*sentences, f"{valid}, and nearly the same frequencies were found in the {split} images."]
    largest = sorted(changed, key=lambda name: -abs(changed[name][1] - changed[name][0]))[:_NAMED]
    named = listing(f"{name} {changed[name][0]:.0%} there, {changed[name][1]:.0%} here" for name in largest)
    most = f", most of all {named}" if len(changed) > len(largest) else f": {named}"
    return [
        *sentences,
        f"{valid}, and that of the {split} images differs{most}. The probability of a {each} that is rarer here is "
        "too high, that of a more frequent one too low.",
    ]


def errors(details: Mapping[str, Any], split: str) -> Iterator[Block]:
    """The misclassified images of a split, class by class, the most confident errors first."""
    found = mapping(details.get("errors"))
    rows = [mapping(row) for row in sequence(found.get("rows"))]
    wrong, images = number(found.get("count")), number(found.get("of"))
    if wrong is None:
        return
    labels = details.get("task") == "multilabel"
    all_images = f"the {count(images)} {split} images" if images else f"the {split} images"
    if not wrong:
        yield Paragraph(f"None of {all_images} is misclassified.")
        return
    what = "At least one label is wrong" if labels else "Misclassified"
    share = f" ({wrong / images:.1%})" if images else ""
    of_classes = {text(name): number(n) or 0 for name, n in mapping(found.get("classes")).items()}
    numbers = ", ".join(f"{name} {count(n)}" for name, n in of_classes.items() if n)
    by = "Wrong decisions by label" if labels else "By true class"
    most = max(1, _SHOWN // max(1, len(of_classes)))
    own = {name: [row for row in rows if row.get("class") == name] for name in of_classes}
    shown = [row for of in own.values() for row in of[:most]]
    rest = [row for of in own.values() for row in of[most:]]
    note = (
        f"P: calibrated probability. {by}: {numbers}. The most confident errors of each "
        f"{'label' if labels else 'class'} come first"
    )
    if any(
        (number(row.get("true_probability")) or 0) > (number(row.get("probability")) or 0) for row in rows
    ):
        note += ". The class is predicted before calibration, so it need not have the highest probability"
    if len(rows) != sum(of_classes.values()):
        note += f"; predictions/{split}.csv holds all predictions"
    title = f"{what}: {count(wrong)} of {all_images}{share}"
    if not shown:
        yield Paragraph(f"{title}.")
        return
    yield _error_table(shown, labels, title=title, note=f"{note}.")
    if rest:
        title = "1 more error" if len(rest) == 1 else f"{count(len(rest))} more errors"
        yield Folded(title, (_error_table(rest, labels),))


def _error_table(
    rows: Sequence[Mapping[str, Any]], labels: bool, *, title: str = "", note: str = ""
) -> Table:
    keys = [key for key in _COLUMNS if any(text(row.get(key)) for row in rows)]
    if all(
        text(row.get("subtype")) in ("", text(row.get("class"))) for row in rows
    ):  # the subtypes are the classes
        keys = [key for key in keys if key != "subtype"]
    probabilities = {"probability": "P (label)" if labels else "P (predicted)"}
    if any(number(row.get("true_probability")) is not None for row in rows):
        probabilities["true_probability"] = "P (truth)"
    body = tuple(
        (
            *(text(row.get(key)) for key in keys),
            *("–" if (p := number(row.get(key))) is None else f"{p:.3f}" for key in probabilities),
        )
        for row in rows
    )
    head = (*(_COLUMNS[key] for key in keys), *probabilities.values())
    return Table(head, body, frozenset(range(len(keys), len(head))), title=title, note=note)


def _by_class(found: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """A metric of each class that has it, by name."""
    values = {text(of.get("name")): number(mapping(of.get("metrics")).get(metric)) for of in found}
    return {name: value for name, value in values.items() if value is not None}
