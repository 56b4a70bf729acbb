"""Pneumonia: the opacities that it adds to a chest.

``bacteria`` fills air spaces: one consolidation, rarely more, patchy, bounded by fissures, with air bronchograms;
small patches elsewhere. It hides vessels and, as dense as the heart, adjacent borders (silhouette sign).
``virus`` thickens bronchi and peribronchial tissue: streaks from both hila, a reticular pattern, overinflation, an
occasional band of atelectasis. Either may be barely visible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pneumo_phantom.anatomy import Anatomy
from pneumo_phantom.canvas import (
    Canvas,
    Field,
    Strokes,
    Texture,
    distance,
    gaussian,
    saturate,
    smoothstep,
)
from pneumo_phantom.soft_tissue import LUNG_AIR, Chest
from pneumo_phantom.streams import uniform
from pneumo_phantom.tubes import bezier, tube
from pneumo_phantom.vessels import Branches

_LOBES: dict[str, tuple[float, float, float, float, float]] = {
    # name: centre x, centre y, half width, half height, probability
    "right upper": (-0.48, -0.50, 0.40, 0.36, 0.17),
    "right middle": (-0.38, 0.18, 0.34, 0.26, 0.15),
    "right lower": (-0.58, 0.32, 0.40, 0.36, 0.21),
    "left upper": (0.46, -0.48, 0.38, 0.38, 0.11),
    "lingula": (0.56, 0.20, 0.30, 0.26, 0.10),
    "left lower": (0.52, 0.38, 0.40, 0.34, 0.26),
}


@dataclass(frozen=True)
class Consolidation:
    """A consolidated region of a lung, in patient coordinates.

    Attributes:
        lobe: key of the lobe that bounds it.
        centre, radius: of its approximate ellipse.
        density: share of the air that is replaced, 0 to 1.
        softness: width of the border relative to the radius.
        ragged: irregularity of the border.
        patchy: share of the density that varies from acinus to acinus.
    """

    lobe: str
    centre: tuple[float, float]
    radius: tuple[float, float]
    density: float
    softness: float
    ragged: float
    patchy: float


@dataclass(frozen=True)
class Disease:
    """The disease of a patient; the defaults are those of a healthy child.

    Attributes:
        consolidations: consolidated regions.
        interstitial: strength of the streaks and the reticular pattern, 0 to 1.
        overinflation: of the lungs, 0 to 1; pushes the diaphragm down.
        patches: small soft opacities (x, y, radius, density) of bronchopneumonia.
        bands: atelectases as short lines (x, y, angle, length).
        effusion: height of the fluid at the right and the left base.
        seed: of the textures.
    """

    consolidations: tuple[Consolidation, ...] = ()
    interstitial: float = 0.0
    overinflation: float = 0.0
    patches: tuple[tuple[float, float, float, float], ...] = ()
    bands: tuple[tuple[float, float, float, float], ...] = ()
    effusion: tuple[float, float] = (0.0, 0.0)
    seed: int = 0

    def deform(self, anatomy: Anatomy) -> Anatomy:
        """Overinflated lungs push the diaphragm down and narrow the heart."""
        push = 0.16 * self.overinflation
        return replace(
            anatomy,
            domes=(anatomy.domes[0] + push, anatomy.domes[1] + push),
            heart=anatomy.heart * (1 - 0.10 * self.overinflation),
            lung_depth=anatomy.lung_depth * (1 + 0.06 * self.overinflation),
            rib_drop=anatomy.rib_drop * (1 - 0.10 * self.overinflation),
        )

    def opacity(self, canvas: Canvas, chest: Chest, branches: Branches, vessels: Field) -> Field:
        """Path length of water that the disease adds, a field; ``vessels`` is that of the healthy vessels."""
        if self == HEALTHY:
            return np.zeros_like(chest.lung)
        rng = np.random.Generator(np.random.Philox(self.seed))
        coarse, fine = Texture(rng, 0.22), Texture(rng, 0.085)
        finely = 0.4 * fine(canvas.x, canvas.y)
        roughness = 0.7 * coarse(canvas.x, canvas.y) + finely
        # The finest texture on a rotated lattice, so that no grid is visible.
        acini = 0.75 * Texture(rng, 0.062)(0.8 * canvas.x + 0.6 * canvas.y, 0.8 * canvas.y - 0.6 * canvas.x)
        acini += finely
        filled = self._filled(canvas, roughness, acini)
        # A vessel is visible against air only, not within a consolidation as dense as itself.
        total = (LUNG_AIR * chest.lung - vessels) * filled
        # Air bronchograms: airways stay open within a consolidation.
        if self.consolidations:
            airways = canvas.rasterize(branches.strokes(1.5, widening=1.4, last=3))
            total -= np.minimum(airways * filled, 0.5 * np.maximum(total, 0))
        if self.interstitial:
            total += self._interstitial(canvas, chest, branches, rng, roughness)
        if self.bands:
            total += chest.shade * canvas.rasterize([self._bands(canvas)])
        for side, height in zip((-1, 1), self.effusion, strict=True):
            if height:
                level = 0.95 - height * (0.35 + 0.9 * np.abs(canvas.x) ** 3)
                fluid = smoothstep(canvas.y - level, 0.10) * (chest.side == side)
                total = np.maximum(total, LUNG_AIR * 0.95 * chest.lung * fluid)
        return total

    def _filled(self, canvas: Canvas, roughness: Field, acini: Field) -> Field:
        """Share of the air replaced by fluid at each pixel, 0 to 1."""
        x, y = canvas.x, canvas.y
        air = np.ones_like(x)
        roughest = max(float(roughness.max()), 0)
        for region in self.consolidations:
            reach = 1.01 + region.softness + region.ragged * roughest
            (centre_x, centre_y), (width, height) = region.centre, region.radius
            left, right = centre_x - reach * width, centre_x + reach * width
            # The other lung is not affected, see _within_lobe.
            left, right = (left, min(right, 0.04)) if _is_right(region.lobe) else (max(left, -0.04), right)
            if left >= right:
                continue
            part = canvas.window(left, right, centre_y - reach * height, centre_y + reach * height)
            radius = distance(
                (x[part] - np.float32(centre_x)) / np.float32(width),
                (y[part] - np.float32(centre_y)) / np.float32(height),
            )
            inner = smoothstep(1 - radius + np.float32(region.ragged) * roughness[part], region.softness)
            mottled = 1 - np.float32(region.patchy) * (1 - 0.7 * acini[part])
            lobe = _within_lobe(region.lobe, x[part], y[part])
            air[part] *= 1 - np.clip(region.density * inner * mottled, 0, 1) * lobe
        for patch_x, patch_y, size, density in self.patches:
            reach = 4.7 * size  # beyond it, float32 does not tell what is left from nothing
            part = canvas.window(patch_x - reach, patch_x + reach, patch_y - reach, patch_y + reach)
            across, down = x[part] - np.float32(patch_x), y[part] - np.float32(patch_y)
            squared = (across**2 + down**2) / np.float32(size**2)
            air[part] *= 1 - np.clip(density * gaussian(squared) * (1 + 0.6 * acini[part]), 0, 1)
        return 1 - air

    def _interstitial(
        self, canvas: Canvas, chest: Chest, branches: Branches, rng: np.random.Generator, roughness: Field
    ) -> Field:
        """Streaks, thickened bronchial walls, a reticular pattern of thickened septa, and perihilar haze."""
        amount = self.interstitial
        central = gaussian(chest.hilum / 0.55**2)
        across, down = 0.6 * canvas.x + 0.8 * canvas.y, 0.6 * canvas.y - 0.8 * canvas.x
        septa = 1 - np.minimum(np.abs(Texture(rng, 0.08)(across, down)), 1.2) / 0.6
        streaks = canvas.rasterize(
            branches.strokes(0.55 * amount, widening=2.0, hollow=1.0, last=1)
            + branches.strokes(1.5 * amount, widening=1.6, last=3)
        )
        haze = 0.09 * central * np.clip(1 + 0.8 * roughness, 0, 3)
        uneven = np.clip(0.9 + 0.5 * roughness, 0.2, 2)
        reticular = 0.17 * septa * (0.7 + 0.3 * central) * uneven
        opacity = saturate(streaks, 0.05 + 0.13 * amount) * uneven + amount * (haze + reticular)
        return np.asarray(chest.shade * opacity, np.float32)

    def _bands(self, canvas: Canvas) -> Strokes:
        x, y, angle, length = np.array(self.bands).T
        half = 0.5 * length[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        middle = np.stack([x, y], 1)
        sag = middle + 0.15 * half[:, ::-1]
        curves = bezier(
            np.stack([middle - half, sag, middle + half], 1), canvas.sample_count(float(length.max()))
        )
        return tube(curves, 0.022, 0.16, canvas)


def _is_right(lobe: str) -> bool:
    return lobe.startswith("right")


def _within_lobe(lobe: str, x: Field, y: Field) -> Field:
    """A lobe's bounds: sharp at the minor fissure, which the beam meets edge-on; the others are not visible."""
    side = smoothstep(-x - 0.02 if _is_right(lobe) else x - 0.02, 0.05)
    below_fissure = y - np.float32(0.10) * (x + np.float32(0.6)) + np.float32(0.07)
    if lobe == "right upper":
        side *= smoothstep(-below_fissure, 0.025)
    elif lobe == "right middle":
        side *= smoothstep(below_fissure, 0.025)
    return side


