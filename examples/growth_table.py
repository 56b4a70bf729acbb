"""The costs of tasks by their size, as a table and as a figure: of ``measure_growth.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Cost(NamedTuple):
    """Processor seconds, and MiB above the memory before."""

    seconds: float
    mebibytes: float


Costs: TypeAlias = Mapping[str, Mapping[int, Cost]]
"""By the title of a task, and its size."""


def slope(costs: Mapping[int, float], least: float) -> str:
    """The exponent between the two largest sizes; empty: there is one only, or it is too small to tell.

    Args:
        least: what can be told.
    """
    sizes = sorted(costs)[-2:]
    if len(sizes) < 2 or min(costs[size] for size in sizes) < least:
        return ""
    return f"{math.log(costs[sizes[1]] / costs[sizes[0]]) / math.log(sizes[1] / sizes[0]):.2f}"


def markdown(costs: Costs, sizes: Sequence[int]) -> str:
    """The table: seconds at each size, MiB at the largest one, and the exponents of both."""
    head = ["", *(f"{size:,}" for size in sizes), "time grows by", "memory at the last", "grows by"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for title, by_size in costs.items():
        cells = [f"{by_size[size].seconds:.2f} s" if size in by_size else "" for size in sizes]
        cells += [
            slope({size: cost.seconds for size, cost in by_size.items()}, 0.02),
            f"{by_size[max(by_size)].mebibytes:,.0f} MiB",
            slope({size: cost.mebibytes for size, cost in by_size.items()}, 2),
        ]
        lines.append(f"| {' | '.join([title, *cells])} |")
    return "\n".join(lines)


def put(table: str, page: Path, heading: str) -> None:
    """Replace the first table below a heading of a page.

    Raises:
        ValueError: there is no such heading, or no table below it.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    start = lines.index(heading)
    first = next((place for place in range(start, len(lines)) if lines[place].startswith("|")), None)
    if first is None:
        raise ValueError(f"{page} has no table below {heading!r}")
    end = next((place for place in range(first, len(lines)) if not lines[place].startswith("|")), len(lines))
    page.write_text("\n".join([*lines[:first], table, *lines[end:]]) + "\n", encoding="utf-8")


def _short(value: float) -> str:
    """``10 k`` for 10,000, ``1 M`` for a million."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def draw(costs: Costs, file: Path) -> None:
    """Draw processor time and memory by size, both on logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    from pneumo_cli.reports.figures.style import CLASS_COLOURS, save, styled

    @styled
    def curves() -> Figure:
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for place, (title, by_size) in enumerate(costs.items()):
            sizes = sorted(by_size)
            look = {
                "color": CLASS_COLOURS[place % len(CLASS_COLOURS)],
                "marker": "os^"[place // len(CLASS_COLOURS)],
                "linestyle": ("-", "--", ":")[place // len(CLASS_COLOURS)],
            }
            axes[0].plot(sizes, [by_size[size].seconds for size in sizes], label=title, **look)
            axes[1].plot(sizes, [by_size[size].mebibytes for size in sizes], **look)
        for one, what in zip(axes, ("Processor time (s)", "Memory (MiB)"), strict=True):
            one.set(xscale="log", yscale="log", xlabel="Images, predictions or runs", ylabel=what)
            one.set_xticks(sorted({size for by_size in costs.values() for size in by_size}))
            for axis in (one.xaxis, one.yaxis):  # not as powers, which the house style does not typeset
                axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        figure.legend(loc="outside lower center", ncols=3)
        return figure

    file.parent.mkdir(parents=True, exist_ok=True)
    save(curves(), file)
