"""Acquisition: positioning, exposure, scatter, noise, film response, collimation, side markers and cables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.canvas import (
    Canvas,
    Field,
    Placement,
    blur,
    distance,
    pixel_centres,
    read_only,
    smoothstep,
)
from pneumo_phantom.streams import clipped_normal, uniform
from pneumo_phantom.tubes import bezier, tube

_NOISE_SIZE = 128
"""Width of the coarsest noise grid: that of the smallest image."""


@dataclass(frozen=True)
class Scanner:
    """An X-ray unit: what all images taken with it share.

    Attributes:
        latitude: width of the film's response in units of attenuation; a small one gives high contrast.
        scatter: scattered relative to primary radiation behind the thickest part.
        sharpening: strength of the unsharp mask of a digital system.
        noise: standard deviation of the quantum noise at a usual dose, in attenuation.
        blur: of focal spot and screen, in patient units.
        ceiling: brightest gray level of tissue, 0 to 1.
        marker: height of the side marker, in image units.
    """

    latitude: float
    scatter: float
    sharpening: float
    noise: float
    blur: float
    ceiling: float
    marker: float


SCANNERS = (
    Scanner(
        latitude=0.46, scatter=0.030, sharpening=0.35, noise=0.012, blur=0.006, ceiling=0.96, marker=0.045
    ),
    Scanner(
        latitude=0.38, scatter=0.022, sharpening=0.15, noise=0.014, blur=0.007, ceiling=1.00, marker=0.060
    ),
    Scanner(
        latitude=0.56, scatter=0.045, sharpening=0.55, noise=0.010, blur=0.005, ceiling=0.86, marker=0.050
    ),
    Scanner(
        latitude=0.50, scatter=0.050, sharpening=0.10, noise=0.013, blur=0.008, ceiling=0.90, marker=0.070
    ),
)


@dataclass(frozen=True)
class Exposure:
    """Parameters of one exposure.

    Attributes:
        scanner: the X-ray unit.
        placement: position of the child.
        yaw: rotation about the long axis, radians.
        inspiration: 0 to 1.
        darkness: shift of the film response, in attenuation.
        latitude: factor of the scanner's latitude.
        dose: factor of the usual dose.
        collimation: distance of the four shutters from the middle, and their tilt.
        marker: letter of the side marker, and its x and y.
        wires: control points of cables on the skin, [wires, 4, 2].
        electrodes: positions of electrodes, [electrodes, 2].
    """

    scanner: Scanner
    placement: Placement
    yaw: float
    inspiration: float
    darkness: float
    latitude: float
    dose: float
    collimation: tuple[float, float, float, float, float]
    marker: tuple[str, float, float]
    wires: Field
    electrodes: Field


def sample_exposure(scanner: Scanner, rng: np.random.Generator) -> Exposure:
    """Sample the parameters of one exposure."""
    scale = clipped_normal(rng, 0.76, 0.05)
    placement = Placement(
        scale_x=scale * clipped_normal(rng, 1.07, 0.04),
        scale_y=scale * clipped_normal(rng, 0.98, 0.05),
        angle=clipped_normal(rng, 0.0, 0.045),
        shift_x=clipped_normal(rng, 0.0, 0.05),
        shift_y=clipped_normal(rng, 0.06, 0.06),
    )
    shutters = (1.5, 1.5, 1.5, 1.5, 0.0)
    if rng.random() < 0.30:
        left, right, top, bottom = (uniform(rng, 0.82, 1.15) for _ in range(4))
        shutters = (left, right, top, bottom, clipped_normal(rng, 0, 0.02))
    wires = np.zeros((0, 4, 2), np.float32)
    electrodes = np.zeros((0, 2), np.float32)
    if rng.random() < 0.14:
        count = int(rng.integers(1, 4))
        start = np.stack([rng.uniform(-0.8, 0.8, count), rng.uniform(-0.6, 0.7, count)], 1)
        steps = np.cumsum(rng.normal(0, 0.35, (count, 3, 2)) + np.sign(start)[:, None] * 0.25, axis=1)
        wires = np.concatenate([start[:, None], start[:, None] + steps], 1).astype(np.float32)
        electrodes = start.astype(np.float32)
    return Exposure(
        scanner=scanner,
        placement=placement,
        yaw=clipped_normal(rng, 0.0, 0.09),
        inspiration=1 - 0.8 * float(rng.beta(1.2, 3.0)),
        darkness=clipped_normal(rng, -0.26, 0.11),
        latitude=uniform(rng, 0.88, 1.15),
        dose=uniform(rng, 0.5, 1.6),
        collimation=shutters,
        marker=("R" if rng.random() < 0.9 else "L", uniform(rng, 0.80, 0.93), uniform(rng, -0.92, -0.45)),
        wires=wires,
        electrodes=electrodes,
    )


def draw_wires(canvas: Canvas, exposure: Exposure) -> Field:
    """Cables and electrodes on the skin, as attenuation."""
    if not len(exposure.wires):
        return np.zeros_like(canvas.x)
    total = canvas.rasterize([tube(bezier(exposure.wires, canvas.sample_count(2.0)), 0.012, 0.5, canvas)])
    for x, y in exposure.electrodes:
        radius = distance(canvas.x - x, canvas.y - y)
        total += 0.35 * smoothstep(0.045 - radius, 0.015 + canvas.pixel)
    return total


def develop(
    canvas: Canvas, attenuation: Field, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn line integrals into gray levels [size, size], as the unit's film and screens would.

    Args:
        canvas: of ``attenuation``.
        attenuation: of the beam at each pixel, 0 in air.
        exposure: its parameters.
        rng: for the noise.
    """
    scanner = exposure.scanner
    pixel = canvas.pixel
    primary = np.exp(-attenuation)
    signal = primary + _scattered(primary, attenuation, scanner.scatter)
    np.negative(np.log(signal, out=signal), out=signal)
    measured = blur(signal, scanner.blur / pixel)
    # Quantum noise: the relative deviation grows with the square root of the attenuation.
    noise = np.minimum(measured - 1.6, 1.2)
    noise *= 0.5
    np.exp(noise, out=noise)
    noise *= scanner.noise / math.sqrt(exposure.dose)
    noise *= _noise(canvas.size, rng)
    measured += noise
    if scanner.sharpening:
        detail = measured - blur(measured, 0.045 / pixel)
        detail *= scanner.sharpening
        measured += detail

    # Automatic exposure control measures the middle of the chest, as the chambers in the table do.
    chamber = (np.abs(canvas.x) < 0.55) & (np.abs(canvas.y) < 0.8)
    reference = float(np.mean(measured[chamber])) + 0.02 + exposure.darkness
    width = scanner.latitude * exposure.latitude
    gray = reference - measured
    gray /= np.float32(width)
    np.exp(gray, out=gray)
    gray += 1
    np.divide(1, gray, out=gray)
    black_level = 1 / (1 + math.exp(reference / width))
    gray -= black_level
    gray /= 1 - black_level
    np.clip(gray, 0, 1, out=gray)
    gray *= np.float32(scanner.ceiling)
    gray *= np.float32(0.98)
    gray *= _shutters(canvas, exposure)
    gray += np.float32(0.02)
    ink = _side_marker(canvas, exposure)
    ink *= np.float32(0.97) - gray
    gray += ink
    np.clip(gray, 0, 1, out=gray)
    gray *= 255
    return np.asarray(np.rint(gray, out=gray), np.uint8)