HEALTHY = Disease()


def sample_disease(subtype: str, rng: np.random.Generator) -> Disease:
    """Sample the disease of a ``subtype``: ``bacteria``, ``virus``, or the empty string for a healthy child."""
    if not subtype:
        return HEALTHY
    # Most are obvious; the least severe tenth is hard to read.
    severity = 0.08 + 0.92 * float(rng.beta(2.0, 1.1))
    seed = int(rng.integers(2**31))
    if subtype == "bacteria":
        return _bacteria(severity, seed, rng)
    return _virus(severity, seed, rng)


def _bacteria(severity: float, seed: int, rng: np.random.Generator) -> Disease:
    names = list(_LOBES)
    odds = np.array([_LOBES[name][4] for name in names])
    count = 1 + (rng.random() < 0.12 + 0.2 * severity) + (rng.random() < 0.08 * severity)
    lobes = rng.choice(len(names), size=count, replace=False, p=odds / odds.sum())
    consolidations = []
    for lobe in lobes:
        name = names[lobe]
        x, y, width, height, _ = _LOBES[name]
        size = uniform(rng, 0.42, 0.7) + 0.6 * severity * uniform(rng, 0.5, 1)
        consolidations.append(
            Consolidation(
                lobe=name,
                centre=(x + 0.10 * rng.standard_normal(), y + 0.10 * rng.standard_normal()),
                radius=(width * size, height * size),
                density=min(1.0, 0.25 + 0.75 * severity * uniform(rng, 0.75, 1.1)),
                softness=uniform(rng, 0.35, 0.95),
                ragged=uniform(rng, 0.15, 0.40),
                patchy=uniform(rng, 0.2, 0.45),
            )
        )
    effusion = [0.0, 0.0]
    if rng.random() < 0.25 * severity:
        effusion[0 if _is_right(names[lobes[0]]) else 1] = uniform(rng, 0.2, 0.7)
    return Disease(
        consolidations=tuple(consolidations),
        interstitial=uniform(rng, 0.4, 0.75) * (0.4 + 0.6 * severity),
        patches=_patches(rng, rng.poisson(1 + 2 * severity), 0.25 + 0.35 * severity),
        effusion=(effusion[0], effusion[1]),
        seed=seed,
    )


def _virus(severity: float, seed: int, rng: np.random.Generator) -> Disease:
    bands = [
        (
            uniform(rng, 0.3, 0.65) * rng.choice([-1, 1]),
            uniform(rng, -0.1, 0.5),
            0.5 * rng.standard_normal(),
            uniform(rng, 0.12, 0.30),
        )
        for _ in range(rng.poisson(0.6))
    ]
    return Disease(
        interstitial=0.15 + 0.85 * severity,
        overinflation=uniform(rng, 0, 1) * uniform(rng, 0, 1),
        patches=_patches(rng, rng.poisson(1 + 2 * severity), 0.2 + 0.25 * severity),
        bands=tuple(bands),
        seed=seed,
    )


def _patches(
    rng: np.random.Generator, count: int, density: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Small opacities scattered over both lungs, as in bronchopneumonia."""
    return tuple(
        (
            uniform(rng, 0.25, 0.75) * rng.choice([-1, 1]),
            uniform(rng, -0.45, 0.5),
            uniform(rng, 0.08, 0.18),
            uniform(rng, 0.5, 1) * density,
        )
        for _ in range(count)
    )
