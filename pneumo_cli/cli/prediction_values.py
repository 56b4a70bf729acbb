"""What ``pneumo predict`` prints of a prediction: of two classes, of K classes or labels, of numbers and masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.inference.predictor import Predictor
from pneumo_cli.inference.values import ValuePredictor
from pneumo_cli.reports.formatting import percent
from pneumo_cli.runtime.streams import printable
from pneumo_cli.workflows.prediction_rows import two_classes

_OTHERS = 2  # further classes in a row of the table
_WIDEST = 46  # characters of what is predicted; more of them move the note to the right


class Values(ABC):
    """The fields and texts of predictions that depend on what is decided.

    Attributes:
        head: titles of the table's columns between the file and the note.
        right: which of them are aligned to the right.
        columns: names of the columns of CSV.
    """

    head: Sequence[str]
    right: Sequence[bool]
    columns: Sequence[str]

    @abstractmethod
    def widths(self) -> list[int]:
        """The widths of the columns of ``head``."""

    @abstractmethod
    def cells(self, prediction: Prediction) -> list[str]:
        """The table's cells of one image."""

    @abstractmethod
    def json_head(self) -> dict[str, Any]:
        """What a JSON document says about the classifier."""

    @abstractmethod
    def csv_row(self, prediction: Prediction) -> dict[str, Any]:
        """One image in CSV, without the columns that all tasks have."""

    @abstractmethod
    def explanation(self) -> list[str]:
        """What the numbers mean."""


def values_of(predictor: Predictor | ValuePredictor) -> Values:
    """The fields and texts of a predictor's predictions."""
    if not isinstance(predictor, Predictor):
        return NumbersAndMasks(predictor)
    rule, point = predictor.rule, predictor.point
    if isinstance(rule, MultiRule) and isinstance(point, MultiPoint):
        return SeveralClasses(rule, point, predictor.count)
    if isinstance(rule, DecisionRule) and isinstance(point, OperatingPoint):
        return TwoClasses(rule, point, predictor.count)
    raise TypeError(f"the rule {type(rule).__name__} and the point {type(point).__name__} do not match")


class TwoClasses(Values):
    """Of two classes: the probability of class 1."""

    right = (True, False)
    columns = (
        *("file", "probability", "decision", "logit", "out_of_distribution", "ood_score"),
        *("error", "prevalence", "presentation", "other_part"),
    )

    def __init__(self, rule: DecisionRule, point: OperatingPoint, models: int) -> None:
        self.rule, self.point, self.models = rule, point, models
        self.classes = [printable(name) for name in rule.classes]
        self.head = (self.classes[1].upper(), "DECISION")

    def widths(self) -> list[int]:
        return [
            max(len("99.9 %"), len(self.classes[1])),
            max(len("decision"), *map(len, self.classes)),
        ]

    def cells(self, prediction: Prediction) -> list[str]:
        return [percent(prediction.probability), self.classes[int(prediction.positive)]]

    def json_head(self) -> dict[str, Any]:
        rule, point = self.rule, self.point
        return {
            "classes": list(rule.classes),
            **rule.calibration.plain(),
            "prevalence": _prevalence(rule),
            "validation_images": rule.images,
            "validation_prevalence": rule.prevalence if rule.images else None,
            "operating_point": {**point.plain(), "probability": rule.probability_at(point)},
        }

    def csv_row(self, prediction: Prediction) -> dict[str, Any]:
        return {**two_classes(prediction), "prevalence": _prevalence(self.rule)}

    def explanation(self) -> list[str]:
        rule, point, positive = self.rule, self.point, self.classes[1]
        if rule.is_calibrated:
            images = "each model's own" if self.models > 1 else f"{rule.images:,}"
            share = f"{100 * rule.prevalence:.0f} %"
            calibrated = f"calibrated on {images} validation images, of which {share} were {positive}"
            meaning = (
                f"the number is the probability of {positive}, {calibrated}; where the disease is rarer it is too "
                "high (--prevalence SHARE)"
                if rule.assumed is None
                else f"the number is the probability of {positive} at a prevalence of {100 * rule.assumed:g} %: "
                f"{calibrated}, then adjusted to this prevalence, which changes no decision"
            )
        else:
            meaning = (
                f"the number is the sigmoid of the logit, read as the probability of {positive}; nothing "
                "calibrated it"
            )
        threshold = percent(rule.probability_at(point))
        return [
            meaning,
            f"{positive} is predicted from {threshold} upwards (operating point {point.name}). {point.rule}",
        ]


