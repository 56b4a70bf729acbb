"""What a classifier's decisions rest on, for a report: the surest right and wrong cases with their Grad-CAM maps.

The maps stand beside checks of whether they say anything at all. A model that is not convolutional has none, and
the report says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, RunSummary
from pneumo_cli.evaluation.saliency_checks import saliency_checks
from pneumo_cli.trainers.targets import positive_logits

if TYPE_CHECKING:
    from pneumo_cli.data.augmentation import Transform
    from pneumo_cli.runs.run import Run

_CHECKED = 16  # images that the maps are checked on
_SHOWN = 6  # cases of each sort


def explain(run: Run, split: str, evaluation: Evaluation, transform: Transform) -> RunSummary:
    """Explain the surest cases of a split.

    Args:
        evaluation: of the split; its outputs are ``index``, ``logits`` and ``labels``, finite.
        transform: how images become the model's input.
    """
    from pneumo_cli.reports.figures.saliency import CaseRow, explained_cases, most_confident

    rule = DecisionRule.from_state(run.calibration, run.data.dataset.classes)
    index = evaluation.outputs["index"].astype(np.int64)
    logits = evaluation.outputs["logits"].astype(np.float64)
    labels = evaluation.outputs["labels"].astype(np.int64)
    inputs = run.image_inputs(transform)
    try:
        cam = GradCam(run.model, positive_logits, inputs(index[:1], 0))
    except UsageError as error:
        return RunSummary(
            notes=(f"There are no maps of what a decision rests on: {error}.",), group="explanations"
        )
    rows = most_confident(
        logits, labels, rule.classes, logit_threshold=rule.point.logit_threshold, most=_SHOWN
    )
    cases = [case for row in rows for case in row.cases]
    chosen = index[cases]
    images = inputs(chosen, 0)
    called = torch.from_numpy((logits[cases] >= rule.point.logit_threshold).astype(np.int64)).to(
        images.device
    )
    maps = cam.maps(images, called).cpu().numpy()
    probabilities = rule.probabilities(logits[cases])
    numbered = iter(range(len(cases)))
    figure = NamedFigure(
        "surest-cases",
        f"The {split} images about which the model was surest, and below each the evidence for what it was called. "
        f"The number is its probability of {rule.classes[1]}.",
        partial(
            explained_cases,
            run.data.images[chosen] / np.float32(255),
            maps,
            [f"{probability:.3f}" for probability in probabilities],
            [CaseRow(row.label, tuple(next(numbered) for _ in row.cases)) for row in rows],
        ),
        "explanations",
    )
    checked = spread_over(labels, _CHECKED)
    if len(checked) < 2:
        return RunSummary(figures=(figure,), group="explanations")
    checks = saliency_checks(
        cam, inputs(index[checked], 0), seed=run.settings.seed, logit_threshold=rule.point.logit_threshold
    )
    notes = (
        () if checks.passed else ("These maps do not pass all checks below: do not build on what they show.",)
    )
    return RunSummary(checks.metrics(), (checks.table(rule.classes),), (figure,), notes, "explanations")


def spread_over(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places of at most ``most`` images, as many of each class as there are, spread evenly over each."""
    chosen = []
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        if len(places):
            chosen.append(places[np.unique(np.linspace(0, len(places) - 1, most // 2).astype(np.int64))])
    return np.sort(np.concatenate(chosen))
