"""Baselines for generators: images that need no trained network, and real images of other patients.

A distance between generated and real images means little by itself. Real images of other patients give its lower
bound, noise and the mean image its trivial level, and two normal distributions, fitted to the training images, the
level without a network. Images are uint8 [n, S, S]; sampling takes a seed and leaves torch's global generator
unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.runtime.seeding import derive

_POWER_ITERATIONS = 4  # of the randomised SVD; eigenvalues of radiographs fall fast
_OVERSAMPLING = 10  # components of the randomised SVD beyond those kept


def noise(n: int, size: int, seed: int) -> Tensor:
    """Gray levels sampled uniformly from 0 to 255, uint8 [n, size, size]."""
    return torch.randint(0, 256, (n, size, size), generator=_generator(seed, "noise"), dtype=torch.uint8)


def mean_image(training: Tensor, n: int) -> Tensor:
    """The mean of the training images, n times: uint8 [n, S, S].

    Raises:
        ValueError: there is no training image.
    """
    return _gray_levels(_flat(training).mean(0)).view(1, *training.shape[1:]).repeat(n, 1, 1)


def pixel_gaussian(training: Tensor, n: int, seed: int) -> Tensor:
    """Independent normal pixels with their means and standard deviations in training: uint8 [n, S, S].

    Raises:
        ValueError: there is no training image.
    """
    pixels = _flat(training)
    samples = torch.randn(n, pixels.shape[1], generator=_generator(seed, "pixel-gaussian"))
    return _gray_levels(pixels.mean(0) + samples * pixels.std(0, correction=0)).view(n, *training.shape[1:])


def pca_gaussian(training: Tensor, n: int, seed: int, components: int = 100) -> Tensor:
    """Normal in the first principal components of the training images: uint8 [n, S, S].

    The samples of a linear decoder: correct means and covariances, and smooth, since the other components are left
    out. The components come from a randomised SVD (Halko et al. 2011), within seconds for thousands of images.

    Args:
        components: number of components; limited to N - 1 for N images, and to the number of pixels.

    Raises:
        ValueError: there are fewer than 2 training images.
    """
    pixels = _flat(training)
    if len(pixels) < 2:
        raise ValueError("principal components need at least 2 training images")
    generator = _generator(seed, "pca-gaussian")
    mean = pixels.mean(0)
    pixels -= mean
    count = min(components, len(pixels) - 1, pixels.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "components"))
        _, values, axes = torch.pca_lowrank(
            pixels, min(count + _OVERSAMPLING, *pixels.shape), center=False, niter=_POWER_ITERATIONS
        )
    deviations = values[:count] / (len(pixels) - 1) ** 0.5
    samples = torch.randn(n, count, generator=generator) * deviations
    return _gray_levels(mean + samples @ axes[:, :count].T).view(n, *training.shape[1:])


def patient_halves(patients: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide images into two halves without a common patient and with about equally many images.

    Patients are assigned from many images to few, ties in random order, each to the half that is smaller so far. So
    the halves differ by at most the images of one patient, and by at most one where enough patients have one image.

    Args:
        patients: the patient of each image.

    Returns:
        positions in ``patients``, each half in rising order.

    Raises:
        ValueError: there are fewer than two patients.
    """
    counts = Counter(patients)
    if len(counts) < 2:
        raise ValueError(f"two halves without a common patient need two patients; there are {len(counts)}")
    names = sorted(counts)
    order = np.random.default_rng(derive(seed, "halves")).permutation(len(names))
    sizes = [0, 0]
    half_of: dict[str, int] = {}
    for name in sorted((names[position] for position in order), key=lambda name: -counts[name]):
        half_of[name] = int(sizes[1] < sizes[0])
        sizes[half_of[name]] += counts[name]
    sides = np.array([half_of[name] for name in patients], np.int64)
    return np.flatnonzero(sides == 0), np.flatnonzero(sides == 1)


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, purpose))


def _flat(images: Tensor) -> Tensor:
    """Gray levels as float32 [N, S * S], a copy."""
    if not len(images):
        raise ValueError("there is no training image to compare with")
    return images.flatten(1).float()


def _gray_levels(values: Tensor) -> Tensor:
    """Rounded to whole gray levels."""
    return values.round_().clamp_(0, 255).to(torch.uint8)