class SeveralClasses(Values):
    """Of K exclusive classes the predicted one and the next ones; of K labels those that are predicted."""

    right = (False,)

    def __init__(self, rule: MultiRule, point: MultiPoint, models: int) -> None:
        self.rule, self.point, self.models = rule, point, models
        self.labels = rule.task == "multilabel"
        self.classes = [printable(name) for name in rule.classes]
        self.head = ("PREDICTED",)
        self.columns = (
            *("file", "predicted", *(f"probability_{name}" for name in self.classes)),
            *("out_of_distribution", "ood_score", "error", "presentation", "other_part"),
        )

    def widths(self) -> list[int]:
        longest = sorted(map(len, self.classes))[-1 - _OTHERS :]
        return [max(len("PREDICTED"), min(_WIDEST, sum(longest) + len(longest) * len(" 99.9 %, ") + 2))]

    def cells(self, prediction: Prediction) -> list[str]:
        ranked = sorted(
            zip(self.classes, prediction.probabilities, self.rule.classes, strict=True),
            key=lambda entry: -entry[1],
        )
        chosen = [f"{name} {percent(share)}" for name, share, own in ranked if own in prediction.predicted]
        if self.labels:
            highest = f"{ranked[0][0]} {percent(ranked[0][1])}"
            return [", ".join(chosen) or f"none (highest: {highest})"]
        others = [
            f"{name} {percent(share)}" for name, share, own in ranked if own not in prediction.predicted
        ]
        return [f"{chosen[0]} ({', '.join(others[:_OTHERS])})"]

    def json_head(self) -> dict[str, Any]:
        rule, point = self.rule, self.point
        return {
            "task": rule.task,
            "classes": list(rule.classes),
            **rule.calibration.plain(),
            "validation_images": rule.images,
            "validation_prevalence": list(rule.prevalence) if rule.images else None,
            "operating_point": {**point.plain(), "probabilities": rule.probabilities_at(point).tolist()},
        }

    def csv_row(self, prediction: Prediction) -> dict[str, Any]:
        shown = dict(zip(self.rule.classes, self.classes, strict=True))
        columns = zip(self.classes, prediction.probabilities, strict=True)
        return {
            "predicted": "|".join(shown[name] for name in prediction.predicted),
            **{f"probability_{name}": probability for name, probability in columns},
        }

    def explanation(self) -> list[str]:
        rule, point = self.rule, self.point
        what = "label" if self.labels else "class"
        if rule.is_calibrated:
            images = "each model's own" if self.models > 1 else f"{rule.images:,}"
            meaning = (
                f"the numbers are the probabilities of each {what}, calibrated on {images} validation images; of a "
                f"{what} that is rarer than among these they are too high"
            )
        else:
            function = "sigmoids" if self.labels else "softmax"
            meaning = (
                f"the numbers are the {function} of the logits, read as the probabilities of each {what}; nothing "
                "calibrated them"
            )
        if not self.labels:
            if len(set(point.logit_thresholds)) > 1:
                chosen = "the class whose score exceeds its own threshold by most is predicted"
                further = ", which is not always the most probable one"
            else:
                chosen = "the class with the largest logit is predicted"
                moved = len(set(rule.calibration.arrays()[1].tolist())) > 1
                further = ", which after calibration is not always the most probable one" if moved else ""
            return [meaning, f"{chosen}{further} (operating point {point.name}). {point.rule}"]
        thresholds = ", ".join(
            f"{name} {percent(share)}"
            for name, share in zip(self.classes, rule.probabilities_at(point).tolist(), strict=True)
        )
        return [
            meaning,
            f"a label is predicted from its own threshold upwards ({thresholds}; operating point {point.name}). "
            f"{point.rule}",
        ]


class NumbersAndMasks(Values):
    """Of a model that predicts them: each number, and the area of each mask as a share of the image."""

    def __init__(self, predictor: ValuePredictor) -> None:
        self.units, self.masks = predictor.units, predictor.masks
        self.head = [
            f"{name.upper()} ({'AREA' if name in self.masks else unit})"
            if unit or name in self.masks
            else name.upper()
            for name, unit in self.units.items()
        ]
        self.right = (True,) * len(self.head)
        columns = (f"{name}_area" if name in self.masks else name for name in self.units)
        self.columns = ("file", *columns, "error", "other_part")

    def widths(self) -> list[int]:
        return [max(len(title), len("-12345.6")) for title in self.head]

    def cells(self, prediction: Prediction) -> list[str]:
        areas = prediction.areas
        return [
            f"{100 * areas[name]:.1f} %" if name in areas else f"{prediction.numbers[name]:.4g}"
            for name in self.units
        ]

    def json_head(self) -> dict[str, Any]:
        numbers = {name: unit or None for name, unit in self.units.items() if name not in self.masks}
        return {"task": "values", "numbers": numbers, "masks": list(self.masks)}

    def csv_row(self, prediction: Prediction) -> dict[str, Any]:
        areas = {f"{name}_area": area for name, area in prediction.areas.items()}
        return {**prediction.numbers, **areas}

    def explanation(self) -> list[str]:
        numbers = [
            f"{name} in {unit}" if unit else name
            for name, unit in self.units.items()
            if name not in self.masks
        ]
        lines = [f"the model predicts {', '.join(numbers)}"] if numbers else []
        if self.masks:
            lines.append(
                f"of {', '.join(self.masks)} the area is shown, as a share of the image: the pixels with a "
                "probability of at least one half (--cam DIR writes them)"
            )
        return lines


def _prevalence(rule: DecisionRule) -> float | None:
    """The prevalence of class 1 for which the probabilities hold; None if they are not calibrated."""
    if not rule.is_calibrated:
        return None
    return rule.prevalence if rule.assumed is None else rule.assumed
