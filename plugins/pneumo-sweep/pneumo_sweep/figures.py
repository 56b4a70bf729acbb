"""The figures of a sweep: curves of all trials in one axes, the metric against each tried setting, importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.epochs import Entry, epoch_axis, line_width, say_empty, series
from pneumo_cli.reports.figures.style import (
    BLUE,
    CLASS_COLOURS,
    FAINT,
    VERMILLION,
    column_figure,
    line_labels,
    panels,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_LISTED = len(CLASS_COLOURS)
"""Values of a setting up to which each has a colour of its own; more are shades of one scale."""
_WIDE = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
MOST_SETTINGS = 9


@dataclass(frozen=True)
class Curve:
    """The history of a trial, its value of the setting that gives the colour, and whether it won."""

    history: Sequence[Entry]
    value: Any
    best: bool


@styled
def curves(trials: Sequence[Curve], setting: str, metrics: Sequence[tuple[str, str]]) -> Figure:
    """Metrics by epoch of all trials, on the width of a page.

    Args:
        trials: in any order; the best one is drawn last, thicker.
        setting: that gives the colours.
        metrics: pairs of side (``train`` or ``validation``) and name, one panel each.
    """
    figure, grid = panels(len(metrics), 0.4)
    colours = _Colours([trial.value for trial in trials])
    for axes, (side, metric) in zip(grid, metrics, strict=False):
        epochs: list[int] = []
        for trial in sorted(trials, key=lambda one: one.best):
            values = series(trial.history, side, metric)
            if not np.isfinite(values).any():
                continue
            own = [int(entry["epoch"]) for entry in trial.history]
            epochs += own
            axes.plot(
                own,
                values,
                color=colours.of(trial.value),
                linewidth=line_width(len(own)) * (1.7 if trial.best else 0.8),
                marker="o" if len(own) < 3 else None,
                label=f"{setting} {shortened(str(trial.value), 24)}" if colours.listed else "_",
            )
        label = metric_label(metric)
        axes.set_ylabel(f"{label.label} ({'training' if side == 'train' else 'validation'})")
        if not axes.lines:
            say_empty(axes)
        elif metric == "loss":
            _without_outliers(axes)
        epoch_axis(axes, epochs)
    if colours.listed:
        lines = line_labels(grid)
        ordered = sorted(lines, key=[f"{setting} {shortened(str(v), 24)}" for v in colours.values].index)
        handles = [lines[name] for name in ordered]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)) or 1)
    else:
        bar = figure.colorbar(colours.scale(), ax=list(grid[: len(metrics)]), pad=0.01, aspect=25)
        bar.set_label(setting)
        if _is_wide(colours.values):
            _plain_powers(bar.ax.yaxis)
    return figure


def _without_outliers(axes: Axes) -> None:
    """Cut a loss that explodes in one trial, so that the others can be told apart."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    values = values[np.isfinite(values)]
    low, high = values.min(), np.quantile(values, 0.9)
    if values.max() > low + 4 * (high - low):
        axes.set_ylim(low - 0.05 * (high - low), low + 1.6 * (high - low))


class _Colours:
    """Colours of a setting's values: one each, or shades of one scale for many numbers."""

    def __init__(self, values: Sequence[Any]) -> None:
        distinct = list(dict.fromkeys(values))
        numbers = _are_numbers(distinct)
        self.values = sorted(distinct) if numbers else distinct
        self.listed = len(self.values) <= _LISTED or not numbers

    def of(self, value: Any) -> Any:
        if self.listed:
            return CLASS_COLOURS[self.values.index(value) % len(CLASS_COLOURS)]
        return self.scale().to_rgba(value)

    def scale(self) -> Any:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LogNorm, Normalize

        norm = LogNorm if _is_wide(self.values) else Normalize
        return ScalarMappable(norm(self.values[0], self.values[-1]), "viridis")


@styled
def settings_scatter(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, bool], metric: str, best: int
) -> Figure:
    """The metric of each trial against its value of each setting.

    Args:
        rows: of trials with a value: ``trial``, ``settings``, ``value``, ``state``.
        names: settings, one panel each, and whether its values were listed: then they stand side by side.
        best: the number of the winner.
    """
    figure, grid = _scatter_panels(len(names))
    label = metric_label(metric)
    for place, (axes, name) in enumerate(zip(grid, names, strict=False)):
        values = [row["settings"][name] for row in rows]
        numbers = _are_numbers(values)
        listed = sorted(set(values)) if numbers else sorted(set(map(str, values)))
        few = names[name] and len(listed) <= _LISTED
        at = (
            [listed.index(value if numbers else str(value)) for value in values]
            if few or not numbers
            else values
        )
        for row, x in zip(rows, at, strict=True):
            won = row["trial"] == best
            pruned = row["state"] != "finished"
            colour = VERMILLION if won else FAINT if pruned else BLUE
            axes.plot(
                [x],
                [row["value"] * label.scale],
                marker="D" if won else "o",
                markersize=5 if won else 4,
                color=colour,
                markerfacecolor="white" if pruned else colour,
                linestyle="none",
                zorder=3 if won else 2,
                label="winner" if won else "pruned" if pruned else "trial",
            )
        if few or not numbers:
            axes.set_xticks(
                range(len(listed)), [shortened(str(value), max(6, 30 // len(listed))) for value in listed]
            )
            axes.set_xlim(-0.5, len(listed) - 0.5)
            axes.grid(False, axis="x")
        elif _is_wide(listed):
            axes.set_xscale("log")
            _plain_powers(axes.xaxis)
        axes.set_xlabel(name)
        if place % 3 == 0:
            axes.set_ylabel(f"{label.label} (validation)")
    figure.legend(handles=[*line_labels(grid).values()], loc="outside upper center", ncols=3)
    return figure


@styled
def importance_bars(shares: Mapping[str, float]) -> Figure:
    """The importance of each setting, the largest on top."""
    figure, axes = column_figure(0.6 + 0.24 * len(shares))
    ordered = sorted(shares.items(), key=lambda one: one[1])
    axes.barh(range(len(ordered)), [share for _, share in ordered], color=BLUE, height=0.6)
    axes.set_yticks(range(len(ordered)), [shortened(name, 24) for name, _ in ordered])
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Importance (shares of 1)")
    return figure


def _scatter_panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    if count > 1:
        figure, grid = panels(count, 0.35)
        return figure, list(grid)
    figure, axes = column_figure(2.2)
    return figure, [axes]


def _plain_powers(axis: Axis) -> None:
    """Label powers of ten as numbers: the house style reads no formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _is_wide(values: Sequence[Any]) -> bool:
    return bool(min(values) > 0 and max(values) / min(values) >= _WIDE)
