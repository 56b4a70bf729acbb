"""The figure of predicted against stated numbers. Imports matplotlib only when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def agreement(stated: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> Figure:
    """A scatter plot, both [N]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(stated, predicted, s=8, alpha=0.6)
    ends = [np.nanmin(stated), np.nanmax(stated)]
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(xlabel="stated age (years)", ylabel="predicted age (years)")
    return figure
