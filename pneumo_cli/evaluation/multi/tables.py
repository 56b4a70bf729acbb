"""The tables of a classification report of K classes, from its details."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.result import NamedTable

if TYPE_CHECKING:
    from pneumo_cli.evaluation.multi.rule import MultiRule

_RANKING = {
    "auc": "ROC AUC",
    "average_precision": "Average precision",
    "recall": "Sensitivity",
    "specificity": "Specificity",
    "precision": "PPV",
    "f1": "F1",
}
_FURTHER = {
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "MCC",
    "brier": "Brier score",
    "ece": "ECE",
    "brier_calibrated": "Brier, calibrated",
    "ece_calibrated": "ECE, calibrated",
}
_SHARES = {"recall": "Sensitivity", "specificity": "Specificity", "precision": "PPV", "npv": "NPV"}
_COUNTS = ("tp", "fn", "fp", "tn")
_COMPARED = ("accuracy", "auc")
_OF_SUBTYPES = ("recall", "auc")


def report_tables(
    details: Mapping[str, Any],
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    rule: MultiRule,
) -> tuple[NamedTable, ...]:
    """All tables of a report.

    Args:
        details: of :func:`pneumo_cli.evaluation.multi.report.multi_report`.
        metrics, intervals: of the evaluation.
    """
    return tuple(_tables(details, metrics, intervals, rule))


def _tables(
    details: Mapping[str, Any],
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    rule: MultiRule,
) -> Iterator[NamedTable]:
    exclusive = rule.task == "multiclass"
    kind = "Class" if exclusive else "Label"
    classes: Sequence[Mapping[str, Any]] = details["classes"]
    unknown = any(each["images"] != classes[0]["images"] for each in classes)
    yield NamedTable(
        title="Each class against the rest" if exclusive else "Each label",
        head=(kind, "Images", *_RANKING.values()),
        rows=tuple((each["name"], _images(each, unknown), *_cells(each, _RANKING)) for each in classes),
        note=(
            "Images are those of the class"
            if exclusive
            else "Images are those with the label"
            + (", of those where it is known; the others are left out for it" if unknown else "")
        )
        + f". Sensitivity, specificity, PPV and F1 at the operating point {rule.chosen}."
        + (
            ""
            if all(each["predicted"] for each in classes)
            else " A PPV without an interval: nothing is predicted."
        ),
    )
    further = {
        name: head for name, head in _FURTHER.items() if any(name in each["metrics"] for each in classes)
    }
    yield NamedTable(
        title=f"Each {kind.lower()}: balanced accuracy, correlation, and errors of the probability",
        head=(kind, *further.values()),
        rows=tuple((each["name"], *_cells(each, further)) for each in classes),
        note="MCC: Matthews correlation. Brier score and ECE are errors: lower is better.",
    )
    yield _averages(details["averages"], exclusive)
    if exclusive:
        yield NamedTable(
            title="Confusion matrix",
            head=("True class", *rule.classes),
            rows=tuple(
                (name, *(f"{count:,}" for count in row))
                for name, row in zip(rule.classes, details["confusion"], strict=True)
            ),
            note=f"Images by true class (rows) and predicted class (columns) at the operating point {rule.chosen}.",
        )
    yield from _points(details["operating_points"], rule, kind)
    if "subtypes" in details:
        yield NamedTable(
            title="By subtype",
            head=("Class", "Subtype", "Images", "Sensitivity", "ROC AUC against the other classes"),
            rows=tuple(
                (name, subtype, f"{of['images']:,}", *_cells(of | {"metrics": of}, _OF_SUBTYPES))
                for name, subtypes in details["subtypes"].items()
                for subtype, of in subtypes.items()
            ),
            note=f"At the operating point {rule.chosen}.",
        )
    if "baseline" in details:
        yield _baseline(details["baseline"], metrics, intervals, rule)


def _averages(averages: Mapping[str, Mapping[str, Any]], exclusive: bool) -> NamedTable:
    heads, kind = _RANKING | _FURTHER, "class" if exclusive else "label"
    names = [name for name in heads if any(name in of["metrics"] for of in averages.values())]
    return NamedTable(
        title="Averages over the classes" if exclusive else "Averages over the labels",
        head=("Metric", *(name.capitalize() for name in averages)),
        rows=tuple((heads[name], *(_cells(of, (name,))[0] for of in averages.values())) for name in names),
        note=f"Macro: each {kind} counts equally. Micro: all pairs of an image and a {kind} are pooled. Weighted: "
        f"each {kind} counts by its number of images."
        + (
            " Balanced accuracy and MCC are those of each class against the rest; the first table of the results "
            "has them of all classes at once."
            if exclusive
            else ""
        ),
    )


def _points(points: Mapping[str, Mapping[str, Any]], rule: MultiRule, kind: str) -> Iterator[NamedTable]:
    exclusive = rule.task == "multiclass"
    decision = (
        "Predicted is the class whose log odds exceed those of its threshold by most. Thresholds are probabilities "
        "before calibration."
        if exclusive
        else "A label is predicted if its calibrated probability is at least the threshold."
    )
    yield NamedTable(
        title=f"Operating point {rule.chosen}"
        + ("" if rule.chosen == "default" else ", chosen on the validation images"),
        head=(kind, "Threshold", *_SHARES.values(), *(name.upper() for name in _COUNTS)),
        rows=tuple(
            (
                each["name"],
                f"{each['probability']:.3f}",
                *_cells(each, _SHARES),
                *(f"{each[name]:,}" for name in _COUNTS),
            )
            for each in points[rule.chosen]["classes"]
        ),
        note=f"{decision} PPV and NPV are those at this split's share of each {kind.lower()}.",
    )
    if len(points) > 1:
        yield NamedTable(
            title="Sensitivity / specificity at each operating point",
            head=(kind, *(name + (" (in use)" if name == rule.chosen else "") for name in points)),
            rows=tuple(
                (name, *(_pair(of["classes"][place]["metrics"]) for of in points.values()))
                for place, name in enumerate(rule.classes)
            ),
        )
    if rule.images:
        yield NamedTable(
            title="How the operating points were chosen",
            head=("Point", "Rule"),
            rows=tuple((point.name, point.rule) for point in rule.points),
            note=(
                "Each threshold is chosen for its class against the rest, so the decision among all classes may "
                "have another sensitivity."
                if exclusive and len(points) > 1
                else ""
            ),
        )


def _baseline(
    baseline: Mapping[str, Any],
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    rule: MultiRule,
) -> NamedTable:
    def difference(name: str) -> str:
        one = baseline["differences"].get(name)
        return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" if one else "–"

    exclusive = rule.task == "multiclass"
    constant, kind = (
        ("Always the largest class", "class") if exclusive else ("Always the more frequent value", "label")
    )
    return NamedTable(
        title="Compared with simpler baselines",
        head=("", "Accuracy", "Macro ROC AUC"),
        rows=(
            ("This network", *_cells({"metrics": metrics, "intervals": intervals}, _COMPARED)),
            ("Logistic regression", *(f"{baseline['metrics'][name]:.3f}" for name in _COMPARED)),
            (constant, f"{baseline['larger_class']['accuracy']:.3f}", "0.500"),
            ("Network − regression", *(difference(name) for name in _COMPARED)),
        ),
        note=f"The logistic regressions, one for each {kind}, are trained on the same images, downsampled to "
        "32 px. The difference is paired, with its interval over patients.",
    )


def _images(each: Mapping[str, Any], unknown: bool) -> str:
    return f"{each['positives']:,}" + (f" of {each['images']:,}" if unknown else "")


def _cells(of: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Values with their intervals; a dash where a metric is undefined."""
    cells = []
    for name in names:
        value, ends = of["metrics"].get(name), of["intervals"].get(name)
        if value is None:
            cells.append("–")
        else:
            between = " to " if ends and ends[0] < 0 else "–"
            cells.append(f"{value:.3f}" + (f" ({ends[0]:.3f}{between}{ends[1]:.3f})" if ends else ""))
    return tuple(cells)


def _pair(metrics: Mapping[str, float]) -> str:
    shares = (f"{metrics[name]:.3f}" if name in metrics else "–" for name in ("recall", "specificity"))
    return " / ".join(shares)
