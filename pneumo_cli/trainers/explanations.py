"""Saliency maps for a classifier's report: Grad-CAM of its most confident correct and incorrect predictions.

The maps are reported with sanity checks. A model that is not convolutional has none, and the report says so.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
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

_CHECKED = 16  # images in the sanity checks
_SHOWN = 6  # images per row of the figure


def explain(run: Run, split: str, evaluation: Evaluation, transform: Transform) -> RunSummary:
    """Explain the most confident predictions on a split.

    Args:
        evaluation: of the split; its outputs are ``index``, ``logits`` and ``labels``, finite.
        transform: how images become the model's input.
    """
    from pneumo_cli.reports.figures.saliency import CaseRow, explained_cases, most_confident

    rule = DecisionRule.from_state(run.calibration, run.data.dataset.classes)
    threshold = rule.point.logit_threshold
    index = evaluation.outputs["index"].astype(np.int64)
    logits = evaluation.outputs["logits"].astype(np.float64)
    labels = evaluation.outputs["labels"].astype(np.int64)
    inputs = run.image_inputs(transform)
    try:
        cam = GradCam(run.model, positive_logits, inputs(index[:1], 0))
    except UsageError as error:
        return RunSummary(notes=(f"There are no saliency maps: {error}.",), group="explanations")
    rows = most_confident(logits, labels, rule.classes, logit_threshold=threshold, most=_SHOWN)
    cases = [case for row in rows for case in row.cases]
    images = inputs(index[cases], 0)
    predicted = torch.from_numpy((logits[cases] >= threshold).astype(np.int64)).to(images.device)
    places = iter(range(len(cases)))
    figure = NamedFigure(
        "surest-cases",
        f"The {split} images with the most confident predictions, and below each the saliency map of its predicted "
        f"class. The number is the predicted probability of {rule.classes[1]}.",
        partial(
            explained_cases,
            run.data.images[index[cases]] / np.float32(255),
            cam.maps(images, predicted).cpu().numpy(),
            [f"{probability:.3f}" for probability in rule.probabilities(logits[cases])],
            [CaseRow(row.label, tuple(islice(places, len(row.cases)))) for row in rows],
        ),
        "explanations",
    )
    checked = spread_over(labels, _CHECKED)
    if len(checked) < 2:
        return RunSummary(figures=(figure,), group="explanations")
    checks = saliency_checks(
        cam, inputs(index[checked], 0), seed=run.settings.seed, logit_threshold=threshold
    )
    notes = (
        () if checks.passed else ("The saliency maps fail at least one check below: do not rely on them.",)
    )
    return RunSummary(checks.metrics(), (checks.table(rule.classes),), (figure,), notes, "explanations")


def spread_over(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Positions of at most ``most // 2`` images of each class, evenly spread."""
    chosen = []
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        if len(places):
            chosen.append(places[np.unique(np.linspace(0, len(places) - 1, most // 2).astype(np.int64))])
    return np.sort(np.concatenate(chosen))
