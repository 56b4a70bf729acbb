"""Orientation of an image: upright as in training, upside down, rotated by 90°, or a negative.

Films are scanned upside down or on their side, and a DICOM file in which 0 is white becomes a negative where a
converter ignores that. A classifier predicts all the same, and an upside-down chest may pass the OOD detector.
:func:`fit_orientation` fits a template of an upright image to the training images at 32 px, such that the correct
one of the eight readings of an image (four rotations, each with and without inversion) matches it best: a
conditional logit (McFadden 1974) whose alternatives are the eight restored images. It needs no network and no
random numbers, and takes about a second. No test image is used.

Validation images show whether rotations, and whether negatives, are detected reliably; a kind that is missed too
often (in a dataset without a clear top and bottom) is not reported at all.

Not for horizontally flipped images, which count as upright. The same method could detect them by the side of the
heart, but errs on 2 % of the radiographs of SOURCE 2: more than are flipped in practice, and some hearts are on the
right. Images are not corrected either: they are restored only to test whether they would then be in distribution.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.downsampling import shrunk
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.linear_baseline import principal_axes
from pneumo_cli.evaluation.ood import OodDetector

Floats: TypeAlias = NDArray[np.float64]
Gray: TypeAlias = NDArray[np.uint8]

FALSE_ALARMS = 0.005
"""Share of the validation images that may be reported in error: the false positive rate."""
FOUND = 0.9
"""Sensitivity on validation images that a kind of orientation needs to be reported at all."""
FEWEST = 100
"""Validation images needed: 0 errors in 100 are compatible with an error rate of 3 % (the rule of three)."""

_SIDE = 32  # of a thumbnail, pixels; left and right are averaged, so half of it describes an image
_FEATURES = _SIDE * _SIDE // 2
_COMPONENTS = 64  # more of them change only the time
_PENALTY = 1e-3  # weight of half the squared template, per image
_MOST_FITTED = 4096  # images
_LEAST_CONTRAST = (
    0.02  # standard deviation of gray levels from 0 to 1; the contrast below it is not normalised
)
_STEPS, _HALVINGS, _TOLERANCE = 50, 30, 1e-8  # of Newton's method

_TURNED = ("", "turned left", "upside down", "turned right")
_TURN_BACK = ("", "turn it clockwise by 90°", "turn it by 180°", "turn it anticlockwise by 90°")


@dataclass(frozen=True)
class Presentation:
    """The orientation of an image; false where it is upright.

    Attributes:
        turns: quarter turns anticlockwise from upright, 0 to 3. Horizontal flips are ignored, so a vertical flip is
            the same as half a turn.
        negative: whether bright and dark are inverted.
    """

    turns: int = 0
    negative: bool = False

    def __bool__(self) -> bool:
        return self.negative or self.turns != 0

    @property
    def name(self) -> str:
        """``upright``, ``upside down``, ``turned left``, ``turned right``, ``negative``, or two of them."""
        words = ("negative" if self.negative else "", _TURNED[self.turns])
        return ", ".join(filter(None, words)) or "upright"

    @property
    def remedy(self) -> str:
        """How to restore it, in words; empty where it is upright."""
        steps = ("invert its gray levels" if self.negative else "", _TURN_BACK[self.turns])
        return " and ".join(filter(None, steps))

    def restored(self, image: Gray) -> Gray:
        """An image uint8 [S, S] of this orientation, made upright."""
        turned = np.rot90(image, -self.turns)
        return np.ascontiguousarray(255 - turned if self.negative else turned)


UPRIGHT = Presentation()


@dataclass(frozen=True)
class Orientation:
    """Detects the orientation of images.

    Attributes:
        template: of an upright image, float64 [512]: the left half of a thumbnail, row by row, whose product with
            an image is half the log-odds that it is upright rather than a negative.
        turns: whether rotations are detected.
        negatives: whether negatives are detected.
        threshold: log-odds of the most likely reading against upright, 0 or more, above which it is reported.
    """

    template: Floats
    turns: bool
    negatives: bool
    threshold: float

    def presentations(self, levels: Gray, detector: OodDetector) -> list[Presentation]:
        """The orientation of each image.

        An image counts as upright where it would still be out of distribution after it is restored: for a
        photograph no orientation helps, and :class:`~pneumo_cli.evaluation.ood.OodDetector` reports it.

        Args:
            levels: uint8 [n, S, S], S at least 32; n may be 0.
            detector: fitted on the same images.

        Raises:
            ValueError: another shape or type.
        """
        found = self.readings(levels)
        wrong = [place for place, presentation in enumerate(found) if presentation]
        if wrong:
            flags = detector.flags(np.stack([found[place].restored(levels[place]) for place in wrong]))
            for place, flag in zip(wrong, flags, strict=True):
                found[place] = UPRIGHT if flag else found[place]
        return found

    def readings(self, levels: Gray) -> list[Presentation]:
        """The orientation of each image, if all are in distribution; arguments as :meth:`presentations`."""
        logits = _readings(_restorations(levels) @ self.template, self.turns, self.negatives)
        best, odds = _most_likely(logits)
        all_readings = [
            Presentation(turns, bool(negative)) for turns, negative in np.ndindex(logits.shape[:2])
        ]
        return [
            all_readings[one] if log_odds > self.threshold else UPRIGHT
            for one, log_odds in zip(best, odds, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        import torch

        return {
            "template": torch.from_numpy(self.template.copy()),
            "turns": self.turns,
            "negatives": self.negatives,
            "threshold": self.threshold,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Orientation:
        """Restore it from a checkpoint.

        Raises:
            PneumoError: a value is missing, or has an invalid type, shape or range.
        """
        try:
            template = np.asarray(state["template"], np.float64)
            turns, negatives, threshold = state["turns"], state["negatives"], float(state["threshold"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _damaged(f"{type(error).__name__}: {error}") from error
        if template.shape != (_FEATURES,) or not np.isfinite(template).all():
            raise _damaged(f"its template is not {_FEATURES} finite numbers")
        if not (isinstance(turns, bool) and isinstance(negatives, bool)):
            raise _damaged(f"turns is {turns!r} and negatives is {negatives!r}; both must be true or false")
        if not (math.isfinite(threshold) and threshold >= 0):
            raise _damaged(f"its threshold is {threshold}, not 0 or more")
        return cls(template, turns, negatives, threshold)


def agreed(votes: Sequence[Sequence[Presentation]]) -> list[Presentation] | None:
    """The orientation of each image by majority vote of several models; upright without a majority.

    Args:
        votes: of each model with an orientation detector, [n] each; without any the result is None.
    """
    if not votes:
        return None
    winners = [Counter(of_image).most_common(1)[0] for of_image in zip(*votes, strict=True)]
    return [one if 2 * count > len(votes) else UPRIGHT for one, count in winners]


def fit_orientation(levels_train: Gray, levels_validation: Gray) -> Orientation | None:
    """Fit the template to training images; choose on validation images what is detected, and the threshold.

    All given images count as upright: a few wrong ones in a dataset do no harm, and count as false positives.

    Args:
        levels_train: uint8 [N, S, S]; 4096 of them, evenly spaced, if there are more.
        levels_validation: uint8 [M, S, S], of other patients.

    Returns:
        None where there are too few images, or neither rotations nor negatives are detected reliably.

    Raises:
        ValueError: another shape or type.
    """
    if not len(levels_train) or len(levels_validation) < FEWEST:
        return None
    taken = np.linspace(0, len(levels_train) - 1, min(len(levels_train), _MOST_FITTED)).astype(np.int64)
    template = _template(_restorations(levels_train[taken]))
    scores = _restorations(levels_validation) @ template
    for turns, negatives in ((True, True), (True, False), (False, True)):
        logits = _readings(scores, turns, negatives)
        best, odds = _most_likely(logits)
        threshold = max(0.0, float(np.quantile(odds, 1 - FALSE_ALARMS, method="higher")))
        # A rotated or inverted image has the same logits in another order. It is detected where upright is the best
        # reading of the upright image, by more than the threshold over the reading that would become upright.
        margins = (logits[0, 0] - logits).reshape(-1, len(best))[1:]
        if ((best == 0) & (margins > threshold)).mean() >= FOUND:
            return Orientation(template, turns, negatives, threshold)
    return None


def _readings(scores: Floats, turns: bool, negatives: bool) -> Floats:
    """Logits [4, 2, n] of the readings by rotation and polarity, for scores [4, n] of the rotations.

    The score of a negative is that of the image with the opposite sign. Without rotations the result is the log-sum
    over them, [1, 2, n], and without negatives [4, 1, n].
    """
    logits: Floats = np.stack((scores, -scores), axis=1)
    if not turns:
        logits = np.logaddexp.reduce(logits, axis=0, keepdims=True)
    if not negatives:
        logits = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return logits


def _most_likely(logits: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The most likely reading of each image, [n], in the order of the logits, and its log-odds against upright."""
    flat = logits.reshape(logits.shape[0] * logits.shape[1], -1)
    return flat.argmax(0), flat.max(0) - flat[0]


