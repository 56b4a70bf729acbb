"""One image, from a patient to gray levels: anatomy, disease, attenuation, film.

Attenuations add up along the beam (Beer-Lambert law); the film responds to their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pneumo_phantom.acquisition import SCANNERS, Exposure, Scanner, develop, draw_wires, sample_exposure
from pneumo_phantom.anatomy import Anatomy, sample_anatomy
from pneumo_phantom.canvas import Canvas, Texture, saturate
from pneumo_phantom.disease import Disease, sample_disease
from pneumo_phantom.skeleton import draw_bones
from pneumo_phantom.soft_tissue import LUNG_AIR, Chest, draw_air, draw_chest, draw_hila
from pneumo_phantom.streams import Purpose, random_stream
from pneumo_phantom.vessels import Tree, grow_tree

NATIVE_SIZE = 512
"""Width in pixels of an image at full size."""

SMALLEST_SIZE = 128
"""Width in pixels below which ribs would be too thin to render."""

_WATER = 1.62
"""Attenuation of one patient unit of water at the beam energy of a chest radiograph."""

_SEEN = 0.3
"""Depth of lung, relative to its maximum, from which a pixel counts as lung."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The patient that an image shows.

    Attributes:
        seed: of the dataset.
        number: of the patient, unique in the dataset.
        subtype: ``bacteria``, ``virus``, or the empty string for a healthy child.
    """

    seed: int
    number: int
    subtype: str


@dataclass(frozen=True, slots=True)
class _Patient:
    """What all images of one patient share."""

    anatomy: Anatomy
    tree: Tree
    mottle: Texture
    parenchyma: Texture
    scanner: Scanner
    disease: Disease


@lru_cache(maxsize=64)
def _sample_patient(subject: Subject) -> _Patient:
    """Sample the patient from streams of its own; cached, since a patient's images are often read in a row."""
    rng = random_stream(Purpose.ANATOMY, subject.seed, subject.number)
    return _Patient(
        anatomy=sample_anatomy(rng),
        tree=grow_tree(rng),
        mottle=Texture(rng, 0.13),
        parenchyma=Texture(rng, 0.028),
        scanner=SCANNERS[rng.integers(len(SCANNERS))],
        disease=sample_disease(subject.subtype, random_stream(Purpose.DISEASE, subject.seed, subject.number)),
    )


@dataclass(frozen=True, slots=True)
class _Visit:
    """One image of a patient: its exposure, the chest as it was then, and the stream of what is drawn further."""

    exposure: Exposure
    anatomy: Anatomy
    canvas: Canvas
    chest: Chest
    rng: np.random.Generator


def _sample_visit(subject: Subject, image: int, size: int) -> _Visit:
    patient = _sample_patient(subject)
    rng = random_stream(Purpose.ACQUISITION, subject.seed, subject.number, image)
    exposure = sample_exposure(patient.scanner, rng)
    anatomy = patient.disease.deform(patient.anatomy.breathe(exposure.inspiration, rng))
    canvas = Canvas(size, exposure.placement)
    return _Visit(exposure, anatomy, canvas, draw_chest(canvas, anatomy, exposure.yaw), rng)


def anatomy_of(subject: Subject) -> Anatomy:
    """The patient's anatomy, before breathing and disease change it."""
    return _sample_patient(subject).anatomy


def lung_mask(subject: Subject, image: int, size: int) -> NDArray[np.uint8]:
    """Where the patient's image number ``image`` shows aerated lung, healthy or diseased; without heart and dome.

    Returns:
        uint8 [size, size], 1 lung, 0 elsewhere.
    """
    chest = _sample_visit(subject, image, size).chest
    return ((chest.inside >= 0.5) & (chest.shade > _SEEN)).astype(np.uint8)


def render(subject: Subject, image: int, size: int) -> NDArray[np.uint8]:
    """Render the patient's image number ``image``.

    Returns:
        uint8 gray levels [size, size], 0 black to 255 white; the same bits for the same arguments.
    """
    patient, visit = _sample_patient(subject), _sample_visit(subject, image, size)
    exposure, anatomy, canvas, chest = visit.exposure, visit.anatomy, visit.canvas, visit.chest
    x, y = canvas.x, canvas.y
    water = chest.tissue * (1 + 0.012 * patient.mottle(x, y)) - LUNG_AIR * chest.lung
    water -= np.minimum(draw_air(canvas, anatomy, visit.rng), 0.6 * water)
    branches = patient.tree.branches(canvas)
    vessels = saturate(canvas.rasterize(branches.strokes(3.4 * anatomy.vessels)), 0.19)
    crowding = draw_hila(chest) + 0.008 * patient.parenchyma(x, y)
    vessels = chest.shade * (vessels + anatomy.vessels * crowding)
    water += vessels + patient.disease.opacity(canvas, chest, branches, vessels)

    attenuation = _WATER * np.maximum(water, 0)
    attenuation += draw_bones(canvas, anatomy, exposure.yaw) + draw_wires(canvas, exposure)
    noise = random_stream(Purpose.NOISE, subject.seed, subject.number, image)
    return develop(canvas, np.asarray(attenuation, np.float32), exposure, noise)
