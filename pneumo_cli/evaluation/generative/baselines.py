"""What a generator has to be compared with: images that cost no training, and real images of other patients.

A distance between generated and real images says little by itself. Real images of other patients show how small
it can get; noise and the mean image how large it is for nothing; two normal distributions, fitted to the training
images, how far one gets without a network. The images are uint8 [n, S, S]; whatever is drawn takes a seed and
leaves torch's global generator as it is.
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
_SPARE = 10  # components that it computes beyond those that are wanted


def noise(n: int, size: int, seed: int) -> Tensor:
    """Grey levels drawn uniformly from 0 to 255, uint8 [n, size, size]."""
    return torch.randint(0, 256, (n, size, size), generator=_generator(seed, "noise"), dtype=torch.uint8)


def mean_image(training: Tensor, n: int) -> Tensor:
    """The mean of the training images, n times: uint8 [n, S, S].

    Raises:
        ValueError: there is no training image.
    """
    return _levels(_flat(training).mean(0)).view(1, *training.shape[1:]).repeat(n, 1, 1)


def pixel_gaussian(training: Tensor, n: int, seed: int) -> Tensor:
    """Each pixel normal by itself, with the mean and the spread that it has in training: uint8 [n, S, S].

    Raises:
        ValueError: there is no training image.
    """
    pixels = _flat(training)
    drawn = torch.randn(n, pixels.shape[1], generator=_generator(seed, "pixel-gaussian"))
    return _levels(pixels.mean(0) + drawn * pixels.std(0, correction=0)).view(n, *training.shape[1:])


def pca_gaussian(training: Tensor, n: int, seed: int, components: int = 100) -> Tensor:
    """Normal in the first principal components of the training images: uint8 [n, S, S].

    What a linear decoder can draw: right in means and covariances, and smooth, for nothing is added for the
    components that are left out. The components come from a randomised SVD (Halko et al. 2011), seconds even for
    thousands of images.

    Args:
        components: at most one less than there are images, and than there are pixels.

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
            pixels, min(count + _SPARE, *pixels.shape), center=False, niter=_POWER_ITERATIONS
        )
    spread = values[:count] / (len(pixels) - 1) ** 0.5
    drawn = torch.randn(n, count, generator=generator) * spread
    return _levels(mean + drawn @ axes[:, :count].T).view(n, *training.shape[1:])


def patient_halves(patients: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide images into two halves that share no patient and have about equally many images.

    Patients with many images are dealt out first, those with as many in random order, each to the half that is
    smaller by then, so the halves differ by at most the images of one patient, and by one where enough patients
    have a single image.

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
    dealt = sorted((names[position] for position in order), key=lambda name: -counts[name])
    first, second = 0, 0
    half_of: dict[str, int] = {}
    for name in dealt:
        half_of[name] = int(second < first)
        if half_of[name]:
            second += counts[name]
        else:
            first += counts[name]
    sides = np.array([half_of[name] for name in patients], np.int64)
    return np.flatnonzero(sides == 0), np.flatnonzero(sides == 1)


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, purpose))


def _flat(images: Tensor) -> Tensor:
    """Grey levels as float32 [N, S * S], a copy."""
    if not len(images):
        raise ValueError("there is no training image to compare with")
    return images.flatten(1).float()


def _levels(values: Tensor) -> Tensor:
    """Rounded to whole grey levels."""
    return values.round_().clamp_(0, 255).to(torch.uint8)
