"""The figures of a classification report (:mod:`pneumo_cli.evaluation.classification_report`) of one split.

They are selected and captioned here, and drawn in :mod:`pneumo_cli.reports.figures.training` and
:mod:`pneumo_cli.reports.figures.classification`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.binary import confusion
from pneumo_cli.evaluation.calibration import predictive_values, reliability
from pneumo_cli.evaluation.confidence.intervals import precision_recall_band, roc_band
from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.evaluation.result import Evaluation, NamedFigure

if TYPE_CHECKING:
    from pneumo_cli.evaluation.classification_report import Predictions
    from pneumo_cli.evaluation.decision_rule import DecisionRule


def with_figures(evaluation: Evaluation, found: Predictions, rule: DecisionRule, seed: int) -> Evaluation:
    """Add the figures to an evaluation; none where all images are of one class.

    Args:
        evaluation: by :func:`pneumo_cli.evaluation.classification_report.classification_report`.
        found: the predictions that were evaluated.
        seed: of the bands.
    """
    if not 0 < found.labels.sum() < found.labels.size:
        return evaluation
    figures = classification_figures(evaluation, found, rule, seed)
    return replace(evaluation, figures=(*evaluation.figures, *figures))


def classification_figures(
    evaluation: Evaluation, found: Predictions, rule: DecisionRule, seed: int
) -> tuple[NamedFigure, ...]:
    """Confusion matrix, curves with bands, calibration and predictive values, drawn on demand.

    Args:
        evaluation: of both classes; its intervals of the areas are in the legends of the curves.
        found: the predictions that were evaluated.
        seed: of the bands.
    """
    from pneumo_cli.reports.figures import classification, training

    negative, positive = rule.classes
    data: Any = (found.logits, found.labels, found.patients)
    thresholds = {point.name: point.logit_threshold for point in rule.points}
    matrix = confusion(found.logits, found.labels, logit_threshold=rule.point.logit_threshold)
    several = len(set(found.patients)) > 1

    def curve(draw: Any, compute_band: Any, area: str) -> Any:
        band = compute_band(*data, seed=seed) if several else None
        interval = evaluation.intervals.get(area)
        return draw(found.logits, found.labels, points=thresholds, band=band, interval=interval)

    def calibration() -> Any:
        before = reliability(sigmoid(found.logits), found.labels)
        after = reliability(rule.probabilities(found.logits), found.labels) if rule.is_calibrated else None
        return classification.reliability_diagram(before, after, positive=positive)

    def at_points() -> dict[str, tuple[float, float]]:
        points = evaluation.details.get("operating_points", {})
        return {name: (of["metrics"]["recall"], of["metrics"]["specificity"]) for name, of in points.items()}

    def values() -> Any:
        return classification.predictive_values(at_points(), float(found.labels.mean()), classes=rule.classes)

    def measured(name: str) -> str:
        ends = interval_text(name, evaluation.intervals.get(name), " to ")
        return metric_text(name, evaluation.metrics.get(name)) + (f" ({ends})" if ends else "")

    counts = ", ".join(
        f"{matrix[truth, predicted]:,} of {matrix[truth].sum():,} {rule.classes[truth]} images predicted as "
        f"{rule.classes[predicted]}"
        for truth in (1, 0)
        for predicted in (1, 0)
    )
    errors = {
        text: metric_text(name, evaluation.metrics.get(name))
        for name, text in (("ece", "before"), ("ece_calibrated", "after calibration"))
        if name in evaluation.metrics
    }
    calibrated = ", ".join(f"{value} {text}" for text, value in errors.items())
    predictive = ""
    if rule.chosen in at_points():
        ppv, npv = map(float, predictive_values(*at_points()[rule.chosen], float(found.labels.mean())))
        predictive = f": PPV {ppv:.3f} and NPV {npv:.3f} at the operating point {rule.chosen}"
    return (
        NamedFigure(
            "confusion-matrix",
            f"Confusion matrix at the operating point {rule.chosen} (probability threshold "
            f"{rule.probability_at(rule.point):.3f}): counts, and percentages of each true class.",
            partial(training.confusion_matrix, matrix, rule.classes),
            alternative=f"Confusion matrix: {counts}",
        ),
        NamedFigure(
            "roc",
            f"ROC curve for {positive} against {negative}, with its 95 % band over patients and the operating "
            "points.",
            partial(curve, classification.roc_curve, roc_band, "auc"),
            alternative=f"ROC curve: AUC {measured('auc')}",
        ),
        NamedFigure(
            "precision-recall",
            f"Precision-recall curve for {positive}, with its 95 % band over patients. Dotted line: prevalence of "
            f"{positive} in this split.",
            partial(curve, classification.precision_recall_curve, precision_recall_band, "average_precision"),
            alternative=f"Precision-recall curve: average precision {measured('average_precision')}",
        ),
        NamedFigure(
            "calibration",
            f"Reliability diagram: observed frequency of {positive} by predicted probability, with 95 % intervals; "
            "below, the number of images.",
            calibration,
            alternative=f"Reliability diagram: calibration error (ECE) {calibrated or 'unknown'}",
        ),
        NamedFigure(
            "predictive-values",
            f"Positive (PPV) and negative predictive value (NPV) by the prevalence of {positive}. Dotted line: its "
            "prevalence in this split.",
            values,
            alternative=f"Predictive values by prevalence{predictive}",
        ),
    )
