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


def slope(costs: Mapping[int, float]) -> float | None:
    """The exponent between the two largest sizes; None: there is one only, or times are too short to tell."""
    sizes = sorted(costs)[-2:]
    if len(sizes) < 2 or min(costs[size] for size in sizes) <= 0:
        return None
    return math.log(costs[sizes[1]] / costs[sizes[0]]) / math.log(sizes[1] / sizes[0])


def markdown(costs: Costs, sizes: Sequence[int]) -> str:
    """The table: seconds and MiB at each size, the exponent, and bytes per record at the largest size."""
    head = ["", *(f"{size:,}" for size in sizes), "exponent", "bytes each"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(sizes) + 2)]
    for title, by_size in costs.items():
        cells = [f"{by_size[size].seconds:.2f} s, {by_size[size].mebibytes:,.0f} MiB" if size in by_size else ""
                 for size in sizes]  # fmt: skip
        found, most = slope({size: cost.seconds for size, cost in by_size.items()}), max(by_size)
        each = f"{by_size[most].mebibytes * 2**20 / most:,.0f}"
        lines.append(f"| {' | '.join([title, *cells, f'{found:.2f}' if found else '', each])} |")
    return "\n".join(lines)


def draw(costs: Costs, file: Path) -> None:
    """Draw processor time and memory by size, both on logarithmic axes."""
    from matplotlib.figure import Figure

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
        figure.legend(loc="outside lower center", ncols=3)
        return figure

    file.parent.mkdir(parents=True, exist_ok=True)
    save(curves(), file)