def _scattered(primary: Field, attenuation: Field, amount: float) -> Field:
    """Scattered radiation: broad, and growing with the tissue that it comes from."""
    cells = 16
    edges = np.linspace(0, len(primary), cells + 1).astype(int)[:-1]
    source = primary * np.minimum(attenuation, 3)
    areas = np.outer(np.diff(edges, append=len(primary)), np.diff(edges, append=len(primary)))
    coarse = np.add.reduceat(np.add.reduceat(source, edges, 0), edges, 1) / areas
    return np.float32(amount) * (0.6 + upsample(blur(coarse.astype(np.float32), 2.0), len(primary)))


def upsample(field: Field, size: int) -> Field:
    """Bilinear upsampling of a square field to ``size`` pixels."""
    low, share = _finer_places(len(field), size)
    rows = field[low] + (field[low + 1] - field[low]) * share[:, None]
    left = rows.take(low, 1)
    fine = rows.take(low + 1, 1)
    fine -= left
    fine *= share
    fine += left
    return np.asarray(fine, np.float32)


@lru_cache(maxsize=16)
def _finer_places(cells: int, size: int) -> tuple[NDArray[np.intp], Field]:
    """For each of ``size`` pixels, the cell before it and the share of the next one."""
    place = np.clip((np.arange(size) + 0.5) * (cells / size) - 0.5, 0, cells - 1.001)
    low = place.astype(np.intp)
    return read_only(low), read_only((place - low).astype(np.float32))


