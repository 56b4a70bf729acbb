"""What a classifier's predictions lead to after training: its decision rule, and the report of a split.

For two classes and for K logits alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.classification_report import Predictions, classification_report
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule, spread
from pneumo_cli.evaluation.multi.report import multi_report
from pneumo_cli.evaluation.multi.rule import Rule, fit_multi_rule
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports.figures.classification_report import with_figures
from pneumo_cli.reports.figures.multi_report import with_multi_figures

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.data.records import Record
    from pneumo_cli.settings.schema import ClassificationSettings

_CHUNK = 1024  # images of which the linear baseline is computed at once


def fit_rule(data: PreparedData, validation: Evaluation, settings: ClassificationSettings) -> Rule:
    """Fit calibration, operating points, detectors and baseline on training and validation images.

    Args:
        validation: of the best checkpoint, with finite logits.
    """
    train = spread(data.split.train, data.size)
    fitting = Fitting(
        classes=tuple(data.dataset.classes),
        logits=validation.outputs["logits"],
        labels=validation.outputs["labels"],
        train_images=data.gray[train],
        train_labels=data.labels[train],
        validation_images=data.gray[spread(data.split.validation, data.size)],
    )
    chosen: dict[str, Any] = {
        "chosen": settings.operating_point,
        "wanted_sensitivity": settings.wanted_sensitivity,
        "miss_cost": settings.miss_cost,
        "seed": settings.seed,
    }
    if data.task == "binary":
        return fit_decision_rule(fitting, **chosen)
    return fit_multi_rule(fitting, data.task, **chosen)


def described(data: PreparedData, evaluation: Evaluation, rule: Rule, seed: int) -> Evaluation:
    """Add the report of a split to its evaluation, compared with the linear baseline.

    Args:
        evaluation: with finite logits.
        seed: of the bootstrap.
    """
    baseline = None
    if rule.baseline is not None:
        index = evaluation.outputs["index"]
        chunks = np.array_split(index, len(index) // _CHUNK + 1)
        baseline = np.concatenate([rule.baseline.logits(data.gray[chunk]) for chunk in chunks])
    return report_of(evaluation, data.dataset.records, rule, baseline, seed)


def report_of(
    evaluation: Evaluation,
    records: Sequence[Record],
    rule: Rule,
    baseline: NDArray[np.float64] | None,
    seed: int,
) -> Evaluation:
    """Add metrics with intervals, operating points, tables and figures to an evaluation.

    Args:
        evaluation: with the outputs ``index``, ``logits`` and ``labels``.
        records: of its dataset.
        baseline: logits of the linear baseline for the same images; None: no comparison.
        seed: of the bootstrap.
    """
    outputs = evaluation.outputs
    shown = [records[int(position)] for position in outputs["index"]]
    found = Predictions(
        logits=outputs["logits"].astype(np.float64),
        labels=outputs["labels"].astype(np.int64),
        names=[record.name for record in shown],
        patients=[record.patient for record in shown],
        subtypes=[record.subtype for record in shown],
    )
    if isinstance(rule, DecisionRule):
        return with_figures(classification_report(evaluation, found, rule, baseline, seed), found, rule, seed)
    return with_multi_figures(multi_report(evaluation, found, rule, baseline, seed), found, rule, seed)
