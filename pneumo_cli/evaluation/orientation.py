"""How an image was put on the screen: upright as the training images, upside down, turned by 90°, as a negative.

Films are scanned upside down or lying on their side, and a DICOM whose 0 is white becomes a negative where a
converter ignores that. A classifier answers all the same, and an upside-down chest may pass for a chest.
:func:`fit_orientation` learns one template of an upright image from the training thumbnails, such that of the eight
ways to read an image (four turns, each as it is and as a negative) the right one fits it best: a conditional logit
(McFadden 1974) whose alternatives are the eight restored images. No network, nothing random, about a second.
Nothing here sees a test image.

What cannot be told is not told: validation images show whether turns, and whether negatives, are found, and what is
missed too often (of a dataset where up and down look alike) is left out altogether.

Not for mirror images, which count as upright here. The same method tells left from right by the heart's side, but
errs on two in a hundred of the radiographs of SOURCE 2: more than are mirrored in practice, and hearts do lie on
the right. Not a correction, either: an image is put upright only to see whether it would then fit.
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
Grey: TypeAlias = NDArray[np.uint8]

FALSE_ALARMS = 0.005
"""Share of the validation images that may be said to lie wrongly."""
FOUND = 0.9
"""Share of wrongly presented validation images that must be found for a kind to be told at all."""
FEWEST = 100
"""Validation images without which nothing is told: none wrong of 100 leaves room for 3 % (the rule of three)."""

_SIDE = 32  # of a thumbnail, pixels; left and right are averaged, so that half of it describes an image
_FEATURES = _SIDE * _SIDE // 2
_COMPONENTS = 64  # more of them change nothing but the time
_PENALTY = 1e-3  # weight of half the squared template, per image
_MOST_FITTED = 4096  # images
_FLATTEST = (
    0.02  # standard deviation of grey levels from 0 to 1: the contrast of flatter images is left as it is
)
_STEPS, _HALVINGS, _TOLERANCE = 50, 30, 1e-8  # of Newton's method

_TURNED = ("", "turned left", "upside down", "turned right")
_TURN_BACK = ("", "turn it clockwise by 90°", "turn it by 180°", "turn it anticlockwise by 90°")


@dataclass(frozen=True)
class Presentation:
    """A way in which an image lies; false where it lies as the training images do.

    Attributes:
        turns: how many quarter turns anticlockwise it lies from upright, 0 to 3. A mirror image counts as the
            unmirrored one: whether a chest hangs head down by a turn or by a mirror at the floor is not asked.
        negative: whether bright and dark are exchanged.
    """

    turns: int = 0
    negative: bool = False

    def __bool__(self) -> bool:
        return self.negative or self.turns != 0

    @property
    def name(self) -> str:
        """``upright``, ``upside down``, ``turned left``, ``turned right``, ``negative``, or two of them."""
        wrong = ("negative" if self.negative else "", _TURNED[self.turns])
        return ", ".join(word for word in wrong if word) or "upright"

    @property
    def remedy(self) -> str:
        """What makes it upright, in words; empty where it is."""
        steps = ("invert its grey levels" if self.negative else "", _TURN_BACK[self.turns])
        return " and ".join(step for step in steps if step)

    def restored(self, image: Grey) -> Grey:
        """An image uint8 [S, S] that lies so, put upright."""
        turned = np.rot90(image, -self.turns)
        return np.ascontiguousarray(255 - turned if self.negative else turned)


UPRIGHT = Presentation()


@dataclass(frozen=True)
class Orientation:
    """Tells how images lie.

    Attributes:
        template: what is bright and dark in an upright image, float64 [512]: the left half of a thumbnail, row by
            row, whose product with an image is half its log-odds of lying upright against being a negative.
        turns: whether turned images are told.
        negatives: whether negatives are told.
        threshold: log-odds of the likeliest reading against upright, 0 or more, above which it is said.
    """

    template: Floats
    turns: bool
    negatives: bool
    threshold: float

    def presentations(self, levels: Grey, detector: OodDetector) -> list[Presentation]:
        """How each image lies, as far as it can be told.

        An image is said to lie wrongly only where it would not be unlike the training images if it lay right: a
        photograph lies in no way that helps, and is left to :class:`~pneumo_cli.evaluation.ood.OodDetector`.

        Args:
            levels: uint8 [n, S, S], S at least 32; n may be 0.
            detector: fitted on the same images.

        Raises:
            ValueError: another shape or type.
        """
        read = self.readings(levels)
        wrong = [place for place, presentation in enumerate(read) if presentation]
        if wrong:
            unlike = detector.flags(np.stack([read[place].restored(levels[place]) for place in wrong]))
            for place, still in zip(wrong, unlike, strict=True):
                read[place] = UPRIGHT if still else read[place]
        return read

    def readings(self, levels: Grey) -> list[Presentation]:
        """How each image lies, provided that it is one of their kind; arguments as :meth:`presentations`."""
        logits = _readings(_restorations(levels) @ self.template, self.turns, self.negatives)
        best, odds = _likeliest(logits)
        ways = [
            Presentation(turns, bool(n)) for turns in range(logits.shape[0]) for n in range(logits.shape[1])
        ]
        return [ways[one] if odd > self.threshold else UPRIGHT for one, odd in zip(best, odds, strict=True)]

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
        """Take it back from a checkpoint.

        Raises:
            PneumoError: something is missing, or has another type, shape or range than it was stored with.
        """
        try:
            template = np.asarray(state["template"], np.float64)
            turns, negatives, threshold = state["turns"], state["negatives"], float(state["threshold"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _damaged(f"{type(error).__name__}: {error}") from error
        if template.shape != (_FEATURES,) or not np.isfinite(template).all():
            raise _damaged(f"its template is not {_FEATURES} finite numbers")
        if not (isinstance(turns, bool) and isinstance(negatives, bool)):
            raise _damaged(
                f"it tells turns {turns!r} and negatives {negatives!r}, which are not true or false"
            )
        if not (math.isfinite(threshold) and threshold >= 0):
            raise _damaged(f"its threshold is {threshold}, not 0 or more")
        return cls(template, turns, negatives, threshold)


def agreed(said: Sequence[Sequence[Presentation]]) -> list[Presentation] | None:
    """What more than half of several models say of each image, upright where they do not agree.

    Args:
        said: of each model that can tell, [n] each. Of none, the result is None.
    """
    if not said:
        return None
    votes = [Counter(one).most_common(1)[0] for one in zip(*said, strict=True)]
    return [one if 2 * count > len(said) else UPRIGHT for one, count in votes]


def fit_orientation(levels_train: Grey, levels_validation: Grey) -> Orientation | None:
    """Learn how training images lie, and from validation images what can be told of others.

    All images given count as upright: those of a dataset that lie wrongly here and there do no harm, and count as
    false alarms where they are told.

    Args:
        levels_train: uint8 [N, S, S]. Of more than 4096 images that many are taken, spread evenly.
        levels_validation: uint8 [M, S, S], of other patients.

    Returns:
        None where nothing can be told: of too few images, or where neither turned ones nor negatives are found.

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
        best, odds = _likeliest(logits)
        threshold = max(0.0, float(np.quantile(odds, 1 - FALSE_ALARMS, method="higher")))
        # An image that lies in one of these ways has the same logits in another order: it is found where upright is
        # the best reading of the upright image, by more than the threshold over the one that takes it for upright.
        apart = (logits[0, 0] - logits).reshape(-1, len(best))[1:]
        if ((best == 0) & (apart > threshold)).mean() >= FOUND:
            return Orientation(template, turns, negatives, threshold)
    return None


