"""Near-duplicate detection: re-encoded, rescaled, brightened, slightly cropped, rotated, or flipped copies.

Chest radiographs are similar to each other, so there are three steps, each with fewer pairs and more detail:

1. *Perceptual hash*: 256 bits of the lowest frequencies of a 32-px thumbnail (DCT hash, Zauner 2010). Pairs whose
   hashes differ in few bits are candidates, often of two patients. Cropping changes many bits, so the hashes of
   some crops of each image, and of the flipped image, are compared too.
2. *Tangent distance* (Simard et al. 1993): how much of one thumbnail is explained by the other under small shifts,
   scalings and rotations and any brightness and contrast. One matrix product per pair.
3. *Correlation* of local contrast at 64 px after least-squares alignment (Lucas and Kanade 1981): edges of ribs,
   vessels, tubes and letters, not the common shape of a chest.

Measured on 5,216 radiographs of 3,654 children: the highest correlation of two patients is 0.74, the second 0.71.
Altered copies (JPEG quality 50, two thirds of the size, brightness, contrast and gamma by up to 1.6, crops by 4 %
on any side, rotation by 2 degrees) reach at least 0.88; so the threshold is 0.82. Two exposures of one patient may
reach 0.85. Smaller images show less: below 96 px it is 0.86, since phantoms of two patients reached 0.83 at 64 px;
below 48 px it is 0.9, since two children reached 0.86.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.downsampling import area_weights, shrunk
from pneumo_cli.data.resizing import GrayImages

Positions = NDArray[np.int64]

SMALLEST = 32
"""Smallest size of images that can be compared, in pixels."""

_HASH_SIDE, _FREQUENCIES = 32, 16
_BITS_APART = 68  # of 255; two thirds of all pairs of chests differ in more than 110
_FIRST_BITS_APART = 24  # of the first 64 (lowest frequencies); rules out most pairs early
_CROP_BITS_APART = 48  # for a crop, which nearly equals the actual one
_TANGENT = 0.945
_CROPS = (  # left, upper, right, lower, as shares
    (0.04, 0.04, 0.96, 0.96),
    (0.04, 0.04, 1.0, 1.0),
    (0.0, 0.04, 0.96, 1.0),
    (0.04, 0.0, 1.0, 0.96),
    (0.0, 0.0, 0.96, 0.96),
)
_SIDE = 64  # px at which images are aligned and correlated, if they are as large
_MARGIN = 3 / 64  # of the side, ignored: alignment moves pixels from beyond the border into it
_NEIGHBOURHOOD = 3 / 64  # of the side: radius of local contrast
_NOISE = 0.02  # of a gray-level range of 1: lower contrast counts as none
_ALIGNMENTS = 4  # iterations
_STEP, _FURTHEST = 0.1, 0.2  # of half a side: largest movement in one iteration, and in all
_FLAT = 2 / 255  # standard deviation of gray levels below which an image counts as blank
_CHUNK, _CLOSE_CHUNK = 256, 128


def threshold(size: int) -> float:
    """The correlation from which on two images of ``size`` px count as copies."""
    if size >= 96:
        return 0.82
    return 0.86 if size >= 48 else 0.9


class Match(NamedTuple):
    """An image and an altered copy of it.

    Attributes:
        first, second: rows of the two images.
        bits: number of different bits of their perceptual hashes, of 255.
        correlation: of local contrast after alignment, at most 1.
        flipped: one is a horizontally flipped copy of the other.
    """

    first: int
    second: int
    bits: int
    correlation: float
    flipped: bool


class _View(NamedTuple):
    """Thumbnails of one view of all images, float32 [N, 32, 32], and their hashes, uint64 [N, 4]."""

    thumbnails: Tensor
    hashes: NDArray[np.uint64]


class NearDuplicateIndex:
    """Finds altered copies among images.

    Args:
        images: uint8 [N, S, S], S at least ``SMALLEST``.

    Raises:
        ValueError: the images are smaller, or not square.
    """

    def __init__(self, images: NDArray[np.uint8] | GrayImages) -> None:
        if images.ndim != 3 or images.shape[1] < SMALLEST:
            raise ValueError(f"images need at least {SMALLEST} px to be compared, not {list(images.shape)}")
        self._close = torch.from_numpy(shrunk(images, min(_SIDE, images.shape[1])))
        self._threshold = threshold(images.shape[1])
        self._whole = _view(self._cropped((0.0, 0.0, 1.0, 1.0)))
        self._flipped = _view(self._whole.thumbnails.flip(2))
        self._crops = [_view(self._cropped(box)) for box in _CROPS]
        self._has_content = (self._whole.thumbnails.flatten(1).std(1) > _FLAT).numpy()

    def _cropped(self, box: tuple[float, float, float, float]) -> Tensor:
        left, upper, right, lower = box
        side = self._close.shape[1]
        across = torch.from_numpy(area_weights(side, _HASH_SIDE, left, right))
        return torch.from_numpy(area_weights(side, _HASH_SIDE, upper, lower)) @ self._close @ across.T

    def between(self, first: Positions, second: Positions) -> list[Match]:
        """The copies that two groups of rows have in common, in order of their rows.

        The groups are either disjoint or the same; each pair is then found once.
        """
        first, second = first[self._has_content[first]], second[self._has_content[second]]
        views = [(self._whole, self._whole, _BITS_APART)]
        for crop in self._crops:
            views += [(self._whole, crop, _CROP_BITS_APART), (crop, self._whole, _CROP_BITS_APART)]
        matches = self._matches(first, second, views, flipped=False)
        matches += self._matches(first, second, [(self._whole, self._flipped, _BITS_APART)], flipped=True)
        return sorted(matches)

    def _matches(
        self, first: Positions, second: Positions, views: list[tuple[_View, _View, int]], flipped: bool
    ) -> list[Match]:
        candidates: dict[tuple[int, int], int] = {}
        within = np.array_equal(first, second)
        for one, other, most in views:
            rows, columns, bits = _similar(one.hashes[first], other.hashes[second], most)
            pairs = np.stack([first[rows], second[columns], bits])
            if within:
                pairs = pairs[:, pairs[0] < pairs[1]]
            for a, b, apart in pairs[:, _explained(one, other, pairs[:2])].T.tolist():
                candidates[a, b] = min(apart, candidates.get((a, b), apart))
        correlations: list[float] = []
        pairs = np.array(list(candidates), np.int64).reshape(-1, 2)
        for start in range(0, len(pairs), _CLOSE_CHUNK):
            one_of, other_of = self._close[torch.from_numpy(pairs[start : start + _CLOSE_CHUNK].T)]
            correlations += aligned_correlation(one_of, other_of.flip(2) if flipped else other_of).tolist()
        return [
            Match(a, b, bits, correlation, flipped)
            for ((a, b), bits), correlation in zip(candidates.items(), correlations, strict=True)
            if correlation >= self._threshold
        ]


def _view(images: Tensor) -> _View:
    return _View(images, perceptual_hashes(images.numpy()))


def _explained(one: _View, other: _View, pairs: Positions) -> NDArray[np.bool_]:
    """Step 2 for pairs [2, P]: whether one of the two explains enough of the other."""
    explained = [np.zeros(0, bool)]
    for start in range(0, pairs.shape[1], _CHUNK):
        first, second = torch.from_numpy(pairs[:, start : start + _CHUNK])
        a, b = one.thumbnails[first], other.thumbnails[second]
        # The basis of an image in several pairs is computed once.
        used, row = torch.unique(second, return_inverse=True)
        share = _share(a, tangent_bases(other.thumbnails[used])[row])
        used, row = torch.unique(first, return_inverse=True)
        share = torch.maximum(share, _share(b, tangent_bases(one.thumbnails[used])[row]))
        explained.append((share >= _TANGENT).numpy())
    return np.concatenate(explained)


def perceptual_hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash images [N, S, S] to 256 bits: uint64 [N, 4].

    Each bit is 1 if a coefficient of the cosine transform is above their median; the coefficient of the mean
    brightness is left out, and the last bit is always 0.
    """
    side = thumbnails.shape[1]
    place, frequency = np.arange(side)[None, :], np.arange(_FREQUENCIES)[:, None]
    cosines = np.cos(np.pi * (2 * place + 1) * frequency / (2 * side)).astype(np.float32)
    cosines[0] /= np.sqrt(2)  # so that all rows have equal length
    coefficients = (cosines @ thumbnails @ cosines.T).reshape(len(thumbnails), -1)[:, 1:]
    bits = np.zeros((len(thumbnails), _FREQUENCIES**2), bool)
    bits[:, :-1] = coefficients > np.median(coefficients, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)


