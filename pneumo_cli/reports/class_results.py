"""The results of K exclusive classes or K labels in sentences: main result, calibration.

:mod:`pneumo_cli.reports.results` has those of two classes, and places both. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.reports.formatting import in_hundred, listing, of_hundred, share
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text

_NAMED = 5  # classes that a sentence names
_OTHER_PREVALENCE = 0.02  # as for two classes


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
    named = listing(
        f"{name} {share(changed[name][0])} there, {share(changed[name][1])} here" for name in largest
    )
    most = f", most of all {named}" if len(changed) > len(largest) else f": {named}"
    return [
        *sentences,
        f"{valid}, and that of the {split} images differs{most}. The probability of a {each} that is rarer here is "
        "too high, that of a more frequent one too low.",
    ]


def _by_class(found: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """A metric of each class that has it, by name."""
    values = {text(of.get("name")): number(mapping(of.get("metrics")).get(metric)) for of in found}
    return {name: value for name, value in values.items() if value is not None}
