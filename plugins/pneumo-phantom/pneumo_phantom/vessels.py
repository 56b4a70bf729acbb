"""The branching trees of the lungs: arteries and veins, and the airways that run along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.anatomy import HILA
from pneumo_phantom.canvas import Canvas, Field, Strokes, steps
from pneumo_phantom.tubes import CentreLines, bezier, centre_lines, tube_along


@dataclass(frozen=True)
class Tree:
    """Branches as quadratic Bezier curves.

    Attributes:
        control: [branches, 3, 2] control points.
        radius: [branches, 2] at start and end.
        generation: [branches], 0 at the hilum.
    """

    control: NDArray[np.float64]
    radius: NDArray[np.float64]
    generation: NDArray[np.int64]

    def branches(self, canvas: Canvas) -> Branches:
        """The tree as seen on a canvas."""
        lines, widths = [], []
        for generation in range(int(self.generation.max()) + 1):
            chosen = self.generation == generation
            control, radius = self.control[chosen], self.radius[chosen]
            reach = np.hypot(*(control[:, 2] - control[:, 0]).T).max()
            count = canvas.sample_count(float(reach), 1.2)
            lines.append(centre_lines(bezier(control, count)))
            widths.append(radius[:, :1] + (radius[:, 1:] - radius[:, :1]) * steps(0, 1, count))
        return Branches(canvas, tuple(lines), tuple(widths))


@dataclass(frozen=True)
class Branches:
    """A tree on a canvas: centre lines and radii [branches, points] of each generation, from the hilum on."""

    canvas: Canvas
    lines: tuple[CentreLines, ...]
    radius: tuple[Field, ...]

    def strokes(
        self, strength: float, widening: float = 1.0, hollow: float = 0.0, last: int | None = None
    ) -> list[Strokes]:
        """The branches as tubes, a generation each; ``strength`` is the attenuation per unit of diameter.

        ``last`` is the last generation that is drawn; None: all are.
        """
        drawn = slice(None if last is None else last + 1)
        return [
            tube_along(lines, widening * radius, 2 * strength * radius, self.canvas, hollow)
            for lines, radius in zip(self.lines[drawn], self.radius[drawn], strict=True)
        ]


def grow_tree(rng: np.random.Generator, generations: int = 5, stems: int = 10) -> Tree:
    """Grow the trees of both lungs: ``stems`` branches fan out from each hilum, and each divides in two."""
    controls, radii, levels = [], [], []
    starts, angles, widths, lengths = [], [], [], []
    for side, hilum in zip((-1, 1), HILA, strict=True):
        # From nearly straight up, round the outside, down along the heart; more of them in the lower lobes.
        fan = np.linspace(-1.25, 1.42, stems) + 0.14 * rng.standard_normal(stems)
        root = np.stack([side * 0.04 * np.cos(fan), 0.13 * np.sin(fan)], 1)
        starts.append(np.asarray(hilum) + root + 0.03 * rng.standard_normal((stems, 2)))
        angles.append(np.where(side > 0, fan, np.pi - fan))
        widths.append(rng.uniform(0.017, 0.028, stems) * (1 + 0.15 * np.sin(fan)))
        lengths.append(rng.uniform(0.20, 0.34, stems) * (1 + 0.25 * np.sin(fan)))
    start, angle = np.concatenate(starts), np.concatenate(angles)
    width, length = np.concatenate(widths), np.concatenate(lengths)
    for generation in range(generations):
        bend = 0.22 * rng.standard_normal(len(start))
        half = 0.5 * length[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        after = angle + bend
        end = start + half + 0.5 * length[:, None] * np.stack([np.cos(after), np.sin(after)], 1)
        controls.append(np.stack([start, start + half, end], 1))
        radii.append(np.stack([width, 0.80 * width], 1))
        levels.append(np.full(len(start), generation))
        # Of two branches one continues, the other leaves at a wider angle.
        turn = np.where(rng.random(len(start)) < 0.5, -1, 1)
        minor = rng.uniform(0.35, 0.85, len(start))
        angle = np.concatenate([after - 0.25 * turn * minor, after + turn * minor])
        start = np.concatenate([end, end])
        width = np.concatenate([0.80 * width, 0.68 * width])
        length = np.concatenate([0.82 * length, 0.70 * length]) * rng.uniform(0.75, 1.2, 2 * len(minor))
    return Tree(np.concatenate(controls), np.concatenate(radii), np.concatenate(levels))
