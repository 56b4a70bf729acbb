"""Distribution shift between the training and test images of one class: a classifier two-sample test.

A classifier learns to distinguish images of the training pool from images of the test pool (Lopez-Paz and Oquab
2017). If it cannot (AUC 0.5), results on one hold for the other; if it can, something other than the disease
differs: framing, exposure, X-ray unit. It is logistic regression on 32-pixel images, so it finds only gross
shifts.

No patient is in two folds, or the classifier would recognize test patients by their other images. The same is
computed for random halves of the patients, which shows what AUC chance gives.
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
"""Number of random divisions into halves."""
FOLDS = 5

_COMPONENTS = 64
_FEWEST = 4 * FOLDS  # patients on either side, so that each fold has some
_SLIGHT, _CLEAR, _STRONG = 0.6, 0.75, 0.9


@dataclass(frozen=True)
class Shift:
    """The shift of one class.

    Attributes:
        title: name of the class.
        train, test: numbers of images.
        auc: of the classifier for test against training images; 0.5 is chance.
        halves: [HALVES], the same for random halves of the patients.
    """

    title: str
    train: int
    test: int
    auc: float
    halves: tuple[float, ...]

    @property
    def strength(self) -> str:
        """``none`` (also if a random half reaches the same AUC), ``slight``, ``clear`` or ``strong``."""
        if self.auc < _SLIGHT or self.auc <= max(self.halves):
            return "none"
        return "slight" if self.auc < _CLEAR else "clear" if self.auc < _STRONG else "strong"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
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
    """The shift of every class that has enough patients (20) on both sides.

    Args:
        data: of any size; images are downsampled to 32 px. Training images are those of train and validation.
        seed: of folds and halves.
    """
    records = data.dataset.records
    pool = np.concatenate([data.split.train, data.split.validation])
    cards = []
    for label, title in enumerate(data.dataset.classes or ("all images",)):
        shown = np.array([label in record.present for record in records], bool)
        train, test = pool[shown[pool]], data.split.test[shown[data.split.test]]
        positions = np.concatenate([train, test])
        patients = [records[position].patient for position in positions]
        of_test = np.repeat([0.0, 1.0], [len(train), len(test)])
        sides = [set(patients[: len(train)]), set(patients[len(train) :])]
        if min(map(len, sides)) < _FEWEST:
            continue
        features = principal_components(thumbnails(data.gray[positions]), _COMPONENTS)
        rng = np.random.default_rng([seed, label])
        auc = separability(features, of_test, patients, rng)
        halves = tuple(separability(features, _half(patients, rng), patients, rng) for _ in range(HALVES))
        cards.append(Shift(title, len(train), len(test), auc, halves))
    return tuple(cards)


def separability(features: Floats, sides: Floats, patients: Sequence[str], rng: np.random.Generator) -> float:
    """How well a classifier predicts, for new patients, on which side their images are.

    Args:
        features: [N, K], centred.
        sides: [N], 0 or 1.
        patients: [N] keys; a patient's images are all in one fold.
        rng: divides the patients of each side into folds.

    Returns:
        the mean AUC of the folds, 0 to 1; about 0.5 if the sides do not differ.
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
    """The fold of each image, [N]; a patient on both sides counts for the side that comes first."""
    first_side: dict[str, float] = {}
    for side, patient in zip(sides, patients, strict=True):
        first_side.setdefault(patient, side)
    fold: dict[str, int] = {}
    for value in (0.0, 1.0):
        keys = sorted(patient for patient, side in first_side.items() if side == value)
        fold.update({keys[row]: number % FOLDS for number, row in enumerate(rng.permutation(len(keys)))})
    return np.array([fold[patient] for patient in patients])


def _half(patients: Sequence[str], rng: np.random.Generator) -> Floats:
    """1 for the images of a random half of the patients, else 0."""
    keys = sorted(set(patients))
    chosen = {keys[row] for row in rng.permutation(len(keys))[: len(keys) // 2]}
    return np.array([float(patient in chosen) for patient in patients])
