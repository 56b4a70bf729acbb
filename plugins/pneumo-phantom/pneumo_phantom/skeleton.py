"""Bones: ribs, spine, clavicles, scapulae and humeri, as attenuation beyond that of the soft tissue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.anatomy import Anatomy
from pneumo_phantom.canvas import (
    Canvas,
    Field,
    Strokes,
    chord,
    distance,
    gaussian,
    read_only,
    smoothstep,
    steps,
)
from pneumo_phantom.tubes import bezier, differences, tube

_RIBS = 12
_CAGE_DEPTH = 0.62
"""Half the anteroposterior diameter of the rib cage."""


def draw_bones(canvas: Canvas, anatomy: Anatomy, yaw: float) -> Field:
    """All bones of a chest rotated by ``yaw`` radians about its long axis."""
    strokes = [_ribs(canvas, anatomy, yaw)]
    for side, angle in zip((-1, 1), anatomy.arm, strict=True):
        strokes.extend(_shoulder(canvas, anatomy, side, angle, yaw))
    return canvas.rasterize(strokes) + _spine(canvas, anatomy, yaw) + _scapulae(canvas, anatomy)


def _ribs(canvas: Canvas, anatomy: Anatomy, yaw: float) -> Strokes:
    """The cage in three dimensions, projected.

    A rib leaves the spine at the back, curves forward at the side and ends in front in cartilage, which is not
    visible. It is two sheets of cortex, whose attenuation adds up where they run along the beam: that gives the
    bright edge of a radiograph at the side.
    """
    count = canvas.sample_count(2.3, 1.1)
    course = _course(count)
    number, side, sine, cosine = course.number, course.side, course.sine, course.cosine
    drop = anatomy.rib_drop * np.interp(number, [0, 1, 4, 11], [0.55, 0.75, 1.0, 1.1])
    head = anatomy.first_rib + anatomy.rib_spacing * number + np.asarray(anatomy.rib_wobble)
    lateral = head + drop / 2
    reach = anatomy.thorax(lateral.astype(np.float32)) + 0.015
    reach = np.maximum(reach, np.interp(number, [0, 1, 2, 3], [0.46, 0.62, 0.5, 0]))
    x = side[:, None] * (0.10 + (reach[:, None] - 0.10) * course.outward)
    z = -_CAGE_DEPTH * cosine
    y = head[:, None] + drop[:, None] * course.downward - course.arch
    magnification = 1 + 0.05 * z
    spine_x = anatomy.spine(head.astype(np.float32))[:, None] * (cosine > 0) * cosine
    x = (x * np.cos(yaw) + z * np.sin(yaw)) * magnification + spine_x
    y = (y + 0.1) * magnification - 0.1

    # Ribs are wider and less dense in front; the last ones are slender.
    half_height = (
        anatomy.rib_width * (1 + 0.35 * np.clip(-cosine, 0, 1)) * np.where(number > 9, 0.75, 1)[:, None]
    )
    density = (
        anatomy.rib_density
        * np.interp(number, [0, 1, 2], [0.35, 0.65, 1.0])[:, None]
        * (0.62 + 0.38 * np.clip(cosine + 0.3, 0, 1))
    )
    rows = max(5, canvas.sample_count(2 * anatomy.rib_width, 0.95))
    across = (np.arange(rows) + 0.5) * (2 / rows) - 1
    cortex = np.where(np.abs(across) > 0.66, 1.30, 0.86)
    # The strip is perpendicular to the cage's surface; its projected area shrinks where it is seen edge-on.
    step_x, step_y, step_z = (differences(part) for part in (x, y, z))
    length = np.sqrt(step_x**2 + step_y**2 + step_z**2)
    slant = step_y / np.maximum(np.hypot(step_x, step_z), 1e-6)
    sheets = side[:, None] * np.array([-0.016, 0.016])[:, None, None] * sine
    points_x = across * (half_height * slant)[..., None]
    points_x *= (step_x / length)[..., None]
    np.subtract(x[..., None], points_x, out=points_x)
    points_y = across * half_height[..., None]
    points_y += y[..., None]
    mass = (
        0.5
        * density
        * course.flank
        * course.ending
        * length
        * half_height
        * (2 / rows)
        / np.sqrt(1 + slant**2)
    )
    points = np.empty((3, 2, *points_x.shape), np.float32)
    np.add(points_x, sheets[..., None], out=points[0], casting="same_kind")
    points[1] = points_y
    points[2] = mass[..., None] * cortex
    return Strokes(*points.reshape(3, -1))


class _Course(NamedTuple):
    """What the ribs of all chests have in common, of 24 ribs at ``count`` points: [24] or [24, count].

    Attributes:
        number, side: 0 to 11 from above; -1 right, 1 left.
        sine, cosine: of the angle from the back to the front.
        outward, downward, arch: the shape, seen from the front.
        flank: less density at the side, where the cortex is seen along the beam.
        ending: 1, falling to 0 at the cartilage, [count].
    """

    number: NDArray[np.intp]
    side: NDArray[np.float64]
    sine: Field
    cosine: Field
    outward: Field
    downward: Field
    arch: Field
    flank: Field
    ending: Field


@lru_cache(maxsize=32)
def _course(count: int) -> _Course:
    number = np.repeat(np.arange(_RIBS), 2)
    end = np.interp(number, [0, 1, 5, 8, 9, 10, 11], [0.93, 0.84, 0.80, 0.72, 0.62, 0.45, 0.33]) * np.pi
    theta = (end[:, None] * steps(0, 1, count)).astype(np.float32)
    sine, cosine = np.sin(theta), np.cos(theta)
    course = _Course(
        number=number,
        side=np.tile([-1.0, 1.0], _RIBS),
        sine=sine,
        cosine=cosine,
        outward=sine**0.9,
        downward=0.2 * (1 - cosine) + 0.6 * theta / np.float32(np.pi),
        arch=0.05 * np.sin(np.minimum(2 * theta, np.pi)),
        flank=1 - 0.3 * sine**6,
        ending=np.clip((1 - steps(0, 1, count)) / 0.10, 0, 1),
    )
    return _Course(*map(read_only, course))


def _spine(canvas: Canvas, anatomy: Anatomy, yaw: float) -> Field:
    """Vertebral bodies with bright end plates, discs, pedicles and spinous processes."""
    shift = 0.75 * _CAGE_DEPTH * math.sin(yaw)
    near = np.flatnonzero((np.abs(canvas.x + np.float32(shift)) < 0.45).any(axis=0))
    columns = slice(near[0], near[-1] + 1)
    x, y = canvas.x[:, columns], canvas.y[:, columns]
    middle = anatomy.spine(y) - np.float32(shift)
    width = 0.112 + 0.018 * np.clip(y + 1, 0, 2.2)
    across = (x - middle) / width
    # 0 in the middle of a vertebra, ±0.5 in the middle of a disc.
    level = (y - np.float32(anatomy.first_rib + 0.02)) / np.float32(anatomy.rib_spacing)
    phase = level - np.round(level)
    soft = max(0.09, canvas.pixel / width.min())
    waist = across * (1 + 0.10 * np.cos(2 * np.pi * phase))
    inside = smoothstep(1 - np.abs(waist), soft)
    body = smoothstep(0.40 - np.abs(phase), 0.07)
    plates = gaussian(((np.abs(phase) - 0.37) / 0.065) ** 2)
    rims = gaussian(((np.abs(waist) - 0.90) / 0.14) ** 2)
    pedicles = gaussian(((np.abs(across) - 0.62) / 0.20) ** 2 + ((phase + 0.08) / 0.17) ** 2)
    spinous = gaussian(((across + 6 * np.float32(yaw)) / 0.15) ** 2 + ((phase - 0.28) / 0.24) ** 2)
    transverse = gaussian(((np.abs(across) - 1.25) / 0.33) ** 2 + ((phase + 0.10) / 0.13) ** 2)
    bone = inside * (
        0.12 + 0.15 * body + 0.10 * plates + 0.07 * rims * body + 0.20 * pedicles + 0.15 * spinous
    )
    total = np.zeros_like(canvas.x)
    total[:, columns] = np.float32(anatomy.spine_density) * (bone + 0.12 * transverse)
    return total


def _shoulder(canvas: Canvas, anatomy: Anatomy, side: int, angle: float, yaw: float) -> Iterator[Strokes]:
    """Clavicle, the scapula's thick borders, and the humerus of one side."""
    lift = min(max((angle - 0.9) / 1.2, 0.0), 1.0)
    top = anatomy.shoulder
    front = _CAGE_DEPTH * np.sin(yaw)
    count = canvas.sample_count(1.2)
    clavicle = np.array(
        [[0.10, top + 0.20], [0.42, top + 0.16], [0.60, top - 0.16], [1.02, top - 0.06 - 0.20 * lift]]
    )
    clavicle[:, 0] *= side
    clavicle[:2, 0] += front
    curve = bezier(clavicle[None], count)
    t = steps(-1, 1, count)
    yield tube(curve, 0.038 + 0.018 * t**2, 0.34, canvas, hollow=0.45)

    glenoid = np.array([1.06 + 0.03 * lift, top + 0.12 - 0.08 * lift])
    tip = np.array([0.93 + 0.16 * lift, top + 0.86 - 0.10 * lift])
    corner = np.array([0.66 + 0.04 * lift, top + 0.08])
    acromion = np.array([1.16, top - 0.12 - 0.12 * lift])
    borders = np.array(
        [
            [glenoid, 0.5 * (glenoid + tip) + [-0.05, 0.0], tip],
            [corner, 0.5 * (corner + tip) + [-0.06, 0.0], tip],
            [corner, 0.5 * (corner + acromion) + [0.0, 0.05], acromion],
            [corner, 0.5 * (corner + glenoid) + [0.0, -0.06], glenoid],
        ]
    )
    borders[..., 0] *= side
    strength = np.array([0.30, 0.08, 0.22, 0.12])[:, None]
    faded = strength * np.sin(np.pi * np.clip(steps(0.06, 1.0, count), 0, 1)) ** 0.6
    yield tube(bezier(borders, count), np.array([0.026, 0.016, 0.026, 0.018])[:, None], faded, canvas)

    direction = np.array([np.sin(angle), np.cos(angle)])
    joint = glenoid + np.array([0.13, -0.03])
    shaft = joint + np.array([[0.10], [1.5]]) * direction
    shaft[:, 0] *= side
    length = canvas.sample_count(1.5)
    yield tube(
        np.linspace(shaft[0], shaft[1], length, dtype=np.float32)[None],
        0.055 + 0.045 * np.exp(-steps(0, 12, length)),
        0.34,
        canvas,
        hollow=0.65,
    )


