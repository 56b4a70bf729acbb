"""What a trainer's models can do beside training: classify images, or make some. For those who use trained models.

A trainer says so through :meth:`~pneumo_cli.trainers.base.Trainer.as_classifier` and
:meth:`~pneumo_cli.trainers.base.Trainer.as_generator`; whoever predicts, averages, exports or generates asks for
these and for no class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from pneumo_cli.data.augmentation import EvaluationTransform
    from pneumo_cli.evaluation.decision_rule import DecisionRule
    from pneumo_cli.specs import ModelSpec


class Classifier(Protocol):
    """A trainer whose models tell class 1 from class 0."""

    @property
    def mirrored(self) -> bool:
        """Whether each image is judged together with its mirror image."""

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """How gray levels become the input of a model where it is evaluated and used."""

    def decision_rule(self, state: Mapping[str, Any], classes: Sequence[str] = ()) -> DecisionRule:
        """How logits become probabilities and decisions, at the operating point that the settings name.

        Args:
            state: what :meth:`~pneumo_cli.trainers.base.Trainer.calibrate` returned, as a checkpoint keeps it.
            classes: the dataset's, where nothing was fitted.
        """


class ImageGenerator(Protocol):
    """A trainer whose models make gray images [S, S] of the side ``image_size``.

    Attributes:
        image_size: S, in pixels.
        images_of: the class whose images were learnt; empty: all.
    """

    @property
    def image_size(self) -> int: ...

    @property
    def images_of(self) -> str: ...

    def can_sample(self, model: nn.Module) -> bool:
        """Whether new images can be drawn from a model."""

    def sample(self, model: nn.Module, seed: int, index: NDArray[np.int64]) -> Tensor:
        """New images, uint8 [B, S, S] on the CPU, each of which depends on ``seed`` and its own index alone."""

    def reconstruct(self, model: nn.Module, images: Tensor) -> Tensor:
        """What a model makes of images: [B, C, S, S] of images [B, C, S, S].

        Raises:
            UsageError: this trainer's models take no images.
        """

    def interpolate(self, model: nn.Module, first: Tensor, last: Tensor, steps: int) -> Tensor:
        """Images [steps, C, S, S] on the way from one image [1, C, S, S] to another.

        Raises:
            UsageError: this trainer's models take no images.
        """

    def to_gray_levels(self, images: torch.Tensor) -> Tensor:
        """A model's images [B, C, S, S] as gray levels: uint8 [B, S, S] on the CPU."""

    def from_gray_levels(self, images: Tensor) -> Tensor:
        """Gray levels, uint8 [B, S, S], as a model's images: float32 [B, C, S, S]."""
