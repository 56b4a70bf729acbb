"""The image plane: patient coordinates of every pixel, smooth fields, and strokes that are rasterized to fields.

Patient coordinates have their origin in the middle of the chest, x to the patient's left (the image's
right), y downwards; the unit is half the width of the thorax, about 8 cm in a small child. A *field* is a
float32 array [size, size]. All edges are smooth over at least a pixel, so a field rendered at a small size equals
a large one after downsampling. Nothing here depends on anatomy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of the patient: maps patient coordinates to image coordinates (-1 to 1 on both axes)."""

    scale_x: float
    scale_y: float
    angle: float
    shift_x: float
    shift_y: float


class Strokes(NamedTuple):
    """Points with their attenuation (path length times coefficient times area), each [N]."""

    x: Field
    y: Field
    mass: Field


class Canvas:
    """A grid of ``size`` x ``size`` pixels under a placement.

    Attributes:
        x, y: patient coordinates of the pixel centres, fields.
        pixel: width of a pixel in patient units.
    """

    def __init__(self, size: int, placement: Placement) -> None:
        self.size = size
        self.placement = placement
        self._cos, self._sin = math.cos(placement.angle), math.sin(placement.angle)
        centres = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
        across = (centres - np.float32(placement.shift_x))[None, :]
        down = (centres - np.float32(placement.shift_y))[:, None]
        self.x: Field = (self._cos * across + self._sin * down) * np.float32(1 / placement.scale_x)
        self.y: Field = (self._cos * down - self._sin * across) * np.float32(1 / placement.scale_y)
        self.pixel = 2.0 / size / math.sqrt(placement.scale_x * placement.scale_y)

    def sample_count(self, length: float, spacing: float = 1.0) -> int:
        """Number of points that a stroke of ``length`` patient units needs to appear continuous."""
        return max(2, math.ceil(length / (spacing * self.pixel)))

    def rasterize(self, strokes: Iterable[Strokes]) -> Field:
        """Sum strokes to a field of attenuation; each point is distributed bilinearly over four pixels."""
        parts = list(strokes)
        if not parts:
            return np.zeros((self.size, self.size), np.float32)
        x, y, mass = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        placed_x, placed_y = x * np.float32(self.placement.scale_x), y * np.float32(self.placement.scale_y)
        half = np.float32(self.size / 2)
        # A margin of one pixel on each side receives points that are half outside.
        column = (
            self._cos * placed_x - self._sin * placed_y + np.float32(self.placement.shift_x + 1)
        ) * half + 0.5
        row = (
            self._sin * placed_x + self._cos * placed_y + np.float32(self.placement.shift_y + 1)
        ) * half + 0.5
        width = self.size + 2
        inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < width - 1)
        column, row = column[inside], row[inside]
        mass = mass[inside] * np.float32(1 / self.pixel**2)
        # bincount's own integer type, to which it would convert anything else four times.
        left, top = column.astype(np.intp), row.astype(np.intp)
        column -= left.astype(np.float32)
        row -= top.astype(np.float32)
        first = top * width + left
        right = mass * column
        left_mass = mass - right
        total = np.zeros(width * width)
        for offset, share in (
            (0, left_mass * (1 - row)),
            (1, right * (1 - row)),
            (width, left_mass * row),
            (width + 1, right * row),
        ):
            total[offset:] += np.bincount(first, share, minlength=width * width)[: width * width - offset]
        return total.reshape(width, width)[1:-1, 1:-1].astype(np.float32)


def smoothstep(signed: Field, softness: float) -> Field:
    """A smooth edge: 0 where the signed distance is below ``-softness``, 1 where it is above ``+softness``."""
    ramp = np.asarray(signed * np.float32(0.5 / softness), np.float32)
    ramp += np.float32(0.5)
    np.minimum(np.maximum(ramp, 0, out=ramp), 1, out=ramp)
    smooth = 3 - 2 * ramp
    smooth *= ramp
    smooth *= ramp
    return smooth


def distance(across: Field, down: Field) -> Field:
    """Euclidean norm; several times as fast as ``np.hypot``, whose overflow handling is not needed here."""
    return np.asarray(np.sqrt(across * across + down * down), np.float32)


def saturate(field: Field, ceiling: float) -> Field:
    """Saturate a field exponentially at ``ceiling``, so that crossing strokes do not add up to a blot."""
    return np.asarray(np.float32(ceiling) * (1 - np.exp(field * np.float32(-1 / ceiling))), np.float32)


def gaussian(squared_radius: Field) -> Field:
    """exp(-r**2)."""
    return np.asarray(np.exp(np.maximum(-squared_radius, -30)), np.float32)


def chord(ratio: Field) -> Field:
    """Chord of a disc at ``ratio`` of its radius, relative to the diameter; 0 outside."""
    return np.asarray(np.sqrt(np.maximum(1 - ratio * ratio, 0)), np.float32)