def _scapulae(canvas: Canvas, anatomy: Anatomy) -> Field:
    """The thin blades, and the heads of the humeri with their growth plates."""
    total = np.zeros_like(canvas.x)
    top = anatomy.shoulder
    for side, angle in zip((-1, 1), anatomy.arm, strict=True):
        lift = min(max((angle - 0.9) / 1.2, 0.0), 1.0)
        # Both end within this window: blade and head, and their soft edges.
        window = canvas.window(0.6 * side, 1.4 * side, top - 0.15, top + 0.95)
        x = canvas.x[window] * np.float32(side)
        y = canvas.y[window] - np.float32(top)
        outer = 1.05 - 0.14 * y + 0.13 * lift - x
        inner = x - (0.68 + 0.24 * y + 0.12 * lift)
        part = total[window]
        part += (
            0.07
            * smoothstep(outer, 0.03)
            * smoothstep(inner, 0.03)
            * smoothstep(y - 0.02, 0.05)
            * smoothstep(0.84 - y, 0.05)
        )
        head_x, head_y = 1.19 + 0.03 * lift, 0.09 - 0.08 * lift
        radius = distance(x - np.float32(head_x), y - np.float32(head_y)) / np.float32(0.105)
        along = (x - np.float32(head_x)) * math.sin(angle) + (y - np.float32(head_y)) * math.cos(angle)
        plate = 1 - 0.55 * gaussian(((along - 0.075) / 0.016) ** 2)
        part += 0.30 * chord(radius) * plate
    return total