def _noise(size: int, rng: np.random.Generator) -> Field:
    """Unit noise, the same at every size: a coarse grid, and a finer one for the detail between its points."""
    coarse = rng.standard_normal((_NOISE_SIZE, _NOISE_SIZE), np.float32)
    if size == _NOISE_SIZE:
        return coarse
    # Averaged over the pixels of one coarse cell, independent noise has to keep the coarse grid's deviation.
    finer = rng.standard_normal((size, size), np.float32)
    return upsample(coarse, size) + np.float32(0.35 * size / _NOISE_SIZE) * (
        finer - blur(finer, size / _NOISE_SIZE)
    )


def _shutters(canvas: Canvas, exposure: Exposure) -> Field:
    """1 inside the collimated field, 0 behind the lead shutters."""
    left, right, top, bottom, tilt = exposure.collimation
    if min(left, right, top, bottom) > 1.4:
        return np.ones_like(canvas.x)
    centres = pixel_centres(canvas.size)
    across = centres[None, :] + np.float32(tilt) * centres[:, None]
    down = centres[:, None] - np.float32(tilt) * centres[None, :]
    soft = 2.0 / canvas.size + 0.004
    edges = (across + left, right - across, down + top, bottom - down)
    return smoothstep(np.minimum.reduce(edges), soft)


_LETTERS = {
    "R": [
        [[-0.6, -1], [-0.6, 0], [-0.6, 1]],
        [[-0.6, -1], [0.9, -1.0], [0.55, -0.15]],
        [[0.55, -0.15], [0.3, 0.1], [-0.6, 0.05]],
        [[0.0, 0.05], [0.3, 0.5], [0.65, 1.0]],
    ],
    "L": [[[-0.5, -1], [-0.5, 0], [-0.5, 1]], [[-0.5, 1], [0, 1], [0.6, 1]]],
}


@lru_cache(maxsize=16)
def _film(size: int) -> Canvas:
    """The film itself, whatever lies on it."""
    return Canvas(size, Placement(1, 1, 0, 0, 0))


def _side_marker(canvas: Canvas, exposure: Exposure) -> Field:
    """Coverage by the lead side marker, 0 to 1."""
    letter, across, down = exposure.marker
    height = exposure.scanner.marker
    film = _film(canvas.size)
    position = np.array([-across if letter == "R" else across, down])
    curves = bezier(
        position + height * np.array(_LETTERS[letter]) * [0.8, 1.0], film.sample_count(2.5 * height, 0.6)
    )
    pen = max(0.011, 0.7 * film.pixel)
    return np.clip(film.rasterize([tube(curves, pen, 1.3 * 0.011 / pen, film)]), 0, 1)
