"""A child's anatomy: parameters that all images of a patient share, and how breathing changes them.

Lengths are in patient units (see :mod:`pneumo_phantom.canvas`): half the width of the thorax.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pneumo_phantom.canvas import Field, Profile
from pneumo_phantom.streams import clipped_normal, uniform

APEX, BASE = -0.92, 1.0
"""y of the lungs' apices and of the costophrenic angles."""

HILA = ((-0.30, -0.14), (0.33, -0.18))
"""(x, y) where the vessels of the right and of the left lung start."""


@dataclass(frozen=True)
class Anatomy:
    """One chest.

    Attributes:
        conicity: exponent of the thorax's narrowing to the top; small in infants, whose chest is bell-shaped.
        wall: thickness of the chest wall's soft tissue at its sides.
        depth: anteroposterior thickness of the trunk.
        lung_depth: maximum anteroposterior thickness of the lungs.
        rib_drop, rib_width, rib_density: slope, half height and attenuation of the ribs.
        first_rib, rib_spacing: y of the first rib's head, and distance between ribs, and so between vertebrae.
        rib_wobble: [24] vertical displacement of each rib.
        spine_curve, spine_density: lateral amplitude (scoliosis or posture) and attenuation of the spine.
        heart: factor of the heart's width.
        heart_right, heart_left: variation of the mediastinal borders at six heights each.
        thymus_right, thymus_left: how far the thymus bulges.
        domes: y of the right and the left dome of the diaphragm.
        vessels: attenuation of the vessels, 1 on average.
        stomach: radius of the air in the stomach.
        shoulder: y of the shoulders.
        arm: angle of the right and the left upper arm from straight down, in radians.
        chin: y of the chin.
    """

    conicity: float
    wall: float
    depth: float
    lung_depth: float
    rib_drop: float
    rib_width: float
    rib_density: float
    first_rib: float
    rib_spacing: float
    rib_wobble: tuple[float, ...]
    spine_curve: float
    spine_density: float
    heart: float
    heart_right: tuple[float, ...]
    heart_left: tuple[float, ...]
    thymus_right: float
    thymus_left: float
    domes: tuple[float, float]
    vessels: float
    stomach: float
    shoulder: float
    arm: tuple[float, float]
    chin: float

    def breathe(self, depth: float, rng: np.random.Generator) -> Anatomy:
        """The same chest at another depth of inspiration (1 full, 0 expiration), with the arms moved a little."""
        lack = 1 - depth
        return replace(
            self,
            domes=(self.domes[0] - 0.30 * lack, self.domes[1] - 0.30 * lack),
            heart=self.heart * (1 + 0.14 * lack),
            lung_depth=self.lung_depth * (1 - 0.22 * lack),
            rib_drop=self.rib_drop * (1 - 0.15 * lack),
            vessels=self.vessels * (1 + 0.35 * lack),
            arm=(self.arm[0] + clipped_normal(rng, 0, 0.08), self.arm[1] + clipped_normal(rng, 0, 0.08)),
            chin=self.chin + clipped_normal(rng, 0, 0.10),
        )

    @cached_property
    def thorax(self) -> Profile:
        """Half the width of the thorax at the lungs' outer border, as a function of y."""
        y = np.linspace(APEX, BASE, 25)
        t = (y - APEX) / (BASE - APEX)
        width = 0.30 + 0.70 * (1 - (1 - t) ** self.conicity) ** 0.72
        return Profile([-2.0, APEX - 0.06, *y, 1.4, 2.0], [0.24, 0.25, *width, 0.97, 0.92])

    def mediastinum(self) -> tuple[Profile, Profile]:
        """Right and left border of heart, great vessels and thymus, as functions of y."""
        y = [-1.5, -0.95, -0.70, -0.50, -0.33, -0.15, 0.05, 0.25, 0.45, 0.65, 1.0]
        right = np.array([0.17, 0.17, 0.19, 0.20, 0.20, 0.21, 0.27, 0.31, 0.31, 0.26, 0.18])
        left = np.array([0.17, 0.17, 0.20, 0.245, 0.255, 0.32, 0.475, 0.595, 0.645, 0.63, 0.52])
        right[5:10] *= self.heart
        left[5:10] *= self.heart
        right[3:9] += self.heart_right
        left[3:9] += self.heart_left
        bulge = np.array([0, 0, 0.35, 0.8, 1.0, 0.55, 0.1, 0, 0, 0, 0])
        return Profile(y, right + self.thymus_right * bulge), Profile(y, left + self.thymus_left * bulge)

    def spine(self, y: Field) -> Field:
        """x of the spine's middle at ``y``."""
        bend = np.sin(y * np.float32(1.7) + np.float32(40 * self.spine_curve))
        return np.asarray(np.float32(self.spine_curve) * bend, np.float32)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a child of one to five years."""
    bell = uniform(rng, 0, 1)
    # A large thymus, common in the youngest, mimics a consolidation of the upper lobe.
    thymus = uniform(rng, 0.02, 0.14) if rng.random() < 0.12 + 0.18 * bell else 0.0
    right_sided = rng.random() < 0.6
    raised = rng.random() < 0.45
    arms = uniform(rng, 1.75, 2.5) if raised else uniform(rng, 0.12, 0.75)
    right_dome = clipped_normal(rng, 0.50, 0.06)
    return Anatomy(
        conicity=1.8 + 0.9 * bell,
        wall=uniform(rng, 0.10, 0.24),
        depth=clipped_normal(rng, 1.50, 0.10),
        lung_depth=clipped_normal(rng, 1.02, 0.06),
        rib_drop=clipped_normal(rng, 1.06, 0.09),
        rib_width=clipped_normal(rng, 0.048, 0.004),
        rib_density=clipped_normal(rng, 0.28, 0.04),
        first_rib=clipped_normal(rng, -1.22, 0.03),
        rib_spacing=clipped_normal(rng, 0.183, 0.006),
        rib_wobble=tuple(0.007 * rng.standard_normal(24)),
        spine_curve=clipped_normal(rng, 0.0, 0.022),
        spine_density=clipped_normal(rng, 1.0, 0.15),
        heart=clipped_normal(rng, 1.03, 0.07),
        heart_right=tuple(0.011 * rng.standard_normal(6)),
        heart_left=tuple(0.013 * rng.standard_normal(6)),
        thymus_right=thymus if right_sided else 0.2 * thymus,
        thymus_left=0.3 * thymus if right_sided else thymus,
        domes=(right_dome, right_dome + clipped_normal(rng, 0.07, 0.03)),
        vessels=uniform(rng, 0.8, 1.15),
        stomach=uniform(rng, 0.05, 0.26),
        shoulder=clipped_normal(rng, -0.86, 0.05),
        arm=(arms + clipped_normal(rng, 0, 0.1), arms + clipped_normal(rng, 0, 0.1)),
        chin=clipped_normal(rng, -1.38, 0.12),
    )
