"""Soft tissue and air: body, lungs, heart and mediastinum, diaphragm, airways, and gas below it.

All fields are path lengths in patient units: of water for tissue, of missing water for air.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.anatomy import APEX, HILA, Anatomy
from pneumo_phantom.canvas import Canvas, Field, Profile, chord, distance, gaussian, smoothstep
from pneumo_phantom.streams import uniform
from pneumo_phantom.tubes import bezier, tube

Places = tuple[NDArray[np.intp], Field]
"""What :meth:`Profile.places` returns."""

LUNG_AIR = 0.74
"""Share of air in a healthy, inflated lung."""


@dataclass(frozen=True)
class Chest:
    """The parts of a chest, as fields.

    Attributes:
        tissue: path through the body, as if it contained no air.
        lung: path through lung, in front of, behind and next to the heart.
        shade: ``lung`` relative to its maximum depth, 0 to 1: how visible structures in the lung are.
        inside: the lungs' outline including the part behind the heart, 0 to 1.
        side: -1 right, +1 left lung.
        hilum: squared distance from the nearer hilum.
    """

    tissue: Field
    lung: Field
    shade: Field
    inside: Field
    side: Field
    hilum: Field


def draw_chest(canvas: Canvas, anatomy: Anatomy, yaw: float) -> Chest:
    """Body, lungs and mediastinum of a chest rotated by ``yaw`` radians about its long axis."""
    x, y = canvas.x, canvas.y
    side = np.where(x < 0, np.float32(-1), np.float32(1))
    # On rotation, the lung on that side appears narrower and the other wider.
    off_centre = np.abs(x) * (1 + 0.10 * np.float32(yaw) * side)
    places = Profile.places(y)
    outer = anatomy.thorax.at(*places)
    ratio = off_centre / outer
    soft = 1.5 * canvas.pixel + 0.008

    diaphragm = _diaphragm(anatomy, off_centre, side)
    above = smoothstep(diaphragm - y, 0.02 + soft)
    # The lung extends down behind the dome, thinner and thinner.
    sulcus = 0.16 * np.exp(-np.clip(y - diaphragm, 0, 3) / 0.16)
    apex = APEX + 2.4 * np.clip(0.31 - off_centre, 0, 1) ** 2
    inside = smoothstep(1 - ratio, soft / 2) * smoothstep(y - apex, soft)
    depth = anatomy.lung_depth * chord(ratio) * (0.45 + 0.55 * smoothstep(y - apex - 0.12, 0.28))
    outline = inside * np.maximum(above, sulcus)

    middle = _mediastinum(canvas, anatomy, yaw, places)
    lung = np.maximum(depth * outline - middle, 0)
    hila = [(x - np.float32(hx)) ** 2 + (y - np.float32(hy)) ** 2 for hx, hy in HILA]
    return Chest(
        tissue=_body(canvas, anatomy, off_centre, places),
        lung=lung,
        shade=np.clip(lung / anatomy.lung_depth, 0, 1),
        inside=inside * above,
        side=side,
        hilum=np.minimum(*hila),
    )


def draw_air(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Air in the trachea and main bronchi, the stomach and the bowel."""
    x, y = canvas.x, canvas.y
    carina = -0.36
    # The trachea, from far above the image down to its soft end, next to the spine.
    window = canvas.window(-0.25, 0.25, -5, carina + 0.08)
    down = y[window]
    shift = anatomy.spine(down) - np.float32(0.03) * smoothstep(down + 0.9, 0.4)
    bore = 0.062 + 0.012 * smoothstep(-1.15 - down, 0.06)
    trachea = 2 * bore * chord(np.abs(x[window] - shift) / bore) * smoothstep(carina + 0.02 - down, 0.05)
    bronchi = np.array(
        [
            [[-0.03, carina - 0.02], [-0.12, carina + 0.08], [-0.22, carina + 0.24]],
            [[-0.01, carina - 0.02], [0.14, carina + 0.10], [0.30, carina + 0.17]],
        ]
    )
    curve = bezier(bronchi, canvas.sample_count(0.4))
    air = canvas.rasterize([tube(curve, 0.042, 0.075, canvas)])
    air[window] += 1.25 * trachea

    dome = anatomy.domes[1]
    bubbles = [(0.46, dome + 0.10 + anatomy.stomach * 0.7, anatomy.stomach, 0.7 * anatomy.stomach)]
    for _ in range(rng.integers(0, 6)):
        width = uniform(rng, 0.03, 0.10)
        height = width * uniform(rng, 0.6, 1)
        bubbles.append((uniform(rng, -0.1, 0.75), dome + uniform(rng, 0.35, 0.8), width, height))
    for centre_x, centre_y, width, height in bubbles:
        window = canvas.window(centre_x - width, centre_x + width, centre_y - height, centre_y + height)
        radius = distance(
            (x[window] - np.float32(centre_x)) / np.float32(width),
            (y[window] - np.float32(centre_y)) / np.float32(height),
        )
        air[window] += 1.5 * height * chord(radius)
    return air


