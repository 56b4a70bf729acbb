"""Predictors of numbers and masks, and ensembles of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.inference.predictor import Sized

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])

Values = Mapping[str, NDArray[np.float64]]
"""By name: numbers [B], or the probabilities of masks, [B, S, S] from 0 to 1."""


class ValuePredictor(ABC):
    """Predicts numbers and masks of images. Subclasses define :meth:`values` and :meth:`maps`.

    Attributes:
        units: what is predicted, in the order to show it: the unit of each number; of a mask empty.
        masks: which of them are masks.
        sizes: heights (and widths) of its input images, in pixels; several for an ensemble of several sizes.
        channels, bits: of its input images.
        facts: as of a :class:`~pneumo_cli.inference.predictor.Predictor`.
        members: of an ensemble; empty for a single model.
    """

    units: Mapping[str, str]
    masks: tuple[str, ...] = ()
    sizes: tuple[int, ...]
    channels: int = 1
    bits: int = 8
    facts: Mapping[str, Any]
    members: tuple[ValuePredictor, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Which of the predictions are numbers."""
        return tuple(name for name in self.units if name not in self.masks)

    @property
    def weights(self) -> str:
        """A digest of its weights; empty: unknown."""
        return ""

    @property
    def count(self) -> int:
        """The number of models in it."""
        return len(self.members) or 1

    @abstractmethod
    def values(self, images: Sized) -> Values:
        """Numbers and masks of a batch, by the names of ``units``.

        Raises:
            PneumoError: they are not finite, or of another shape.
        """

    @abstractmethod
    def maps(self, images: Sized) -> NDArray[np.float32]:
        """Saliency maps of the only number, float32 [B, S, S] from 0 to 1: what makes it larger.

        Raises:
            UsageError: there are none.
        """


class EnsembleValues(ValuePredictor):
    """An ensemble, whose predictions are the means of its members'.

    Args:
        members: two or more.

    Raises:
        UsageError: they predict different things.
    """

    def __init__(self, members: Sequence[ValuePredictor]) -> None:
        first = members[0]
        for other in members[1:]:
            if (dict(other.units), other.masks) != (dict(first.units), first.masks):
                raise UsageError(
                    f"{first.facts.get('run')} predicts {_named(first)}, and {other.facts.get('run')} "
                    f"{_named(other)}: an ensemble's models predict the same"
                )
        self.members = tuple(members)
        self.units, self.masks = first.units, first.masks
        self.channels, self.bits = first.channels, first.bits
        self.sizes = tuple(sorted({size for member in members for size in member.sizes}))
        self.facts = {"runs": [dict(member.facts) for member in members]}

    def values(self, images: Sized) -> Values:
        """The means of the members' values."""
        return self.mean([member.values(images) for member in self.members])

    def mean(self, values: Sequence[Values]) -> Values:
        """The means of the members' values; masks at the largest of their sizes."""
        return {
            name: np.mean([scaled(one[name], self.sizes[-1]) for one in values], axis=0)
            for name in self.units
        }

    def maps(self, images: Sized) -> NDArray[np.float32]:
        """The mean of the members' maps, at the largest of their sizes."""
        maps = [scaled(member.maps(images).astype(np.float64), self.sizes[-1]) for member in self.members]
        return np.asarray(np.mean(maps, axis=0), np.float32)


def _named(predictor: ValuePredictor) -> str:
    return ", ".join(f"{name} ({unit})" if unit else name for name, unit in predictor.units.items())


def scaled(values: Floats, size: int) -> Floats:
    """Masks or maps [B, S, S] at another size; numbers as they are."""
    if values.ndim == 1 or values.shape[-1] == size:
        return values
    import torch
    import torch.nn.functional as F

    resized: Floats = F.interpolate(torch.from_numpy(values)[:, None], (size, size), mode="bilinear")[
        :, 0
    ].numpy()
    return resized
