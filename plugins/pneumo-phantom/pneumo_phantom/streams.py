"""Random streams, one for each purpose, patient and image, independent of all others.

So an image does not depend on which images were rendered before it, or in which thread.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers determine the images: never renumber them."""

    COHORT = 0
    ANATOMY = 1
    DISEASE = 2
    ACQUISITION = 3
    NOISE = 4


def random_stream(purpose: Purpose, *key: int) -> np.random.Generator:
    """A counter-based generator, determined by ``purpose`` and ``key`` alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((purpose, *key))))


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform random number as a plain float."""
    return float(rng.uniform(low, high))


def clipped_normal(rng: np.random.Generator, mean: float, deviation: float) -> float:
    """A normal random number, clipped at two standard deviations to keep the anatomy plausible."""
    return mean + deviation * min(max(float(rng.standard_normal()), -2.0), 2.0)
