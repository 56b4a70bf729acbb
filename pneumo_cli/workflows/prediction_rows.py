"""Predictions as rows of JSON, passed to plugins (``images_predicted``) in blocks: there may be a million."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.inference.given_images import Given
from pneumo_cli.inference.predict import AnyPredictor, predict
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.plugins.discovery import Plugins

BLOCK = 1000
"""How many rows plugins get at once."""


def predicted(
    plugins: Plugins, paths: Sequence[Path], predictor: AnyPredictor, images: Iterable[Given], **options: Any
) -> Generator[Prediction, None, None]:
    """Yield the prediction for each image, in their order, and pass them on to plugins.

    Args:
        paths: of the models.
        options: of :func:`pneumo_cli.inference.predict`, which raises the errors.
    """
    rows = RowsForPlugins(plugins, paths)
    for prediction in predict(predictor, images, **options):
        yield prediction
        rows.add(prediction)
    rows.pass_on()


class RowsForPlugins:
    """Collects predictions and passes them on. Costs nothing if no plugin listens.

    Args:
        paths: of the models.
    """

    def __init__(self, plugins: Plugins, paths: Sequence[Path]) -> None:
        self._plugins, self._paths = plugins, list(paths)
        self._listens = plugins.listens("images_predicted")
        self._rows: list[dict[str, Any]] = []

    def add(self, prediction: Prediction) -> None:
        """Add one prediction, after it was printed or used."""
        if self._listens:
            self._rows.append(row_of(prediction))
            if len(self._rows) == BLOCK:
                self.pass_on()

    def pass_on(self) -> None:
        """Pass on what has been collected; to be called at the end, too."""
        if self._rows:
            self._plugins.notify("images_predicted", paths=self._paths, predictions=self._rows)
            self._rows = []


def row_of(prediction: Prediction) -> dict[str, Any]:
    """One prediction, as ``pneumo predict --json`` prints it and plugins get it."""
    row: dict[str, Any] = {"file": str(prediction.file)}
    if prediction.error:
        return {**row, "error": prediction.error}
    if not prediction.classes:
        row |= {"numbers": dict(prediction.numbers), "areas": prediction.areas}
        members: list[Any] = [dict(member) for member in prediction.member_numbers]
    elif prediction.task == "binary":
        row |= two_classes(prediction)
        members = list(prediction.members)
    else:
        row["predicted"] = list(prediction.predicted)
        row["probabilities"] = _named(prediction, prediction.probabilities)
        row["logits"] = _named(prediction, prediction.logits)
        members = [_named(prediction, member) for member in prediction.member_probabilities]
    return {**row, **({"members": members} if members else {}), **checks(prediction)}


def two_classes(prediction: Prediction) -> dict[str, Any]:
    """What is predicted of two classes."""
    decision = prediction.classes[int(prediction.positive)]
    return {"probability": prediction.probability, "decision": decision, "logit": prediction.logit}


def checks(prediction: Prediction) -> dict[str, Any]:
    """Whether the image suits the model. One of numbers and masks only gets to know the part of the body."""
    other_part = {"other_part": prediction.other_part or None}
    if not prediction.classes:
        return other_part
    return {
        "out_of_distribution": prediction.out_of_distribution,
        "ood_score": prediction.ood_score,
        "presentation": prediction.presentation.name if prediction.presentation is not None else None,
        **other_part,
    }


def _named(prediction: Prediction, values: Sequence[float]) -> dict[str, float]:
    return dict(zip(prediction.classes, values, strict=True))
