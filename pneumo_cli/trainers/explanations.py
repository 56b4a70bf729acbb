"""Saliency maps for a classifier's report: Grad-CAM of its most confident correct and incorrect predictions.

The maps are reported with sanity checks. A model that is not convolutional has none, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.evaluation.multi.rule import MultiRule, Rule
from pneumo_cli.evaluation.multi.scores import class_truth
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, NamedTable, RunSummary
from pneumo_cli.evaluation.saliency_checks import saliency_checks
from pneumo_cli.trainers.targets import class_scores, positive_logits

if TYPE_CHECKING:
    from pneumo_cli.data.augmentation import Transform
    from pneumo_cli.data.batch_inputs import ImageInputs
    from pneumo_cli.reports.figures.saliency import CaseRow
    from pneumo_cli.runs.run import Run

_CHECKED = 16  # images in the sanity checks
_SHOWN = 6  # images per row of the figure
_CLASSES = 4  # of K classes, the most frequent ones are explained


def explain(run: Run, split: str, evaluation: Evaluation, transform: Transform, rule: Rule) -> RunSummary:
    """Explain the most confident predictions on a split.

    Args:
        evaluation: of the split; its outputs are ``index``, ``logits`` and ``labels``, finite.
        transform: how images become the model's input.
        rule: how logits become decisions.
    """
    inputs = run.image_inputs(transform)
    example = inputs(evaluation.outputs["index"][:1].astype(np.int64), 0)
    scores = positive_logits if isinstance(rule, DecisionRule) else partial(class_scores, task=rule.task)
    try:
        cam = GradCam(run.model, scores, example)
    except UsageError as error:
        return RunSummary(notes=(f"There are no saliency maps: {error}.",), group="explanations")
    if isinstance(rule, DecisionRule):
        return _two_classes(run, split, evaluation, inputs, cam, rule)
    return _several_classes(run, split, evaluation, inputs, cam, rule)


def _two_classes(
    run: Run, split: str, evaluation: Evaluation, inputs: ImageInputs, cam: GradCam, rule: DecisionRule
) -> RunSummary:
    from pneumo_cli.reports.figures.saliency import most_confident

    threshold = rule.point.logit_threshold
    index, logits, labels = _outputs(evaluation)
    rows = most_confident(logits, labels, rule.classes, logit_threshold=threshold, most=_SHOWN)
    cases = [case for row in rows for case in row.cases]
    predicted = (logits[cases] >= threshold).astype(np.int64)
    figure = _figure(
        run,
        index[cases],
        cam.maps(inputs(index[cases], 0), torch.from_numpy(predicted).to(run.device.torch)),
        f"The {split} images with the most confident predictions, and below each the saliency map of its predicted "
        f"class. The number is the predicted probability of {rule.classes[1]}.",
        [f"{probability:.3f}" for probability in rule.probabilities(logits[cases])],
        rows,
    )
    checked = spread_over(labels, _CHECKED)
    if len(checked) < 2:
        return RunSummary(figures=(figure,), group="explanations")
    checks = saliency_checks(
        cam, inputs(index[checked], 0), seed=run.settings.seed, logit_threshold=threshold
    )
    return RunSummary(
        checks.metrics(), (checks.table(rule.classes),), (figure,), _warning(checks.passed), "explanations"
    )


def _several_classes(
    run: Run, split: str, evaluation: Evaluation, inputs: ImageInputs, cam: GradCam, rule: MultiRule
) -> RunSummary:
    """Maps and checks of the most frequent classes, each against the rest."""
    from pneumo_cli.reports.figures.saliency import CaseRow

    index, logits, labels = _outputs(evaluation)
    truth = class_truth(labels, rule.task, len(rule.classes))
    margins = rule.scores(logits) - np.asarray(rule.point.logit_thresholds)
    decided = class_truth(rule.decide(logits), rule.task, len(rule.classes))
    probabilities = rule.probabilities(logits)
    frequent = np.sort(np.argsort(-(truth == 1).sum(0), kind="stable")[:_CLASSES])
    rows: list[CaseRow] = []
    cases: list[int] = []
    towards: list[int] = []
    tables: list[NamedTable] = []
    passed = True
    for place in frequent.tolist():
        name = rule.classes[place]
        order = np.argsort(-margins[:, place], kind="stable")
        predicted = order[decided[order, place] == 1]
        for wanted, outcome in ((1, "correct"), (0, "incorrect")):
            found = predicted[truth[predicted, place] == wanted][:_SHOWN].tolist()
            if found:
                rows.append(CaseRow(f"{name}, {outcome}", tuple(found)))
                cases += found
                towards += [place] * len(found)
        checks = _checks(run, cam, inputs, index, truth[:, place], place, rule)
        if checks is not None:
            table, own = checks
            tables.append(table)
            passed = passed and own
    if not cases:
        return RunSummary(
            tables=tuple(tables),
            notes=("No image is predicted as any of these classes.",),
            group="explanations",
        )
    figure = _figure(
        run,
        index[cases],
        cam.maps(inputs(index[cases], 0), torch.tensor(towards, device=run.device.torch)),
        f"The {split} images with the most confident predictions of each class, and below each the saliency map of "
        "that class. The number is its predicted probability.",
        [f"{probabilities[case, place]:.3f}" for case, place in zip(cases, towards, strict=True)],
        rows,
    )
    return RunSummary({}, tuple(tables), (figure,), _warning(passed), "explanations")


def _checks(
    run: Run,
    cam: GradCam,
    inputs: ImageInputs,
    index: NDArray[np.int64],
    truth: NDArray[np.int64],
    place: int,
    rule: MultiRule,
) -> tuple[NamedTable, bool] | None:
    """The sanity checks of one class against the rest; None where there are too few images."""
    checked = spread_over(truth, _CHECKED)
    if len(checked) < 2:
        return None

    def score(outputs: Tensor) -> Tensor:
        return class_scores(outputs, rule.task)[:, place]

    images = inputs(index[checked], 0)
    of_class = GradCam(cam.model, score, images[:1])
    threshold = float(rule.point.logit_thresholds[place])
    checks = saliency_checks(of_class, images, seed=run.settings.seed, logit_threshold=threshold)
    name = rule.classes[place]
    table = checks.table((f"not {name}", name))
    return replace(table, title=f"{table.title}: {name}"), checks.passed


def _outputs(evaluation: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    outputs = evaluation.outputs
    return (
        outputs["index"].astype(np.int64),
        outputs["logits"].astype(np.float64),
        outputs["labels"].astype(np.int64),
    )


def _figure(
    run: Run,
    index: NDArray[np.int64],
    maps: Tensor,
    caption: str,
    titles: list[str],
    rows: Sequence[CaseRow],
) -> NamedFigure:
    """The figure of some images, in the order of the rows."""
    from pneumo_cli.reports.figures.saliency import CaseRow, explained_cases

    places = iter(range(len(index)))
    placed = [CaseRow(row.label, tuple(islice(places, len(row.cases)))) for row in rows]
    images = run.data.gray[index] / np.float32(255)
    return NamedFigure(
        "surest-cases",
        caption,
        partial(explained_cases, images, maps.cpu().numpy(), titles, placed),
        "explanations",
    )


def _warning(passed: bool) -> tuple[str, ...]:
    if passed:
        return ()
    return ("The saliency maps fail at least one check below: do not rely on them.",)


def spread_over(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Positions of at most ``most // 2`` images of each of the labels 0 and 1, evenly spread."""
    chosen = []
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        if len(places):
            chosen.append(places[np.unique(np.linspace(0, len(places) - 1, most // 2).astype(np.int64))])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
