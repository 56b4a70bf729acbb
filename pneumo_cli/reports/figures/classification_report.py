"""The figures of one split's predictions in a report: what :mod:`pneumo_cli.evaluation.classification_report`
measures, drawn.

Chosen and titled here; how each is drawn is :mod:`pneumo_cli.reports.figures.training` and
:mod:`pneumo_cli.reports.figures.classification`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.binary import confusion
from pneumo_cli.evaluation.calibration import reliability
from pneumo_cli.evaluation.confidence.intervals import precision_recall_band, roc_band
from pneumo_cli.evaluation.result import Evaluation, NamedFigure

if TYPE_CHECKING:
    from pneumo_cli.evaluation.classification_report import Predictions
    from pneumo_cli.evaluation.decision_rule import DecisionRule


def with_figures(evaluation: Evaluation, found: Predictions, rule: DecisionRule, seed: int) -> Evaluation:
    """Add the figures to an evaluation that has everything else; none where the images are all of one class.

    Args:
        evaluation: as :func:`pneumo_cli.evaluation.classification_report.classification_report` made it.
        found: the predictions that it was made of.
        seed: of the bands.
    """
    if not 0 < found.labels.sum() < found.labels.size:
        return evaluation
    figures = classification_figures(evaluation, found, rule, seed)
    return replace(evaluation, figures=(*evaluation.figures, *figures))


def classification_figures(
    evaluation: Evaluation, found: Predictions, rule: DecisionRule, seed: int
) -> tuple[NamedFigure, ...]:
    """Confusion matrix, curves with bands, calibration, predictive values; drawn where somebody wants them.

    Args:
        evaluation: of both classes; its intervals of the areas are written beside the curves.
        found: the predictions that it was made of.
        seed: of the bands.
    """
    from pneumo_cli.reports.figures import classification, training

    negative, positive = rule.classes
    data: Any = (found.logits, found.labels, found.patients)
    logit_thresholds = {point.name: point.logit_threshold for point in rule.points}
    matrix = confusion(found.logits, found.labels, logit_threshold=rule.point.logit_threshold)
    several = len(set(found.patients)) > 1
    intervals = evaluation.intervals

    def roc() -> Any:
        band = roc_band(*data, seed=seed) if several else None
        return classification.roc_curve(
            found.logits, found.labels, points=logit_thresholds, band=band, interval=intervals.get("auc")
        )

    def precision_recall() -> Any:
        return classification.precision_recall_curve(
            found.logits,
            found.labels,
            points=logit_thresholds,
            band=precision_recall_band(*data, seed=seed) if several else None,
            interval=intervals.get("average_precision"),
        )

    def calibration() -> Any:
        before = reliability(sigmoid(found.logits), found.labels)
        after = reliability(rule.probabilities(found.logits), found.labels) if rule.is_calibrated else None
        return classification.reliability_diagram(before, after, positive=positive)

    def values() -> Any:
        points = evaluation.details["operating_points"]
        at = {name: (of["metrics"]["recall"], of["metrics"]["specificity"]) for name, of in points.items()}
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
