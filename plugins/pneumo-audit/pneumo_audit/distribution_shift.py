"""How far the test images differ from those that a model is trained on: the shift card.

A classifier is asked to tell, within one class, images of the training pool from images of the test pool. If it
cannot (AUC 0.5), the two look alike, and what is measured on one holds for the other; if it can, something else
than the disease differs between them: framing, exposure, machine (a classifier two-sample test, Lopez-Paz and Oquab
2017). The classifier is a simple one on thumbnails, so a shift that it finds is a gross one; a finer one it does
not see.

Patients are never in two folds, or the classifier would know test patients by their other images. The same is asked
of random halves of the patients, so that the AUC can be read beside what chance gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.evaluation.confidence.delong import delong_interval
from pneumo_cli.evaluation.linear_baseline import PENALTY, Floats, newton, principal_components, thumbnails

HALVES = 10
"""How many random divisions into halves are tried."""
FOLDS = 5

_COMPONENTS = 64
_FEWEST = 4 * FOLDS  # patients on either side, so that no fold is nearly without
_SLIGHT, _CLEAR, _STRONG = 0.6, 0.75, 0.9


@dataclass(frozen=True)
class Shift:
    """The shift card of one class.

    Attributes:
        title: name of the class.
        train, test: numbers of images.
        auc: with which a classifier tells test from training images, 0.5 for chance.
        halves: [HALVES], the same for random halves of the patients.
    """

    title: str
    train: int
    test: int
    auc: float
    halves: tuple[float, ...]

    @property
    def strength(self) -> str:
        """``none``, ``slight``, ``clear`` or ``strong``; ``none`` too where a random half was told as well."""
        if self.auc < _SLIGHT or self.auc <= max(self.halves):
            return "none"
        return "slight" if self.auc < _CLEAR else "clear" if self.auc < _STRONG else "strong"

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "class": self.title,
            "train": self.train,
            "test": self.test,
            "auc": self.auc,
            "halves": {
                "count": len(self.halves),
                "mean": float(np.mean(self.halves)),
                "lowest": min(self.halves),
                "highest": max(self.halves),
            },
            "strength": self.strength,
        }


def find_shift(data: PreparedData, *, seed: int = 0) -> tuple[Shift, ...]:
    """Make the shift card of every class that has enough patients on both sides (20).

    Args:
        data: of any size; images are reduced to 32 px. Training images are those of train and validation.
        seed: of folds and halves.
    """
    records, labels = data.dataset.records, data.labels
    pool = np.concatenate([data.split.train, data.split.validation])
    cards = []
    for label, title in enumerate(data.dataset.classes):
        train, test = pool[labels[pool] == label], data.split.test[labels[data.split.test] == label]
        positions = np.concatenate([train, test])
        patients = [records[position].patient for position in positions]
        of_test = np.repeat([0.0, 1.0], [len(train), len(test)])
        sides = [set(patients[: len(train)]), set(patients[len(train) :])]
        if min(map(len, sides)) < _FEWEST:
            continue
        features = principal_components(thumbnails(data.images[positions]), _COMPONENTS)
        rng = np.random.default_rng([seed, label])
        auc = separability(features, of_test, patients, rng)
        halves = tuple(separability(features, _half(patients, rng), patients, rng) for _ in range(HALVES))
        cards.append(Shift(title, len(train), len(test), auc, halves))
    return tuple(cards)


def separability(features: Floats, sides: Floats, patients: Sequence[str], rng: np.random.Generator) -> float:
    """How well a classifier that has not seen a patient tells on which side the patient's images are.

    Args:
        features: [N, K], centred.
        sides: [N], 0 or 1.
        patients: [N] keys; a patient's images are all in one fold.
        rng: divides the patients into folds, each side for itself.

    Returns:
        The mean of the folds' AUC, 0 to 1; about 0.5 where the sides do not differ.
    """
    fold = _folds(sides, patients, rng)
    areas = []
    for held_out in (fold == number for number in range(FOLDS)):
        if len(np.unique(sides[held_out])) < 2 or len(np.unique(sides[~held_out])) < 2:
            continue
        weights, bias = newton(features[~held_out], sides[~held_out], PENALTY)
        areas.append(delong_interval(features[held_out] @ weights + bias, sides[held_out])[0])
    return float(np.mean(areas)) if areas else 0.5


def _folds(sides: Floats, patients: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each image, [N]; a patient who is on both sides counts for the first one met."""
    first_side: dict[str, float] = {}
    for side, patient in zip(sides, patients, strict=True):
        first_side.setdefault(patient, side)
    fold: dict[str, int] = {}
    for wanted in (0.0, 1.0):
        keys = sorted(patient for patient, side in first_side.items() if side == wanted)
        fold.update({keys[row]: number % FOLDS for number, row in enumerate(rng.permutation(len(keys)))})
    return np.array([fold[patient] for patient in patients])


def _half(patients: Sequence[str], rng: np.random.Generator) -> Floats:
    """1 for the images of a random half of the patients, else 0."""
    keys = sorted(set(patients))
    chosen = {keys[row] for row in rng.permutation(len(keys))[: len(keys) // 2]}
    return np.array([float(patient in chosen) for patient in patients])