def _restorations(levels: Gray) -> NDArray[np.float32]:
    """Features of images after undoing rotations by 0 to 3 quarter turns: float32 [4, n, 512].

    The mean of the thumbnail and its horizontal flip, with mean 0 and normalised contrast, so that they do not
    change with exposure or contrast, and a negative has the opposite sign.
    """
    if levels.dtype != np.uint8:
        raise ValueError(f"images are {levels.dtype}, not uint8 [n, S, S]")
    small = shrunk(levels, _SIDE)
    contrast = np.maximum(small.std((1, 2)), _LEAST_CONTRAST)
    small = (small - small.mean((1, 2), keepdims=True)) / contrast[:, None, None]
    features = np.empty((4, len(levels), _FEATURES), np.float32)
    for turns, of_turn in enumerate(features):
        upright = np.rot90(small, -turns, axes=(1, 2))
        halves = (upright + upright[:, :, ::-1]) / 2
        of_turn[:] = halves[:, :, : _SIDE // 2].reshape(len(levels), _FEATURES)
    return features


def _template(restored: NDArray[np.float32]) -> Floats:
    """The template float64 [D] that best matches upright images [4, N, D] as they are, by Newton's method."""
    images, width = restored.shape[1:]
    axes = principal_axes(restored.reshape(-1, width), _COMPONENTS)
    features = restored @ axes
    solution = np.zeros(axes.shape[1])
    ridge = _PENALTY * np.eye(len(solution))

    def evaluated(at: Floats) -> tuple[float, Floats]:
        """The penalised loss, and the probability of each reading [8, N]."""
        scores = features @ at
        readings = np.concatenate((scores, -scores))
        total = np.logaddexp.reduce(readings, axis=0)
        return float((total - scores[0]).mean() + _PENALTY * at @ at / 2), np.exp(readings - total)

    loss, probability = evaluated(solution)
    for _ in range(_STEPS):
        as_is, negative = probability[:4, :, None], probability[4:, :, None]
        expected = ((as_is - negative) * features).sum(0)
        gradient = (expected - features[0]).mean(0) + _PENALTY * solution
        squares = (features * (as_is + negative)).reshape(4 * images, -1).T @ features.reshape(4 * images, -1)
        step = np.linalg.solve((squares - expected.T @ expected) / images + ridge, gradient)
        if step @ gradient < _TOLERANCE:  # twice the possible decrease
            break
        for halving in range(_HALVINGS):
            candidate = solution - step / 2**halving
            reached, probabilities = evaluated(candidate)
            if reached <= loss:
                break
        solution, loss, probability = candidate, reached, probabilities
    template: Floats = axes @ solution
    return template


def _damaged(problem: str) -> PneumoError:
    return PneumoError(f"the orientation detector in the checkpoint is damaged: {problem}")
