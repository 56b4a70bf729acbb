"""Is one image an altered copy of another? Re-encoded, rescaled, brighter, cropped a little, turned, or mirrored.

Chests look alike, so the question is asked in three steps, each of which sees less pairs and looks closer:

1. *Perceptual hash*: 256 bits of the lowest frequencies of a 32-px thumbnail (a DCT hash, Zauner 2010). Pairs whose
   hashes differ in few bits are candidates; two patients' chests often are. A crop changes many bits, so the hashes
   of some crops of each image, and of its mirror image, are compared too.
2. *Tangent distance* (Simard et al. 1993): how much of one thumbnail is explained by the other, shifted, scaled and
   turned a little, of any brightness and contrast. One product of matrices per pair.
3. *Correlation* of local contrast at 64 px, after aligning the two by least squares (Lucas and Kanade 1981): edges
   of ribs, vessels, tubes and letters, not the common shape of a chest.

Measured on 5,216 radiographs of 3,654 children: the most alike pair of two patients reaches 0.74, the second 0.71.
Altered copies (JPEG of quality 50, two thirds of the size, brightness, contrast and gamma by up to 1.6, crops by
4 % on any sides, turns by 2 degrees) reach 0.88 and more; so the threshold is 0.82. Two exposures of one patient
may reach 0.85. Smaller images show less: below 96 px it is 0.86, since drawn radiographs of two patients have
reached 0.83 at 64 px; below 48 px it is 0.9, since two children's reach 0.86.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.downsampling import area_weights, shrunk

Positions = NDArray[np.int64]

SMALLEST = 32
"""Pixels of the smallest images that can be compared."""

_HASH_SIDE, _FREQUENCIES = 32, 16
_BITS_APART = 68  # of 255; two thirds of all pairs of chests differ in more than 110
_FIRST_BITS_APART = 24  # of the first 64, the lowest frequencies, which spares the others of most pairs
_CROP_BITS_APART = 48  # of a crop that is nearly the one that was made
_TANGENT = 0.945
_CROPS = (  # left, upper, right, lower, as shares
    (0.04, 0.04, 0.96, 0.96),
    (0.04, 0.04, 1.0, 1.0),
    (0.0, 0.04, 0.96, 1.0),
    (0.04, 0.0, 1.0, 0.96),
    (0.0, 0.0, 0.96, 0.96),
)
_SIDE = 64  # px at which images are aligned and correlated, if they have as many
_MARGIN = 3 / 64  # of the side: alignment brings something from beyond the border into it
_NEIGHBOURHOOD = 3 / 64  # of the side: radius within which contrast is local
_NOISE = 0.02  # grey levels, of a range of 1: contrast below it is none
_ALIGNMENTS = 4  # iterations
_STEP, _FURTHEST = 0.1, 0.2  # of half a side: what one iteration, and all together, may move an image
_FLAT = 2 / 255  # standard deviation of grey levels below which an image shows nothing
_CHUNK, _CLOSE_CHUNK = 256, 128


def threshold(size: int) -> float:
    """The correlation from which on one image of ``size`` px is taken for a copy of another."""
    if size >= 96:
        return 0.82
    return 0.86 if size >= 48 else 0.9


class Match(NamedTuple):
    """An image and an altered copy of it.

    Attributes:
        first, second: rows of the two among the images that were compared.
        bits: in how many of 255 their perceptual hashes differ.
        correlation: of local contrast after alignment, at most 1.
        mirrored: one is the mirror image of the other.
    """

    first: int
    second: int
    bits: int
    correlation: float
    mirrored: bool


class _View(NamedTuple):
    """Thumbnails of all images, seen in one way: float32 [N, 32, 32] and uint64 [N, 4]."""

    thumbnails: Tensor
    hashes: NDArray[np.uint64]


class NearDuplicateIndex:
    """Finds altered copies among images.

    Args:
        levels: uint8 [N, S, S], S at least ``SMALLEST``.

    Raises:
        ValueError: the images are smaller, or not square.
    """

    def __init__(self, levels: NDArray[np.uint8]) -> None:
        if levels.ndim != 3 or levels.shape[1] < SMALLEST:
            raise ValueError(
                f"copies are found among images of {SMALLEST} px and more, not {list(levels.shape)}"
            )
        self._close = torch.from_numpy(shrunk(levels, min(_SIDE, levels.shape[1])))
        self._threshold = threshold(levels.shape[1])
        self._plain = _view(self._cropped((0.0, 0.0, 1.0, 1.0)))
        self._mirrored = _view(self._plain.thumbnails.flip(2))
        self._crops = [_view(self._cropped(part)) for part in _CROPS]
        self._shows = (self._plain.thumbnails.flatten(1).std(1) > _FLAT).numpy()

    def _cropped(self, part: tuple[float, float, float, float]) -> Tensor:
        left, upper, right, lower = part
        side = self._close.shape[1]
        across = torch.from_numpy(area_weights(side, _HASH_SIDE, left, right))
        return torch.from_numpy(area_weights(side, _HASH_SIDE, upper, lower)) @ self._close @ across.T

    def between(self, first: Positions, second: Positions) -> list[Match]:
        """The copies that two groups of rows have in common, in order of their rows.

        The groups either have no row in common or are the same; each pair is then found once.
        """
        first, second = first[self._shows[first]], second[self._shows[second]]
        seen = [(self._plain, self._plain, _BITS_APART)]
        for crop in self._crops:
            seen += [(self._plain, crop, _CROP_BITS_APART), (crop, self._plain, _CROP_BITS_APART)]
        found = self._matches(first, second, seen, mirrored=False)
        found += self._matches(first, second, [(self._plain, self._mirrored, _BITS_APART)], mirrored=True)
        return sorted(found)

    def _matches(
        self, first: Positions, second: Positions, seen: list[tuple[_View, _View, int]], mirrored: bool
    ) -> list[Match]:
        candidates: dict[tuple[int, int], int] = {}
        once = np.array_equal(first, second)
        for one, other, most in seen:
            rows, columns, bits = _alike(one.hashes[first], other.hashes[second], most)
            pairs = np.stack([first[rows], second[columns], bits])
            if once:
                pairs = pairs[:, pairs[0] < pairs[1]]
            for a, b, apart in pairs[:, _explained(one, other, pairs[:2])].T.tolist():
                candidates[a, b] = min(apart, candidates.get((a, b), apart))
        pairs = np.array(list(candidates), np.int64).reshape(-1, 2)
        return [
            Match(a, b, candidates[a, b], value, mirrored)
            for (a, b), value in zip(pairs.tolist(), self._correlations(pairs, mirrored), strict=True)
            if value >= self._threshold
        ]

    def _correlations(self, pairs: Positions, mirrored: bool) -> list[float]:
        """Step 3, for pairs [P, 2]."""
        values: list[float] = []
        for start in range(0, len(pairs), _CLOSE_CHUNK):
            part = torch.from_numpy(pairs[start : start + _CLOSE_CHUNK])
            first, second = self._close[part[:, 0]], self._close[part[:, 1]]
            values += aligned_correlation(first, second.flip(2) if mirrored else second).tolist()
        return values


def _view(images: Tensor) -> _View:
    return _View(images, perceptual_hashes(images.numpy()))


def _explained(one: _View, other: _View, pairs: Positions) -> NDArray[np.bool_]:
    """Step 2, for pairs [2, P]: whether one of the two explains enough of the other."""
    kept = [np.zeros(0, bool)]
    for start in range(0, pairs.shape[1], _CHUNK):
        first, second = torch.from_numpy(pairs[:, start : start + _CHUNK])
        a, b = one.thumbnails[first], other.thumbnails[second]
        # Of each image that is in several pairs the basis is made once.
        used, row = torch.unique(second, return_inverse=True)
        share = _share(a, tangent_bases(other.thumbnails[used])[row])
        used, row = torch.unique(first, return_inverse=True)
        share = torch.maximum(share, _share(b, tangent_bases(one.thumbnails[used])[row]))
        kept.append((share >= _TANGENT).numpy())
    return np.concatenate(kept)


def perceptual_hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash images [N, S, S] to 256 bits: uint64 [N, 4].

    A bit tells whether a coefficient of the cosine transform is above their median; that of the mean brightness is
    left out, and the last bit is always 0.
    """
    side = thumbnails.shape[1]
    place, frequency = np.arange(side)[None, :], np.arange(_FREQUENCIES)[:, None]
    cosines = np.cos(np.pi * (2 * place + 1) * frequency / (2 * side)).astype(np.float32)
    cosines[0] /= np.sqrt(2)  # so that all rows are of equal length
    coefficients = (cosines @ thumbnails @ cosines.T).reshape(len(thumbnails), -1)[:, 1:]
    bits = np.zeros((len(thumbnails), _FREQUENCIES**2), bool)
    bits[:, :-1] = coefficients > np.median(coefficients, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)