class Profile:
    """Catmull-Rom spline through given points, constant outside them."""

    _LOW, _HIGH, _CELLS = -2.5, 2.5, 500

    def __init__(self, at: ArrayLike, values: ArrayLike) -> None:
        grid = np.linspace(self._LOW, self._HIGH, self._CELLS + 1)
        knots, heights = np.asarray(at, float), np.asarray(values, float)
        slopes = np.gradient(heights, knots)
        slopes[0] = slopes[-1] = 0
        cell = np.clip(np.searchsorted(knots, grid) - 1, 0, len(knots) - 2)
        width = knots[cell + 1] - knots[cell]
        t = np.clip((grid - knots[cell]) / width, 0, 1)
        self._table = (
            (1 + 2 * t) * (1 - t) ** 2 * heights[cell]
            + t * (1 - t) ** 2 * width * slopes[cell]
            + t**2 * (3 - 2 * t) * heights[cell + 1]
            + t**2 * (t - 1) * width * slopes[cell + 1]
        ).astype(np.float32)

    def __call__(self, at: Field) -> Field:
        """Values at ``at``, of any shape."""
        scale = self._CELLS / (self._HIGH - self._LOW)
        place = np.clip((at - np.float32(self._LOW)) * np.float32(scale), 0, np.float32(self._CELLS - 1e-3))
        whole = np.floor(place)
        place -= whole
        cell = whole.astype(np.intp)
        low = self._table.take(cell)
        return np.asarray(low + (self._table.take(cell + 1) - low) * place, np.float32)


class Texture:
    """Smooth value noise in patient coordinates: zero mean, about unit standard deviation.

    Args:
        rng: for the lattice.
        grain: size of the features in patient units.
    """

    _CELLS = 64  # a power of two: the lattice repeats by bit masks

    def __init__(self, rng: np.random.Generator, grain: float) -> None:
        lattice = rng.standard_normal((self._CELLS, self._CELLS), np.float32)
        # First row and column are repeated at the end, so that the neighbour is always one index further.
        self._lattice = np.pad(lattice, (0, 1), mode="wrap").ravel()
        self._scale = np.float32(1 / grain)

    def __call__(self, x: Field, y: Field) -> Field:
        u, v = x * self._scale + 4096, y * self._scale + 4096
        whole_u, whole_v = np.floor(u), np.floor(v)
        u -= whole_u
        v -= whole_v
        u *= u * (3 - 2 * u)
        v *= v * (3 - 2 * v)
        last, row = self._CELLS - 1, self._CELLS + 1
        corner = (whole_v.astype(np.intp) & last) * row + (whole_u.astype(np.intp) & last)
        corners = [self._lattice.take(corner + offset) for offset in (0, 1, row, row + 1)]
        upper = corners[0] + (corners[1] - corners[0]) * u
        lower = corners[2] + (corners[3] - corners[2]) * u
        # 1.5 compensates for the variance lost in interpolation.
        return np.asarray((upper + (lower - upper) * v) * np.float32(1.5), np.float32)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur of ``sigma`` pixels with mirrored borders; a sum of shifts, to be independent of the BLAS."""
    reach = max(1, math.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    rows, columns = field.shape
    for axis, length in ((0, rows), (1, columns)):
        padding = ((reach, reach), (0, 0)) if axis == 0 else ((0, 0), (reach, reach))
        padded = np.pad(np.asarray(field, np.float32), padding, mode="symmetric")
        shifts = [
            padded[k : k + length] if axis == 0 else padded[:, k : k + length] for k in range(2 * reach + 1)
        ]
        field = weights[reach] * shifts[reach]
        pair = np.empty_like(field)
        for k in range(reach):
            np.add(shifts[k], shifts[-1 - k], out=pair)
            pair *= weights[k]
            field += pair
    return field


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
    radius = np.broadcast_to(np.asarray(radius, np.float32), curves.shape[:2])
    along = differences(curves)
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    # The end points carry half a step.
    length_share = length.copy()
    length_share[:, 0] *= 0.5
    length_share[:, -1] *= 0.5
    # Two points across suffice below a pixel; a wall needs a third between its edges.
    count = min(max(3 if hollow else 2, canvas.sample_count(2 * float(radius.max()), 0.9)), 40)
    across = ((np.arange(count) + 0.5) * (2.0 / count) - 1.0).astype(np.float32)
    solid = np.sqrt(1 - across**2)
    wall = np.where(np.abs(across) > 0.6, 1.6, 0.5)
    profile = ((1 - hollow) * solid + hollow * wall).astype(np.float32)
    offset = across * radius[..., None]
    x = curves[..., 0, None] - (along[..., 1] / length)[..., None] * offset
    y = curves[..., 1, None] + (along[..., 0] / length)[..., None] * offset
    mass = (length_share * radius * np.float32(2.0 / count) * strength)[..., None] * profile
    return Strokes(*(np.ascontiguousarray(part, np.float32).ravel() for part in (x, y, mass)))


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
