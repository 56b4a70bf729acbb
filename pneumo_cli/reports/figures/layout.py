"""The constrained layout at half its price.

Matplotlib measures every tick label, label and legend twice, the second time after it has moved the axes. What
surrounds axes hardly changes with their place: the first measurement is used again.

Imports matplotlib: only for functions that draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox


def measure_once(figure: Figure) -> None:
    """Let a figure with a constrained layout have the same one, cheaper."""
    engine = figure.get_layout_engine()
    if type(engine) is ConstrainedLayoutEngine and not getattr(engine, "_compress", False):
        figure.set_layout_engine(MeasuredOnce(**engine.get()))


class MeasuredOnce(ConstrainedLayoutEngine):
    """The constrained layout with one measurement of what surrounds each axes."""

    def execute(self, fig: Figure) -> Any:
        with ExitStack() as measured:
            for axes in fig.axes:
                measured.enter_context(_measured_once(axes))
            return super().execute(fig)


@contextmanager
def _measured_once(axes: Axes) -> Iterator[None]:
    """Measure the margins of axes at the first call of ``get_tightbbox`` only."""
    measure = axes.get_tightbbox
    margins: list[float] = []

    def tight(*args: Any, **kwargs: Any) -> Bbox | None:
        if not margins:
            around = measure(*args, **kwargs)
            if around is None:
                return None
            box = axes.bbox
            margins.extend((around.x0 - box.x0, around.y0 - box.y0, around.x1 - box.x1, around.y1 - box.y1))
            return around
        axes.apply_aspect()
        box = axes.bbox
        return Bbox([[box.x0 + margins[0], box.y0 + margins[1]], [box.x1 + margins[2], box.y1 + margins[3]]])

    axes.get_tightbbox = tight  # type: ignore[method-assign]
    try:
        yield
    finally:
        del axes.get_tightbbox
