"""The figures of one split's predictions in a report: what :mod:`pneumo_cli.evaluation.classification_report`
measures, drawn.

Chosen and titled here; how each is drawn is :mod:`pneumo_cli.reports.figures.training` and
:mod:`pneumo_cli.reports.figures.classification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.binary import confusion, sigmoid
from pneumo_cli.evaluation.calibration import reliability
from pneumo_cli.evaluation.confidence.intervals import precision_recall_band, roc_band
from pneumo_cli.evaluation.result import NamedFigure

if TYPE_CHECKING:
    from pneumo_cli.evaluation.classification_report import Predictions
    from pneumo_cli.evaluation.decision_rule import DecisionRule


def assessment_figures(
    found: Predictions,
    rule: DecisionRule,
    shares: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, tuple[float, float]],
    seed: int,
) -> tuple[NamedFigure, ...]:
    """Confusion matrix, curves with bands, calibration, predictive values; drawn where somebody wants them.

    Args:
        found: of images of both classes.
        shares: of each of the rule's operating points the ``recall`` and the ``specificity``, 0 to 1.
        intervals: of the metrics at the point in use; those of the areas are written beside the curves.
        seed: of the bands.
    """
    from pneumo_cli.reports.figures import classification, training

    negative, positive = rule.classes
    data: Any = (found.logits, found.labels, found.patients)
    cuts = {point.name: point.cut for point in rule.points}
    matrix = confusion(found.logits, found.labels, cut=rule.point.cut)
    several = len(set(found.patients)) > 1

    def roc() -> Any:
        band = roc_band(*data, seed=seed) if several else None
        return classification.roc_curve(
            found.logits, found.labels, points=cuts, band=band, interval=intervals.get("auc")
        )

    def precision_recall() -> Any:
        return classification.precision_recall_curve(
            found.logits,
            found.labels,
            points=cuts,
            band=precision_recall_band(*data, seed=seed) if several else None,
            interval=intervals.get("average_precision"),
        )

    def calibration() -> Any:
        before = reliability(sigmoid(found.logits), found.labels)
        after = reliability(rule.probabilities(found.logits), found.labels) if rule.is_calibrated else None
        return classification.reliability_diagram(before, after, positive=positive)

    def values() -> Any:
        at = {name: (of["recall"], of["specificity"]) for name, of in shares.items()}
        return classification.predictive_values(at, float(found.labels.mean()), classes=rule.classes)

    return (
        NamedFigure(
            "confusion-matrix",
            f"Confusion matrix at the operating point {rule.chosen} "
            f"(probability {rule.probability_at(rule.point):.3f}): counts, and shares of each true class.",
            partial(training.confusion_matrix, matrix, rule.classes),
        ),
        NamedFigure(
            "roc",
            f"ROC curve: sensitivity for {positive} against the share of false alarms among {negative}, with its "
            "95 % band over patients.",
            roc,
        ),
        NamedFigure(
            "precision-recall",
            f"Precision-recall curve for {positive}, with its 95 % band; the dotted line is its prevalence in this "
            "split.",
            precision_recall,
        ),
        NamedFigure(
            "calibration",
            f"Calibration: of the images that get a probability, how many are {positive}; below, how many images "
            "get it.",
            calibration,
        ),
        NamedFigure(
            "predictive-values",
            f"What a call is worth: the share of images called {positive} that are so (PPV), and of those called "
            f"{negative} (NPV), where {positive} is rarer or more frequent than here.",
            values,
        ),
    )
