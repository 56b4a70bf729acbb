"""The table of the images that two compared runs classify differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.confidence.paired import Scored
from pneumo_cli.evaluation.multi.scores import softmax
from pneumo_cli.reports.document import Block, Folded, Table
from pneumo_cli.runtime.json_values import mapping, sequence, text
from pneumo_compare.classes import ClassScored
from pneumo_compare.comparison import ComparedRun, Comparison, Places

_LISTED = 200


def classes_of(run: ComparedRun) -> list[str]:
    """The names of a run's classes, as one line each."""
    return [text(name) for name in sequence(mapping(run.report.get("dataset")).get("classes"))]


def disagreements(comparison: Comparison, places: Places) -> Iterator[Block]:
    """The images that the runs of a pair classify differently; nothing for labels."""
    images, (first, other) = comparison.first.images, comparison.of(places)
    shown = None if images is None else _shown(first.scored, other.scored)
    if images is None or shown is None:
        return
    predicted, probabilities, texts = shown
    differ = np.flatnonzero(predicted[0] != predicted[1])
    if not differ.size:
        return
    gap = np.abs(probabilities[0][differ] - probabilities[1][differ])
    classes = list(comparison.classes) or (classes_of(first) if len(classes_of(first)) == 2 else ["0", "1"])
    a, b = first.label, other.label
    rows = [
        (
            images.names[i],
            images.patients[i],
            text(classes[int(images.labels[i])]),
            *(one[i] for one in texts),
            next(
                (x for x, own in zip((a, b), predicted, strict=True) if own[i] == images.labels[i]), "neither"
            ),
        )
        for i in differ[np.argsort(-gap, kind="stable")][:_LISTED].tolist()
    ]
    what = "Prediction" if comparison.classes else "Probability"
    head = ("Image", "Patient", "Label", f"{what}, {a}", f"{what}, {b}", "Correct")
    more = f", {_LISTED} of them" if differ.size > _LISTED else ""
    yield Folded(
        f"The {differ.size:,} images that {a} and {b} classify differently{more}, largest difference first",
        (Table(head, tuple(rows), frozenset({3, 4})),),
    )


_Arrays: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


def _shown(
    first: Scored | ClassScored | None, other: Scored | ClassScored | None
) -> tuple[_Arrays, _Arrays, tuple[list[str], list[str]]] | None:
    """Of both runs the predicted classes, what images are sorted by, and what is shown; None for labels."""
    if isinstance(first, Scored) and isinstance(other, Scored):
        probabilities = sigmoid(first.calibrated.logits), sigmoid(other.calibrated.logits)
        predicted = (first.logits >= first.logit_threshold, other.logits >= other.logit_threshold)
        one, two = ([f"{probability:.3f}" for probability in values] for values in probabilities)
        return predicted, probabilities, (one, two)
    if isinstance(first, ClassScored) and isinstance(other, ClassScored) and first.task == "multiclass":
        indices = first.predicted, other.predicted
        shares = [softmax(scored.calibration.apply(scored.logits)) for scored in (first, other)]
        # How much more the first one believes in its own class than the other one does.
        rows = np.arange(len(indices[0]))
        beliefs = shares[0][rows, indices[0]], shares[1][rows, indices[0]]
        names = [text(name) for name in first.classes]
        one, two = (
            [f"{names[i]} {share[i]:.3f}" for i, share in zip(index.tolist(), values, strict=True)]
            for index, values in zip(indices, shares, strict=True)
        )
        return indices, beliefs, (one, two)
    return None
