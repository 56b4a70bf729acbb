"""Predictions of several images as Python values: a list that a notebook shows, with a table and arrays."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.workflows.tables import STYLE, Table

_SHOWN = 20  # images in a notebook


@dataclass(frozen=True)
class Outputs:
    """What a model predicts.

    Attributes:
        task: ``binary``, ``multiclass``, ``multilabel``, or ``values``: numbers and masks.
        classes: their names; of numbers and masks none.
        units: of each number and mask; of a mask empty.
        masks: which of them are masks.
    """

    task: str
    classes: tuple[str, ...]
    units: Mapping[str, str]
    masks: tuple[str, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Which of ``units`` are numbers."""
        return tuple(name for name in self.units if name not in self.masks)


class Predictions(list[Prediction]):
    """The predictions of images, in their order: a list of :class:`~pneumo_cli.inference.Prediction`.

    Args:
        predictions: one for each image.
        outputs: what the model predicts.
    """

    def __init__(self, predictions: Iterable[Prediction], outputs: Outputs) -> None:
        super().__init__(predictions)
        self._outputs = outputs

    @property
    def table(self) -> Table:
        """A row per image: ``file``, ``predicted``, ``probability_CLASS`` …, ``out_of_distribution``.

        ``note`` says why not to trust a prediction, ``error`` why there is none. Models of numbers and masks have
        columns of their numbers, and ``NAME_area`` of their masks, as shares of the image.
        """
        return Table(map(self._row, self))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of each class, calibrated where the model is: [N, K]; NaN where there is an error.

        Raises:
            UsageError: the model predicts no classes.
        """
        classes = self._classes()
        return np.array([one.probabilities or [np.nan] * classes for one in self]).reshape(len(self), classes)

    @property
    def logits(self) -> NDArray[np.float64]:
        """Logits, uncalibrated: of class 1 of two, [N]; of K classes or labels [N, K]; NaN where there is an error.

        Those of an ensemble are the means of its members' calibrated logits.

        Raises:
            UsageError: the model predicts no classes.
        """
        classes = self._classes()
        if self._outputs.task == "binary":
            return np.array([np.nan if one.error else one.logit for one in self])
        return np.array([one.logits or [np.nan] * classes for one in self]).reshape(len(self), classes)

    @property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Of a model that predicts numbers, by name: [N]; NaN where there is an error."""
        return {
            name: np.array([one.numbers.get(name, np.nan) for one in self]) for name in self._outputs.numbers
        }

    @property
    def masks(self) -> dict[str, NDArray[np.float32]]:
        """Of a model that predicts masks, by name: the probability of each pixel, [N, S, S]; NaN as above."""
        found = {}
        for name in self._outputs.masks:
            shape = next((one.masks[name].shape for one in self if not one.error), (0, 0))
            missing = np.full(shape, np.nan, np.float32)
            found[name] = np.array([one.masks.get(name, missing) for one in self])
        return found

    @overload
    def __getitem__(self, place: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> Predictions: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Prediction | Predictions:
        found = super().__getitem__(place)
        return found if isinstance(found, Prediction) else Predictions(found, self._outputs)

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        rows = (
            '<tr><td>{}</td><td class="long">{}</td><td>{}</td><td class="long">{}</td></tr>'.format(
                *one.html_cells()
            )
            for one in self[:_SHOWN]
        )
        more = f'<p class="soft">and {len(self) - _SHOWN:,} more</p>' if len(self) > _SHOWN else ""
        head = "<tr><th></th><th>File</th><th>Predicted</th><th></th></tr>"
        return (
            f'{STYLE}<div class="pneumo"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>{more}'
            f'<p class="soft">{html.escape(DISCLAIMER)}</p></div>'
        )

    def _classes(self) -> int:
        if not self._outputs.classes:
            raise UsageError(f"the model predicts {', '.join(self._outputs.units)}, and no classes")
        return len(self._outputs.classes)

    def _row(self, one: Prediction) -> dict[str, Any]:
        outputs, right = self._outputs, not one.error
        row: dict[str, Any] = {"file": str(one.file)}
        if outputs.classes:
            shares = one.probabilities or (None,) * len(outputs.classes)
            row["predicted"] = ", ".join(one.predicted) if right else None
            row |= {f"probability_{name}": share for name, share in zip(outputs.classes, shares, strict=True)}
            row["out_of_distribution"] = one.out_of_distribution if right else None
        row |= {name: one.numbers.get(name) for name in outputs.numbers}
        row |= {f"{name}_area": one.areas.get(name) for name in outputs.masks}
        return {**row, "note": "; ".join(one.doubts), "error": one.error}