def _readings(scores: Floats, turns: bool, negatives: bool) -> Floats:
    """Logits [4, 2, n] of the ways to read images, by turn and polarity, for scores [4, n] of the turns.

    A negative's score is that of the image with the other sign. Of what is not told there is one entry, the
    logarithm of the sum: of turns [1, 2, n], of negatives [4, 1, n].
    """
    logits: Floats = np.stack((scores, -scores), axis=1)
    if not turns:
        logits = np.logaddexp.reduce(logits, axis=0, keepdims=True)
    if not negatives:
        logits = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return logits


def _likeliest(logits: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The likeliest reading of each image, [n], in the order of the logits, and its log-odds against upright."""
    flat = logits.reshape(logits.shape[0] * logits.shape[1], -1)
    return flat.argmax(0), flat.max(0) - flat[0]


def _restorations(levels: Grey) -> NDArray[np.float32]:
    """What describes images if they lay turned by 0 to 3 quarters and were turned back: float32 [4, n, 512].

    The mean of the thumbnail and its mirror image, of mean 0 and of the thumbnail's contrast, so that a darker or
    flatter exposure is the same and a negative the opposite.
    """
    if levels.dtype != np.uint8:
        raise ValueError(f"images are {levels.dtype}; uint8 [n, S, S] is wanted")
    small = shrunk(levels, _SIDE)
    contrast = np.maximum(small.std((1, 2)), _FLATTEST)
    small = (small - small.mean((1, 2), keepdims=True)) / contrast[:, None, None]
    found = np.empty((4, len(levels), _FEATURES), np.float32)
    for turns, described in enumerate(found):
        upright = np.rot90(small, -turns, axes=(1, 2))
        halves = (upright + upright[:, :, ::-1]) / 2
        described[:] = halves[:, :, : _SIDE // 2].reshape(len(levels), _FEATURES)
    return found


def _template(restored: NDArray[np.float32]) -> Floats:
    """The template by which upright images [4, N, D] fit best as they are: Newton's method, float64 [D]."""
    images, width = restored.shape[1:]
    axes = principal_axes(restored.reshape(-1, width), _COMPONENTS)
    features = restored @ axes
    solution = np.zeros(axes.shape[1])
    ridge = _PENALTY * np.eye(len(solution))

    def judged(at: Floats) -> tuple[float, Floats]:
        """The penalised loss, and the probability of each reading [8, N]."""
        scores = features @ at
        readings = np.concatenate((scores, -scores))
        total = np.logaddexp.reduce(readings, axis=0)
        return float((total - scores[0]).mean() + _PENALTY * at @ at / 2), np.exp(readings - total)

    loss, chance = judged(solution)
    for _ in range(_STEPS):
        as_is, negative = chance[:4, :, None], chance[4:, :, None]
        expected = ((as_is - negative) * features).sum(0)
        slope = (expected - features[0]).mean(0) + _PENALTY * solution
        spread = (features * (as_is + negative)).reshape(4 * images, -1).T @ features.reshape(4 * images, -1)
        step = np.linalg.solve((spread - expected.T @ expected) / images + ridge, slope)
        if step @ slope < _TOLERANCE:  # twice what the step can still gain
            break
        for halving in range(_HALVINGS):
            further = solution - step / 2**halving
            reached, chances = judged(further)
            if reached <= loss:
                break
        solution, loss, chance = further, reached, chances
    template: Floats = axes @ solution
    return template


def _damaged(problem: str) -> PneumoError:
    return PneumoError(f"what tells how images lie is damaged in the checkpoint: {problem}")