def _similar(first: NDArray[np.uint64], second: NDArray[np.uint64], most: int) -> Positions:
    """Row in each, and number of different bits, of all pairs of hashes that differ in at most so many: [3, P]."""
    similar = [np.zeros((3, 0), np.int64)]
    for start in range(0, len(first), _CHUNK):
        chunk = first[start : start + _CHUNK]
        near = np.bitwise_count(chunk[:, :1] ^ second[None, :, 0]) <= _FIRST_BITS_APART * most // _BITS_APART
        row, column = np.divmod(np.flatnonzero(near), max(1, len(second)))
        apart = np.bitwise_count(chunk[row] ^ second[column]).sum(1, dtype=np.int64)
        similar.append(np.stack((row + start, column, apart))[:, apart <= most])
    return np.concatenate(similar, axis=1)


def tangent_bases(images: Tensor) -> Tensor:
    """Orthonormal bases [N, S * S, 8] of small affine movements, brightness and contrast changes of images."""
    count, side, _ = images.shape
    columns = _derivatives(images)
    columns = torch.cat([torch.ones(count, side * side, 1), images.reshape(count, -1, 1), columns], 2)
    bases: Tensor = torch.linalg.qr(columns)[0]
    return bases


def _share(images: Tensor, bases: Tensor) -> Tensor:
    """Length of the images' projections on the bases relative to the images, without the mean: [P]."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    along = torch.bmm(flat[:, None], bases[:, :, 1:])[:, 0]
    share: Tensor = along.norm(dim=1) / flat.norm(dim=1)
    return share


def aligned_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of two images' local contrast, with or without alignment, whichever is higher.

    Args:
        first, second: float32 [P, S, S], 0 to 1.

    Returns:
        float32 [P], -1 to 1.
    """
    contrast = local_contrast(second)
    images = (first, _aligned(first, second))
    return torch.maximum(*(_correlation(local_contrast(one), contrast) for one in images))