def draw_hila(chest: Chest) -> Field:
    """The dense lung roots: arteries and veins too close together to be resolved."""
    return 0.09 * gaussian(chest.hilum / 0.15**2)


def _diaphragm(anatomy: Anatomy, off_centre: Field, side: Field) -> Field:
    """y of the diaphragm: a dome on each side, steep towards the chest wall."""
    right, left = anatomy.domes
    dome = np.where(side < 0, np.float32(right), np.float32(left))
    crest = 0.46
    outward = np.clip((off_centre - crest) / (1.0 - crest), 0, 1.2)
    inward = np.clip((crest - off_centre) / crest, 0, 1)
    return np.asarray(dome + (0.98 - dome) * outward**1.9 + 0.12 * inward**2, np.float32)


def _mediastinum(canvas: Canvas, anatomy: Anatomy, yaw: float, places: Places) -> Field:
    """Path through heart, great vessels and thymus, which contain no air."""
    # Structures in front of the spine move with the rotation.
    x = canvas.x - np.float32(0.35 * np.sin(yaw))
    right, left = (border.at(*places) for border in anatomy.mediastinum())
    half, middle = 0.5 * (left + right), 0.5 * (left - right)
    ratio = np.abs(x - middle) / half
    depth = 1.25 - 0.28 * smoothstep(canvas.y + 0.05, 0.35)
    return np.asarray(depth * chord(ratio), np.float32)


def _body(canvas: Canvas, anatomy: Anatomy, off_centre: Field, places: Places) -> Field:
    """Path through trunk, neck, head and arms, as if solid."""
    x, y = canvas.x, canvas.y
    top = anatomy.shoulder
    wall = anatomy.wall
    width = Profile(
        [-1.9, top - 0.46, top - 0.28, top - 0.12, top, top + 0.3, 0.4, 1.3, 2.0],
        [0.44, 0.46, 0.64, 0.95, 1.10, 1.0 + wall, 1.0 + wall, 1.0 + wall, 1.0 + wall],
    ).at(*places)
    deep = Profile([-1.9, top - 0.35, top, top + 0.45, 0.6, 1.6], [0.72, 0.76, 0.90, 1.0, 1.03, 1.06]).at(
        *places
    )
    trunk = anatomy.depth * deep * np.sqrt(chord(off_centre / width))
    total = np.asarray(trunk, np.float32)
    window = canvas.window(-0.5, 0.58, anatomy.chin - 0.88, anatomy.chin + 0.04)
    chin = distance(
        (x[window] - np.float32(0.04)) / np.float32(0.52),
        (y[window] - np.float32(anatomy.chin - 0.42)) / np.float32(0.44),
    )
    np.maximum(total[window], 1.35 * np.sqrt(chord(chin)), out=total[window])
    for sign, angle in zip((-1, 1), anatomy.arm, strict=True):
        window = canvas.window(0.7 * sign, 3.0 * sign, top - 2, top + 2.2)
        arm = _arm(x[window] * np.float32(sign), y[window], top, angle)
        np.maximum(total[window], arm, out=total[window])
    return total


def _arm(x: Field, y: Field, top: float, angle: float) -> Field:
    """Path through shoulder and upper arm: a capsule from the joint outwards."""
    start_x, start_y, length = 1.04, top + 0.16, 1.6
    along_x, along_y = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    along = np.clip((x - start_x) * along_x + (y - np.float32(start_y)) * along_y, 0, length)
    off_axis = distance(x - start_x - along * along_x, y - np.float32(start_y) - along * along_y)
    radius = 0.29 - 0.06 * along
    return np.asarray(3.6 * radius * chord(off_axis / radius), np.float32)
