"""Predictors of numbers and masks: those of runs, and ensembles of them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.inference.predictor import Sized
from pneumo_cli.inference.run_network import RunNetwork, run_facts
from pneumo_cli.runs.record import recorded_facts, recorded_images
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.trainers.loading import Trained

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


class RunValuePredictor(RunNetwork, ValuePredictor):
    """A run's model that predicts numbers or masks.

    Raises:
        UsageError: the run's model predicts none.
        PneumoError: its trainer's predictions are no numbers and masks.
    """

    def __init__(self, trained: Trained) -> None:
        predictor = trained.trainer.as_predictor()
        if predictor is None:
            raise UsageError(
                f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which predicts nothing of "
                "images"
            )
        self.trained = trained
        self.who = f"{trained.folder.path} ({trained.resolved.entry.provenance})"
        self.to_values: Callable[[Any], Mapping[str, Tensor]] = predictor.predictions
        self.units = dict(predictor.units)
        if not self.units or not all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in self.units):
            raise PneumoError(
                f"{self.who}: the names of predictions are lower-case identifiers, not {[*self.units]}"
            )
        with plugin_errors(f"{self.who}: its evaluation_transform", passing=(PneumoError,)):
            self.transform = predictor.evaluation_transform(trained.entry.spec)
        self.size = trained.resolved.trainer.image_size
        self.sizes = (self.size,)
        self.channels, self.bits = recorded_images(recorded_facts(trained.folder.settings))
        self.facts = run_facts(trained)
        blank = (1, self.size, self.size) if self.channels == 1 else (1, self.channels, self.size, self.size)
        probe = self.values({self.size: np.zeros(blank, np.uint8 if self.bits == 8 else np.uint16)})
        self.masks = tuple(name for name, values in probe.items() if values.ndim == 3)
        self._cam: GradCam | None = None

    def predictions(self, outputs: Any, images: int) -> Mapping[str, Tensor]:
        """The trainer's predictions of a batch, checked; raises PneumoError."""
        with plugin_errors(f"{self.who}: predictions of its outputs", passing=(PneumoError,)):
            found = self.to_values(outputs)
        shapes = ((images,), (images, self.size, self.size))
        if set(found) != set(self.units) or any(tuple(one.shape) not in shapes for one in found.values()):
            got = ", ".join(f"{name} {list(one.shape)}" for name, one in found.items())
            raise PneumoError(
                f"{self.who}: predictions are {got or 'nothing'} for {images} images, and not "
                f"{', '.join(self.units)}, each {list(shapes[0])} (a number) or {list(shapes[1])} (a mask)"
            )
        return {name: found[name] for name in self.units}

    def values(self, images: Sized) -> Values:
        """As in the run's own evaluation."""
        inputs = self.inputs(images)
        with torch.no_grad(), self.trained.device.autocast():
            found = self.predictions(self.trained.model(inputs), len(inputs))
        values = {name: one.detach().cpu().double().numpy() for name, one in found.items()}
        for name, one in values.items():
            if not np.isfinite(one).all():
                raise PneumoError(f"{self.who}: the predicted {name} is not finite")
        return values

    def maps(self, images: Sized) -> NDArray[np.float32]:
        """Grad-CAM of the number."""
        if len(self.units) != 1 or self.masks:
            raise UsageError(
                f"{self.trained.folder.path} predicts {', '.join(self.units)}: saliency maps are of one number"
            )
        inputs = self.inputs(images)
        if self._cam is None:
            self._cam = GradCam(self.trained.model, partial(_number, self.to_values), inputs[:1])
        with self.trained.device.autocast():
            upwards = torch.ones(len(inputs), dtype=torch.int64, device=inputs.device)
            return self._cam.maps(inputs, upwards).cpu().numpy()


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
            name: np.mean([_scaled(one[name], self.sizes[-1]) for one in values], axis=0)
            for name in self.units
        }

    def maps(self, images: Sized) -> NDArray[np.float32]:
        """The mean of the members' maps, at the largest of their sizes."""
        maps = [_scaled(member.maps(images).astype(np.float64), self.sizes[-1]) for member in self.members]
        return np.asarray(np.mean(maps, axis=0), np.float32)


def _number(to_values: Callable[[Any], Mapping[str, Tensor]], outputs: Any) -> Tensor:
    (number,) = to_values(outputs).values()
    return number


def _named(predictor: ValuePredictor) -> str:
    return ", ".join(f"{name} ({unit})" if unit else name for name, unit in predictor.units.items())


def _scaled(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Masks or maps [B, S, S] at another size; numbers as they are."""
    if values.ndim == 1 or values.shape[-1] == size:
        return values
    scaled = F.interpolate(torch.from_numpy(values)[:, None], (size, size), mode="bilinear")
    return np.asarray(scaled[:, 0].numpy())