def _aligned(images: Tensor, targets: Tensor) -> Tensor:
    """Align images to their targets by affine maps, up to brightness and contrast, by least squares."""
    count, side, _ = images.shape
    identity = torch.eye(2, 3).repeat(count, 1, 1)
    moved, warped = torch.zeros(count, 2, 3), images
    target = _inner(targets).reshape(count, -1, 1)
    for _ in range(_ALIGNMENTS):
        slopes = _inner(_derivatives(warped).reshape(count, side, side, 6)).reshape(count, -1, 6)
        pixels = _inner(warped).reshape(count, -1, 1)
        design = torch.cat([slopes, pixels, torch.ones_like(pixels)], 2)
        normal = design.mT @ design
        scale = torch.diagonal(normal, dim1=1, dim2=2)
        # The first term keeps the step small for images without edges; the second keeps flat ones solvable.
        normal = normal + torch.diag_embed(1e-4 * scale + 1e-6)
        solution = torch.linalg.solve(normal, design.mT @ target)[:, :, 0]
        # With less contrast in the target, the same movement causes smaller differences.
        step = solution[:, :6] / solution[:, 6:7].clamp(min=0.3)
        moved = (moved + step.clamp(-_STEP, _STEP).reshape(count, 2, 3)).clamp(-_FURTHEST, _FURTHEST)
        grid = F.affine_grid(identity + moved, [count, 1, side, side], align_corners=False)
        warped = F.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return warped


def _derivatives(images: Tensor) -> Tensor:
    """Derivatives of each pixel by the six numbers of an affine map (by row, in half sides): [N, S * S, 6]."""
    side = images.shape[1]
    place = (2 * torch.arange(side) + 1) / side - 1
    down, across = torch.gradient(images, dim=(1, 2))
    down, across = down * side / 2, across * side / 2
    x, y = place[None, None, :], place[None, :, None]
    return torch.stack([across * x, across * y, across, down * x, down * y, down], 3).flatten(1, 2)


def local_contrast(images: Tensor) -> Tensor:
    """Deviation of each pixel from its neighbourhood in units of its variation: [N, S, S], about -3 to 3."""
    radius = max(1, round(_NEIGHBOURHOOD * images.shape[1]))

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values[:, None], [radius] * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * radius + 1, 1)[:, 0]

    deviation = images - mean(images)
    return deviation / (mean(deviation**2) + _NOISE**2).sqrt()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    a, b = _inner(first).flatten(1), _inner(second).flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(1) / lengths.clamp(min=1e-6)


def _inner(images: Tensor) -> Tensor:
    """The images without their margins."""
    margin = max(1, round(_MARGIN * images.shape[1]))
    return images[:, margin:-margin, margin:-margin]
