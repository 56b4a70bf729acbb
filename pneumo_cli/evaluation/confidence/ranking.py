"""The areas under both curves, and points of the curves, in many bootstrap samples at once.

The images are sorted once. What a sample adds is how often each image counts, so its curves are running sums of
these counts along the order. They are computed for several samples side by side, block by block: then each step is
the sum of two long rows, and a running sum at any place that of two numbers. A curve as a whole is never stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.confidence.draws import Counts

_BITS = 6
_BLOCK = 2**_BITS  # images; the counts of a block, each a byte, add up to less than 2**16
_CELLS = 2**22  # counts of images in samples at once
_FEWEST = 16  # samples side by side
_CORNERS = 1024  # of a curve, among which the nearest one is searched first
_TERMS = 2**15  # summands at once, 0.25 MiB: the nearer cache holds a few arrays of them


class RunningSums(NamedTuple):
    """How often the first images of an order count in b samples, for any number of images.

    Attributes:
        starts: the sum before each block, [blocks, b].
        within: the sum of a block before each of its images, [_BLOCK, blocks, b].
    """

    starts: Floats
    within: NDArray[np.generic]

    def at(self, counts: Integers) -> Floats:
        """The sum over the first images: [n, b] for numbers of images [n]."""
        block, place = counts >> _BITS, counts & (_BLOCK - 1)
        blocks, samples = self.starts.shape
        sums: Floats = self.starts.take(block, axis=0)
        sums += self.within.reshape(-1, samples).take(place * blocks + block, axis=0)
        return sums

    def each(self, counts: Integers) -> Floats:
        """The same for numbers of images that differ between samples: [n, b] for [n, b]."""
        block, place = counts >> _BITS, counts & (_BLOCK - 1)
        blocks, samples = self.starts.shape
        sample = np.arange(samples)
        sums: Floats = self.starts.take(block * samples + sample)
        sums += self.within.take((place * blocks + block) * samples + sample)
        return sums


class Order:
    """Images in the order of their logits, from the highest one on.

    Args:
        codes: the patient of each, [n].
    """

    def __init__(self, codes: Integers) -> None:
        self.images = codes.size
        self._blocks = codes.size // _BLOCK + 1
        padded = np.zeros(self._blocks * _BLOCK, np.int64)
        padded[: codes.size] = codes
        # Images at the same place of their block lie side by side.
        self._codes = padded.reshape(self._blocks, _BLOCK).T.ravel()

    def sums(self, counts: Counts) -> RunningSums:
        """The running sums in samples with these counts of each patient, [P, b]."""
        samples = counts.shape[1]
        each = counts.take(self._codes, axis=0).reshape(_BLOCK, self._blocks, samples)
        exact = np.uint16 if counts.dtype == np.uint8 else np.float64
        within = np.zeros(each.shape, exact)
        for place in range(1, _BLOCK):
            np.add(within[place - 1], each[place - 1], out=within[place])
        starts = np.zeros((self._blocks, samples))
        np.cumsum((within[-1, :-1] + each[-1, :-1]).astype(np.float64), axis=0, out=starts[1:])
        return RunningSums(starts, within)


class Ranking:
    """One split, sorted by its logits.

    Args:
        scores: logits [N], finite.
        truth: [N] of 0 and 1.
        codes: the patient of each image, [N].

    Attributes:
        positives, negatives: number of positive and of negative images at or above each distinct logit, from the
            highest one on, after 0: [K + 1] each.
        place: the place of each image's logit among the distinct ones, [N] of 1 to K.
    """

    def __init__(self, scores: Floats, truth: Integers, codes: Integers) -> None:
        order = np.argsort(-scores, kind="stable")
        falling, positive, codes = scores[order], truth[order] == 1, codes[order]
        first_of_tie = np.append(True, np.diff(falling) != 0)
        last_of_tie = np.flatnonzero(np.append(first_of_tie[1:], True))
        self.positives = np.append(0, np.cumsum(positive)[last_of_tie])
        self.negatives = np.append(0, last_of_tie + 1) - self.positives
        self.place = np.empty(scores.size, np.int64)
        self.place[order] = np.cumsum(first_of_tie)
        self._positives, self._negatives = Order(codes[positive]), Order(codes[~positive])

    def areas(self, counts: Counts) -> tuple[Floats, Floats]:
        """AUC (equal logits count half), and average precision as scikit-learn defines it, of bootstrap samples.

        Args:
            counts: how often each patient occurs, [P, b].

        Returns:
            [b] each; NaN, infinite or without meaning in a sample without images of both classes.
        """
        parts = [self._areas(*sums) for sums in self._sums(counts)]
        area, precision = (np.concatenate(each) for each in zip(*parts, strict=True))
        return area, precision

    def _sums(self, counts: Counts) -> Iterator[tuple[RunningSums, RunningSums]]:
        """The running sums of positives and of negatives, of as many samples at a time as memory allows."""
        width = max(_FEWEST, _CELLS // self.place.size)
        for start in range(0, counts.shape[1], width):
            part = np.ascontiguousarray(counts[:, start : start + width])
            yield self._positives.sums(part), self._negatives.sums(part)

    def _areas(self, positives: RunningSums, negatives: RunningSums) -> tuple[Floats, Floats]:
        samples = positives.starts.shape[1]
        # The area above the curve: each negative ranked above a positive is lost.
        lost, precisions, before = np.zeros(samples), np.zeros(samples), np.zeros((1, samples))
        steps = np.flatnonzero(np.diff(self.positives)) + 1  # the logits of positive images
        rows = max(1, _TERMS // samples)
        for start in range(0, steps.size, rows):
            own = steps[start : start + rows]
            tp, fp = positives.at(self.positives[own]), negatives.at(self.negatives[own])
            weights = np.diff(tp, axis=0, prepend=before)
            before = tp[-1:].copy()
            lost += np.einsum("kb,kb->b", weights, fp)
            tied = np.flatnonzero(self.negatives[own] > self.negatives[own - 1])
            if tied.size:
                equal = fp[tied] - negatives.at(self.negatives[own[tied] - 1])
                lost -= np.einsum("kb,kb->b", weights[tied], equal) / 2
            predicted = np.add(tp, fp, out=fp)
            if not predicted[0].all():
                predicted[predicted == 0] = 1.0  # nothing is added there
            precisions += np.einsum("kb,kb->b", weights, np.divide(tp, predicted, out=tp))
        all_positives, all_negatives = self._all(positives, negatives)
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1 - lost / (all_positives * all_negatives), precisions / all_positives

    def _all(self, positives: RunningSums, negatives: RunningSums) -> tuple[Floats, Floats]:
        """The number of positives and of negatives in each sample, [b]."""
        return positives.at(self.positives[-1:])[0], negatives.at(self.negatives[-1:])[0]

    def sensitivity_at(self, x: Floats, counts: Counts) -> Floats:
        """Sensitivity at false positive rates, linear between the corners, as for the area under the curve.

        Args:
            x: [X], 0 to 1.
            counts: how often each patient occurs, [P, b], whole numbers.

        Returns:
            [B, X], of the samples in which both classes occur.
        """
        return np.concatenate([self._sensitivity_at(x[:, None], *sums) for sums in self._sums(counts)])

    def _sensitivity_at(self, x: Floats, positives: RunningSums, negatives: RunningSums) -> Floats:
        all_positives, all_negatives = self._all(positives, negatives)
        with np.errstate(invalid="ignore", divide="ignore"):
            # The largest number of false positives whose rate is at most x, to the last bit.
            most = np.floor(x * all_negatives) + 1
            for _ in range(2):
                most -= most / all_negatives > x
            last = _last(negatives, self.negatives, most)
            following = np.minimum(last + 1, self.negatives.size - 1)
            (left, bottom), (right, top) = (
                (
                    negatives.each(self.negatives[corner]) / all_negatives,
                    positives.each(self.positives[corner]) / all_positives,
                )
                for corner in (last, following)
            )
            slope = np.where(right > left, (top - bottom) / (right - left), 0.0)
            found = slope * (x - left) + bottom
        return np.asarray(found[:, (all_positives > 0) & (all_negatives > 0)].T)

    def precision_at(self, x: Floats, counts: Counts) -> Floats:
        """Precision at recalls: that of the highest threshold with the recall, as for the average precision.

        Arguments and result as of :meth:`sensitivity_at`.
        """
        return np.concatenate([self._precision_at(x[:, None], *sums) for sums in self._sums(counts)])

    def _precision_at(self, x: Floats, positives: RunningSums, negatives: RunningSums) -> Floats:
        all_positives, all_negatives = self._all(positives, negatives)
        with np.errstate(invalid="ignore", divide="ignore"):
            # The smallest number of true positives with this recall; the slack keeps 7/10 at x = 0.7 whatever the
            # rounding. Before the first positive image there is no recall.
            wanted = x - 1e-12
            fewest = np.ceil(wanted * all_positives) - 1
            for _ in range(2):
                fewest += fewest / all_positives < wanted
            before = _last(positives, self.positives, np.maximum(fewest, 1) - 1)
            first = np.minimum(before + 1, self.positives.size - 1)
            tp, fp = positives.each(self.positives[first]), negatives.each(self.negatives[first])
            found = tp / (tp + fp)
        return np.asarray(found[:, (all_positives > 0) & (all_negatives > 0)].T)


def _last(sums: RunningSums, counts: Integers, most: Floats) -> Integers:
    """The last place in rising numbers of images [K + 1], from 0 on, where their sum is at most this.

    Args:
        most: whole numbers from 0, [X, b], rising with X.

    Returns:
        [X, b] of 0 to K.
    """
    end = counts.size - 1
    some = np.unique(np.linspace(0, end, min(end, _CORNERS) + 1).astype(np.int64))
    rising = sums.at(counts[some])
    # One search in the sums of all samples, each above the one before.
    above = np.arange(rising.shape[1]) * (rising[-1].max(initial=0.0) + 1)
    wanted = np.minimum(most, rising[-1]) + above
    found = np.searchsorted((rising + above).T.ravel(), wanted.T.ravel(), side="right")
    place = found.reshape(wanted.T.shape).T - 1 - some.size * np.arange(rising.shape[1])
    low: Integers = some[place]
    high = np.append(some[1:] - 1, end)[place]
    while (low < high).any():
        middle = (low + high + 1) // 2
        within = sums.each(counts[middle]) <= most
        low, high = np.where(within, middle, low), np.where(within, high, middle - 1)
    return low
