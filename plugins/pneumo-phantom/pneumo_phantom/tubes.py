"""Curves, and tubes along them as strokes: ribs apart, all that is long and round in a chest or on it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.canvas import Canvas, Field, Strokes


class CentreLines(NamedTuple):
    """Centre lines of tubes, each [tubes, points]: places, unit normals, and the length that a point stands for."""

    x: Field
    y: Field
    normal_x: Field
    normal_y: Field
    length: Field


def centre_lines(curves: Field) -> CentreLines:
    """The centre lines along curves [tubes, points, 2]."""
    along = differences(curves)
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    normal_x, normal_y = along[..., 1] / length, along[..., 0] / length
    # The end points carry half a step.
    length[:, 0] *= 0.5
    length[:, -1] *= 0.5
    return CentreLines(curves[..., 0], curves[..., 1], -normal_x, normal_y, length)


def tube(
    curves: Field, radius: Field | float, strength: Field | float, canvas: Canvas, hollow: float = 0.0
) -> Strokes:
    """Strokes of tubes seen from the side.

    Args:
        curves: centre lines [tubes, points, 2].
        radius: in patient units, broadcast to [tubes, points].
        strength: attenuation in the middle of the tube, broadcast likewise.
        canvas: determines the number of points across.
        hollow: 0 a solid cylinder, 1 a thin wall (bright along both edges).
    """
    return tube_along(centre_lines(curves), radius, strength, canvas, hollow)


def tube_along(
    lines: CentreLines, radius: Field | float, strength: Field | float, canvas: Canvas, hollow: float = 0.0
) -> Strokes:
    """The same, of tubes whose centre lines are known: several may have them in common."""
    radius = np.asarray(radius, np.float32)
    # Two points across suffice below a pixel; a wall needs a third between its edges.
    count = min(max(3 if hollow else 2, canvas.sample_count(2 * float(radius.max()), 0.9)), 40)
    across, profile = _cross_section(count, hollow)
    offset = across * radius[..., None]
    x = lines.normal_x[..., None] * offset
    x += lines.x[..., None]
    y = lines.normal_y[..., None] * offset
    y += lines.y[..., None]
    share = (lines.length * radius * np.float32(2.0 / count) * strength)[..., None]
    mass = np.empty(x.shape, np.float32)
    np.multiply(share, profile, out=mass, casting="same_kind")
    return Strokes(x.ravel(), y.ravel(), mass.ravel())


@lru_cache(maxsize=512)
def _cross_section(count: int, hollow: float) -> tuple[Field, Field]:
    """``count`` places across a tube, -1 to 1, and the path through it there; see :func:`tube`."""
    across = ((np.arange(count) + 0.5) * (2.0 / count) - 1.0).astype(np.float32)
    solid = np.sqrt(1 - across**2)
    wall = np.where(np.abs(across) > 0.6, 1.6, 0.5)
    return across, ((1 - hollow) * solid + hollow * wall).astype(np.float32)


def differences(curves: Field) -> Field:
    """Central differences along axis 1, one-sided at the ends."""
    along = np.empty_like(curves)
    along[:, 1:-1] = 0.5 * (curves[:, 2:] - curves[:, :-2])
    along[:, 0] = curves[:, 1] - curves[:, 0]
    along[:, -1] = curves[:, -1] - curves[:, -2]
    return along


@lru_cache(maxsize=512)
def _bernstein(degree: int, count: int) -> Field:
    """Bernstein polynomials at ``count`` even steps, [degree + 1, count]."""
    t = np.linspace(0, 1, count)
    basis = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
    return np.stack(basis).astype(np.float32)


def bezier(points: NDArray[np.floating], count: int) -> Field:
    """Curves [curves, count, 2] of the Bezier control points [curves, degree + 1, 2]."""
    control = np.asarray(points, np.float32)
    basis = _bernstein(control.shape[1] - 1, count)
    return np.asarray(np.einsum("kt,ckd->ctd", basis, control), np.float32)