def _alike(
    first: NDArray[np.uint64], second: NDArray[np.uint64], most: int
) -> tuple[Positions, Positions, Positions]:
    """The rows of all pairs of hashes that differ in at most so many bits, and in how many."""
    rows, columns, bits = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(first), _CHUNK):
        part = first[start : start + _CHUNK]
        near = np.bitwise_count(part[:, :1] ^ second[None, :, 0]) <= _FIRST_BITS_APART * most // _BITS_APART
        row, column = np.divmod(np.flatnonzero(near), max(1, len(second)))
        apart = np.bitwise_count(part[row] ^ second[column]).sum(1, dtype=np.int64)
        kept = apart <= most
        rows.append(row[kept] + start)
        columns.append(column[kept])
        bits.append(apart[kept])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(bits)


def tangent_bases(images: Tensor) -> Tensor:
    """Orthonormal bases [N, S * S, 8] of what small affine movements, brightness and contrast make of images."""
    count, side, _ = images.shape
    columns = _derivatives(images)
    columns = torch.cat([torch.ones(count, side * side, 1), images.reshape(count, -1, 1), columns], 2)
    bases: Tensor = torch.linalg.qr(columns)[0]
    return bases


def _share(images: Tensor, bases: Tensor) -> Tensor:
    """How long the images' projections on the bases are, relative to the images, without the mean: [P]."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    along = torch.bmm(flat[:, None], bases[:, :, 1:])[:, 0]
    share: Tensor = along.norm(dim=1) / flat.norm(dim=1)
    return share


def aligned_correlation(first: Tensor, second: Tensor) -> Tensor:
    """How well two images' local contrast correlates, as they are or aligned, whichever is more.

    Args:
        first, second: float32 [P, S, S], 0 to 1.

    Returns:
        float32 [P], -1 to 1.
    """
    contrast = local_contrast(second)
    as_given = _correlation(local_contrast(first), contrast)
    return torch.maximum(as_given, _correlation(local_contrast(_aligned(first, second)), contrast))


def _aligned(images: Tensor, targets: Tensor) -> Tensor:
    """Move, scale, shear and turn images so that, up to brightness and contrast, they meet their targets best."""
    count, side, _ = images.shape
    identity = torch.eye(2, 3).repeat(count, 1, 1)
    moved, warped = torch.zeros(count, 2, 3), images
    wanted = _inner(targets).reshape(count, -1, 1)
    for _ in range(_ALIGNMENTS):
        slopes = _inner(_derivatives(warped).reshape(count, side, side, 6)).reshape(count, -1, 6)
        shown = _inner(warped).reshape(count, -1, 1)
        design = torch.cat([slopes, shown, torch.ones_like(shown)], 2)
        normal = design.mT @ design
        scale = torch.diagonal(normal, dim1=1, dim2=2)
        # The first part keeps the step small where an image shows no edges; the second keeps a flat one solvable.
        normal = normal + torch.diag_embed(1e-4 * scale + 1e-6)
        found = torch.linalg.solve(normal, design.mT @ wanted)[:, :, 0]
        # A target of less contrast shows smaller differences for the same movement.
        step = found[:, :6] / found[:, 6:7].clamp(min=0.3)
        moved = (moved + step.clamp(-_STEP, _STEP).reshape(count, 2, 3)).clamp(-_FURTHEST, _FURTHEST)
        grid = F.affine_grid(identity + moved, [count, 1, side, side], align_corners=False)
        warped = F.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return warped


def _derivatives(images: Tensor) -> Tensor:
    """How each pixel changes with the six numbers of an affine map (row by row, in half sides): [N, S * S, 6]."""
    side = images.shape[1]
    place = (2 * torch.arange(side) + 1) / side - 1
    down, across = torch.gradient(images, dim=(1, 2))
    down, across = down * side / 2, across * side / 2
    x, y = place[None, None, :], place[None, :, None]
    return torch.stack([across * x, across * y, across, down * x, down * y, down], 3).flatten(1, 2)


def local_contrast(images: Tensor) -> Tensor:
    """Each pixel against its surroundings, in units of how much these vary: [N, S, S], about -3 to 3."""
    radius = max(1, round(_NEIGHBOURHOOD * images.shape[1]))

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values[:, None], [radius] * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * radius + 1, 1)[:, 0]

    apart = images - mean(images)
    return apart / (mean(apart**2) + _NOISE**2).sqrt()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    a, b = _inner(first).flatten(1), _inner(second).flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(1) / lengths.clamp(min=1e-6)


def _inner(images: Tensor) -> Tensor:
    """Without the margin of the second and third dimension."""
    margin = max(1, round(_MARGIN * images.shape[1]))
    return images[:, margin:-margin, margin:-margin]
