"""The figures of a report of K classes or labels (:mod:`pneumo_cli.evaluation.multi.report`) of one split.

They are selected and captioned here, and drawn in :mod:`pneumo_cli.reports.figures.multi` and
:mod:`pneumo_cli.reports.figures.training`. The sibling for two classes is
:mod:`pneumo_cli.reports.figures.classification_report`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.confidence.intervals import precision_recall_band, roc_band
from pneumo_cli.evaluation.metric_names import metric_text
from pneumo_cli.evaluation.multi.intervals import resamples_for
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest
from pneumo_cli.evaluation.result import Evaluation, NamedFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.evaluation.classification_report import Predictions
    from pneumo_cli.evaluation.multi.rule import MultiRule
    from pneumo_cli.reports.figures.multi import ClassResult

_MOST = 24  # classes with curves of their own
_NAMED = 6  # classes in the words on a figure


def with_multi_figures(evaluation: Evaluation, found: Predictions, rule: MultiRule, seed: int) -> Evaluation:
    """Add the figures to an evaluation: decisions, results per class, curves and calibration, drawn on demand.

    Args:
        evaluation: by :func:`pneumo_cli.evaluation.multi.report.multi_report`.
        found: the predictions that were evaluated.
        seed: of the bands.
    """
    from pneumo_cli.reports.figures import multi

    truth = as_one_vs_rest(found.logits, found.labels, rule.task).truth
    both = np.flatnonzero((truth == 1).any(axis=0) & (truth == 0).any(axis=0)).tolist()
    shown = sorted(both, key=lambda place: -int((truth[:, place] == 1).sum()))[:_MOST]
    what = "each class against the others" if rule.task == "multiclass" else "each label"
    where = f"at the operating point {rule.chosen}"
    some = f" Of {len(both)}, the {_MOST} with the most images are shown." if len(both) > _MOST else ""

    def results() -> list[ClassResult]:
        every = class_results(evaluation, found, rule)
        return [every[place] for place in sorted(shown)]

    def curves(draw: Callable[[Sequence[ClassResult]], Figure], compute_band: Any) -> Figure:
        resamples = resamples_for(*truth.shape)
        return draw([_with_band(of, compute_band, resamples, seed) for of in results()])

    mean, by_class = evaluation.metrics, evaluation.details["classes"]

    def named(metric: str) -> str:
        values = [(of["name"], of["metrics"].get(metric)) for of in by_class]
        listed = ", ".join(f"{name} {metric_text(metric, value)}" for name, value in values[:_NAMED])
        more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
        return f"mean {metric_text(metric, mean.get(metric))}; {listed}{more}"

    figures = [
        _decisions(evaluation, rule, where),
        NamedFigure(
            "classes",
            f"ROC AUC, sensitivity and specificity of {what} {where}, with 95 % intervals over patients. In "
            "brackets: number of images.",
            lambda: multi.class_overview(
                class_results(evaluation, found, rule), evaluation.details["averages"]["macro"]
            ),
            alternative=f"Sensitivity of {what}: {named('recall')}",
        ),
    ]
    if shown:
        figures += [
            NamedFigure(
                "roc",
                f"ROC curve of {what}, with its 95 % band over patients, and the AUC with its 95 % interval. "
                f"Diamonds: the decisions {where}.{some}",
                partial(curves, multi.roc_curves, roc_band),
                alternative=f"ROC curves of {what}: AUC {named('auc')}",
            ),
            NamedFigure(
                "precision-recall",
                f"Precision-recall curve of {what}, with its 95 % band over patients, and the average precision "
                f"(AP) with its 95 % interval. Diamonds: the decisions {where}. Dotted lines: prevalence in this "
                f"split.{some}",
                partial(curves, multi.precision_recall_curves, precision_recall_band),
                alternative=f"Precision-recall curves of {what}: average precision {named('average_precision')}",
            ),
            NamedFigure(
                "calibration",
                f"Reliability diagram of {what}: observed frequency by predicted probability, with 95 % intervals."
                f"{some}",
                lambda: multi.reliability_diagrams(results()),
            ),
        ]
    return replace(evaluation, figures=(*evaluation.figures, *figures))


def _decisions(evaluation: Evaluation, rule: MultiRule, where: str) -> NamedFigure:
    """The confusion matrix of exclusive classes, or the right and wrong decisions on each label."""
    from pneumo_cli.reports.figures import multi, training

    matrix = np.array(evaluation.details["confusion"], np.int64)
    if rule.task == "multiclass":
        return NamedFigure(
            "confusion-matrix",
            f"Confusion matrix {where}: counts, and percentages of each true class.",
            partial(training.confusion_matrix, matrix, rule.classes),
            alternative=f"Confusion matrix: {_right(matrix, rule)}",
        )
    return NamedFigure(
        "decisions",
        f"Decisions on each label {where}: shares of the images with the label and of those without it. Images for "
        "which a label is unknown are left out for that label.",
        partial(multi.label_decisions, matrix, rule.classes),
    )


def _right(matrix: NDArray[np.int64], rule: MultiRule) -> str:
    """How many images of each class are right."""
    rows = list(zip(rule.classes, matrix, np.diag(matrix), strict=True))
    listed = ", ".join(
        f"{right:,} of {row.sum():,} {name} images right" for name, row, right in rows[:_NAMED]
    )
    return listed + (f" and {len(rows) - _NAMED} more classes" if len(rows) > _NAMED else "")


def class_results(evaluation: Evaluation, found: Predictions, rule: MultiRule) -> list[ClassResult]:
    """Each class against the rest, on the images where it is known."""
    from pneumo_cli.reports.figures.multi import ClassResult

    split = as_one_vs_rest(found.logits, found.labels, rule.task)
    calibrated = rule.probabilities(found.logits) if rule.is_calibrated else None
    patients = np.array(found.patients)
    results = []
    for place, of in enumerate(evaluation.details["classes"]):
        known = split.truth[:, place] >= 0
        results.append(
            ClassResult(
                of["name"],
                split.scores[known, place],
                split.truth[known, place],
                patients[known],
                None if calibrated is None else calibrated[known, place],
                of["metrics"],
                of["intervals"],
            )
        )
    return results


def _with_band(of: ClassResult, compute: Any, resamples: int, seed: int) -> ClassResult:
    if len(np.unique(of.patients)) < 2:
        return of
    return replace(of, band=compute(of.scores, of.truth, of.patients, resamples=resamples, seed=seed))
