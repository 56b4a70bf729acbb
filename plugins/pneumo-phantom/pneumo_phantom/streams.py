"""Random streams: one for every purpose of every patient and picture, independent of all others.

A picture never depends on which pictures were drawn before it, or in which thread: whoever draws it opens the
stream that its numbers select.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of the pictures' identity: never renumber them."""

    COHORT = 0
    ANATOMY = 1
    DISEASE = 2
    ACQUISITION = 3
    NOISE = 4


def open_stream(purpose: Purpose, *key: int) -> np.random.Generator:
    """A counter-based generator that ``purpose`` and ``key`` alone determine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((purpose, *key))))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform draw as a plain float."""
    return float(rng.uniform(low, high))


def spread(rng: np.random.Generator, centre: float, deviation: float) -> float:
    """A normal draw, cut at two standard deviations so that no child is a monster."""
    return centre + deviation * float(np.clip(rng.standard_normal(), -2.0, 2.0))
