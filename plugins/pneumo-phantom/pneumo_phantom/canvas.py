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
from typing import Any, NamedTuple

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
        centres = pixel_centres(size)
        across = (centres - np.float32(placement.shift_x))[None, :]
        down = (centres - np.float32(placement.shift_y))[:, None]
        self.x: Field = (self._cos * across + self._sin * down) * np.float32(1 / placement.scale_x)
        self.y: Field = (self._cos * down - self._sin * across) * np.float32(1 / placement.scale_y)
        self.pixel = 2.0 / size / math.sqrt(placement.scale_x * placement.scale_y)

    def sample_count(self, length: float, spacing: float = 1.0) -> int:
        """Number of points that a stroke of ``length`` patient units needs to appear continuous."""
        return max(2, math.ceil(length / (spacing * self.pixel)))

    def window(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns that hold every pixel within these patient coordinates, at least; may be empty."""
        x, y = 0.5 * (left + right) * self.placement.scale_x, 0.5 * (top + bottom) * self.placement.scale_y
        half_x, half_y = (
            0.5 * abs(right - left) * self.placement.scale_x,
            0.5 * (bottom - top) * self.placement.scale_y,
        )
        cosine, sine = abs(self._cos), abs(self._sin)
        row = self._sin * x + self._cos * y + self.placement.shift_y
        column = self._cos * x - self._sin * y + self.placement.shift_x
        return (
            self._reach(row, sine * half_x + cosine * half_y),
            self._reach(column, cosine * half_x + sine * half_y),
        )

    def _reach(self, middle: float, reach: float) -> slice:
        """The pixels of an axis within ``reach`` of a place, in image coordinates, and two more on both sides."""
        first, last = (int((middle + 1 + end) * self.size / 2) for end in (-reach, reach))
        return slice(min(max(first - 2, 0), self.size), min(max(last + 3, 0), self.size))

    def rasterize(self, strokes: Iterable[Strokes]) -> Field:
        """Sum strokes to a field of attenuation; each point is distributed bilinearly over four pixels."""
        parts = list(strokes)
        if not parts:
            return np.zeros((self.size, self.size), np.float32)
        x, y, mass = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        x, y = x * np.float32(self.placement.scale_x), y * np.float32(self.placement.scale_y)
        half = np.float32(self.size / 2)
        # In place, since memory for new arrays would take as long as the arithmetic. A margin of one pixel on each
        # side receives points that are half outside.
        column = self._cos * x
        column -= self._sin * y
        column += np.float32(self.placement.shift_x + 1)
        column *= half
        column += 0.5
        x *= self._sin
        y *= self._cos
        x += y
        x += np.float32(self.placement.shift_y + 1)
        x *= half
        x += 0.5
        row = x
        width = self.size + 2
        inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < width - 1)
        total = np.zeros(width * width)
        if not inside.all():
            kept = np.flatnonzero(inside)
            if not len(kept):
                return total.reshape(width, width)[1:-1, 1:-1].astype(np.float32)
            column, row, mass = column.take(kept), row.take(kept), mass.take(kept)
        mass = mass * np.float32(1 / self.pixel**2)
        left, top = np.floor(column), np.floor(row)
        column -= left
        row -= top
        top *= np.float32(width)  # whole numbers, far below the 2**24 from which float32 would round them
        top += left
        # bincount's own integer type, to which it would convert anything else four times.
        first = top.astype(np.intp)
        start = int(first.min())  # strokes often cover a small part of the image
        first -= start
        right = mass * column
        left_mass = mass - right
        above = 1 - row
        share = np.empty_like(mass)
        for offset, part, height in (
            (0, left_mass, above),
            (1, right, above),
            (width, left_mass, row),
            (width + 1, right, row),
        ):
            sums = np.bincount(first, np.multiply(part, height, out=share))
            total[start + offset : start + offset + len(sums)] += sums
        return total.reshape(width, width)[1:-1, 1:-1].astype(np.float32)


@lru_cache(maxsize=16)
def pixel_centres(size: int) -> Field:
    """Places of the pixels of an axis in image coordinates, [size]; read-only."""
    return read_only(((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32))


@lru_cache(maxsize=512)
def steps(low: float, high: float, count: int) -> NDArray[np.float64]:
    """``np.linspace``, read-only."""
    return read_only(np.linspace(low, high, count))


def read_only(field: NDArray[Any]) -> NDArray[Any]:
    """The same array, which nobody can change any more, for a cache."""
    field.setflags(write=False)
    return field


def smoothstep(signed: Field, softness: float) -> Field:
    """A smooth edge: 0 where the signed distance is below ``-softness``, 1 where it is above ``+softness``."""
    ramp = np.asarray(signed * np.float32(0.5 / softness), np.float32)
    ramp += np.float32(0.5)
    np.minimum(np.maximum(ramp, 0, out=ramp), 1, out=ramp)
    smooth = -2 * ramp
    smooth += 3
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
        cell, basis, slope = _hermite(
            tuple(np.asarray(at, float).tolist()), self._LOW, self._HIGH, self._CELLS
        )
        heights = np.asarray(values, float)
        slopes = np.zeros_like(heights)  # 0 at both ends
        slopes[1:-1] = slope[0] * heights[:-2] + slope[1] * heights[1:-1] + slope[2] * heights[2:]
        self._table = (
            basis[0] * heights[cell]
            + basis[1] * slopes[cell]
            + basis[2] * heights[cell + 1]
            + basis[3] * slopes[cell + 1]
        ).astype(np.float32)
        self._rise = np.diff(self._table)

    @classmethod
    def places(cls, at: Field) -> tuple[NDArray[np.intp], Field]:
        """Where ``at`` is in the table of every profile: the cell, and the share of it, both shaped as ``at``."""
        place = (at - np.float32(cls._LOW)) * np.float32(cls._CELLS / (cls._HIGH - cls._LOW))
        place = np.minimum(np.maximum(place, 0), np.float32(cls._CELLS - 1e-3))
        cell = np.floor(place)
        place -= cell
        return cell.astype(np.intp), place

    def __call__(self, at: Field) -> Field:
        """Values at ``at``, of any shape."""
        return self.at(*self.places(at))

    def at(self, cell: NDArray[np.intp], share: Field) -> Field:
        """Values at some :meth:`places`, which several profiles may have in common."""
        values: Field = self._rise.take(cell)
        values *= share
        values += self._table.take(cell)
        return values


@lru_cache(maxsize=64)
def _hermite(
    knots: tuple[float, ...], low: float, high: float, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """What a spline through values at ``knots`` has in common with every other one.

    Returns:
        the interval of each of the ``cells + 1`` points from ``low`` to ``high``; the factors of the values at its
        ends and of the slopes there, [4, cells + 1]; the factors of three values in the slope at the middle one,
        [3, knots - 2], as in ``np.gradient``.
    """
    at, grid = np.array(knots), np.linspace(low, high, cells + 1)
    cell = np.clip(np.searchsorted(at, grid) - 1, 0, len(at) - 2)
    width = at[cell + 1] - at[cell]
    t = np.clip((grid - at[cell]) / width, 0, 1)
    basis = (
        (1 + 2 * t) * (1 - t) ** 2,
        t * (1 - t) ** 2 * width,
        t**2 * (3 - 2 * t),
        t**2 * (t - 1) * width,
    )
    before, after = np.diff(at)[:-1], np.diff(at)[1:]
    slope = (
        -after / (before * (before + after)),
        (after - before) / (before * after),
        before / (after * (before + after)),
    )
    return cell, np.stack(basis), np.stack(slope)


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
        around = np.empty((self._CELLS + 1, self._CELLS + 1), np.float32)
        around[:-1, :-1] = lattice
        around[-1, :-1] = lattice[0]
        around[:, -1] = around[:, 0]
        self._lattice = around.ravel()
        self._rise = np.diff(self._lattice)
        self._scale = np.float32(1 / grain)

    def __call__(self, x: Field, y: Field) -> Field:
        u, v = x * self._scale, y * self._scale
        u += 4096
        v += 4096
        whole_u, whole_v = np.floor(u), np.floor(v)
        u -= whole_u
        v -= whole_v
        for share in (u, v):
            slope = -2 * share
            slope += 3
            slope *= share
            share *= slope
        last, row = self._CELLS - 1, self._CELLS + 1
        corner, column = whole_v.astype(np.intp), whole_u.astype(np.intp)
        corner &= last
        corner *= row
        column &= last
        corner += column
        upper = self._rise.take(corner)
        upper *= u
        upper += self._lattice.take(corner)
        corner += row
        lower: Field = self._rise.take(corner)
        lower *= u
        lower += self._lattice.take(corner)
        lower -= upper
        lower *= v
        lower += upper
        lower *= np.float32(1.5)  # compensates for the variance lost in interpolation
        return lower


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur of ``sigma`` pixels with mirrored borders; a sum of shifts, to be independent of the BLAS."""
    reach = max(1, math.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    rows, columns = field.shape
    for axis, length in ((0, rows), (1, columns)):
        padded = np.asarray(field, np.float32).take(_mirrored(length, reach), axis)
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


@lru_cache(maxsize=64)
def _mirrored(length: int, reach: int) -> NDArray[np.intp]:
    """Indices of an axis with ``reach`` more on both sides, mirrored at its borders."""
    return read_only(np.pad(np.arange(length), reach, mode="symmetric"))
