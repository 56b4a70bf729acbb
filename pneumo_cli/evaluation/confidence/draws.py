"""Bootstrap samples of patients: how often each patient was drawn, and sums over the patients of many samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers

Counts: TypeAlias = NDArray[np.generic]
"""How often each of P patients occurs in b samples, from 0: uint8 or float64 [P, b]."""

_CELLS = 2**21  # counts at once, a byte each
_FEWEST = 16  # samples at once, because whole rows of them are copied
_COUNTED = 2**15  # counts of several samples at once that the nearest cache holds
_BLOCK = 64  # patients whose counts are multiplied at once
_BLOCKS = 16  # blocks at once
_PRODUCTS = 2**18  # of one block; larger ones are split among threads, which takes longer than it saves


def draws(patients: int, resamples: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Draw P patients with replacement; how often each was drawn, a few samples at a time, [P, b].

    The same arguments give the same draws, so comparisons of two classifiers are paired.
    """
    generator = np.random.default_rng(seed)
    step = max(_FEWEST, _CELLS // patients)
    for start in range(0, resamples, step):
        # Among up to 255 patients none is drawn more often than a byte holds; of more, the chance is below 1e-500.
        counts = np.empty((min(step, resamples - start), patients), np.uint8)
        together = max(1, _COUNTED // patients)
        for first in range(0, len(counts), together):
            part = counts[first : first + together]
            # The same numbers as of 64 bits, in half the time.
            drawn = generator.integers(patients, size=part.shape, dtype=np.int32)
            drawn += patients * np.arange(len(part), dtype=np.int32)[:, None]
            part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
        yield np.ascontiguousarray(counts.T)


class PatientSums:
    """Sums of values over the patients of bootstrap samples.

    Args:
        values: of each patient, [S, P].
    """

    def __init__(self, values: Floats) -> None:
        sums, patients = values.shape
        self._whole = patients // _BLOCK
        blocks = values[:, : self._whole * _BLOCK].reshape(sums, self._whole, _BLOCK)
        self._blocks = np.ascontiguousarray(blocks.transpose(1, 0, 2))
        self._rest = np.ascontiguousarray(values[:, self._whole * _BLOCK :])

    def of(self, counts: Counts) -> Floats:
        """The sums in each sample, [S, b]."""
        width = max(1, _PRODUCTS // (_BLOCK * max(1, len(self._rest))))
        parts = [self._of(counts[:, start : start + width]) for start in range(0, counts.shape[1], width)]
        return np.concatenate(parts, axis=1)

    def _of(self, counts: Counts) -> Floats:
        samples = counts.shape[1]
        total = self._rest @ counts[self._whole * _BLOCK :].astype(np.float64)
        for start in range(0, self._whole, _BLOCKS):
            blocks = self._blocks[start : start + _BLOCKS]
            own = counts[start * _BLOCK : (start + len(blocks)) * _BLOCK].astype(np.float64)
            total += (blocks @ own.reshape(len(blocks), _BLOCK, samples)).sum(axis=0)
        return total


def patient_codes(patients: Sequence[str] | NDArray[np.generic], images: int) -> Integers:
    """Number the patients: [N] of 0 to P - 1.

    Raises:
        ValueError: there is not one patient per image.
    """
    names = np.asarray(patients)
    if names.shape != (images,):
        raise ValueError(f"patients have the shape {names.shape}; {images} images have one patient each")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def effective(images: Floats) -> float:
    """The effective number of equally large patients, for patients with these numbers of images [P] (Kish 1965).

    At least 1.5, so that an error based on a single patient is very large but finite.
    """
    return max(1.5, float(images.sum() ** 2 / (images**2).sum())) if images.any() else 1.5
