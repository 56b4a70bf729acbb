"""What a task's ``evaluate`` hook returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class NamedFigure:
    """A figure that is drawn only if somebody wants it.

    Attributes:
        name: the file's stem, lower-case words joined by ``-``.
        caption: one or two sentences for the report.
        draw: makes the matplotlib figure.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Evaluation:
    """The result of one pass over one split.

    Attributes:
        metrics: name to value; ``loss`` among them.
        figures: drawn and kept only where the pass is reported.
        outputs: per-image values by name, each [N] in the order of ``outputs["index"]``, the images' positions
            in the dataset's records.
    """

    metrics: Mapping[str, float]
    figures: tuple[NamedFigure, ...] = ()
    outputs: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)


def plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as JSON can hold them."""
    return {name: float(value) for name, value in metrics.items()}
