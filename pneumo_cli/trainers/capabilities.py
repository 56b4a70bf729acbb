"""What a trainer's models can do apart from training: classify images, predict numbers or masks, generate images.

Code that predicts, averages, exports or generates asks for these through
:meth:`~pneumo_cli.trainers.base.Trainer.as_classifier`, :meth:`~pneumo_cli.trainers.base.Trainer.as_predictor` and
:meth:`~pneumo_cli.trainers.base.Trainer.as_generator`, not for a class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from pneumo_cli.data.augmentation import EvaluationTransform
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.multi.rule import Rule
    from pneumo_cli.specs import ModelSpec


class Classifier(Protocol):
    """A trainer whose models classify: two classes, K exclusive classes, or K labels at once."""

    @property
    def task(self) -> Task:
        """What its models decide."""

    def logits(self, outputs: Tensor) -> Tensor:
        """The logits, float32 [B] of class 1 or [B, K], of a model's outputs."""

    @property
    def flip_tta(self) -> bool:
        """Whether logits are averaged over each image and its horizontal flip (flip TTA)."""

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """How gray levels become the input of a model outside training."""

    def decision_rule(self, state: Mapping[str, Any], classes: Sequence[str] = ()) -> Rule:
        """How logits become probabilities and decisions, at the operating point that the settings name.

        Args:
            state: the result of :meth:`~pneumo_cli.trainers.base.Trainer.calibrate`, as stored in a checkpoint.
            classes: the dataset's, if nothing was fitted.
        """


class ImagePredictor(Protocol):
    """A trainer whose models predict numbers (an age) or masks (the lungs) of an image."""

    @property
    def units(self) -> Mapping[str, str]:
        """What it predicts, in the order to show it: the unit of each number ("years"); of a mask empty."""

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """How gray levels become the input of a model outside training."""

    def predictions(self, outputs: Any) -> Mapping[str, Tensor]:
        """What a model's outputs for B images mean, by the names of ``units``.

        Returns:
            of a number float [B]; of a mask the probability of each pixel, float [B, S, S] from 0 to 1, of which
            those from 0.5 upwards are in it. An ensemble averages either.
        """


class ImageGenerator(Protocol):
    """A trainer whose models generate or reconstruct gray images [S, S] of the side ``image_size``."""

    @property
    def image_size(self) -> int:
        """S, height and width of the images, in pixels."""

    @property
    def images_of(self) -> str:
        """The class whose images are learnt; empty: all."""

    @property
    def conditional_on(self) -> Sequence[str]:
        """The classes of which images can be sampled one by one; empty: of none."""

    def can_sample(self, model: nn.Module) -> bool:
        """Whether new images can be sampled from a model."""

    def sample(
        self, model: nn.Module, seed: int, index: NDArray[np.int64], label: int | None = None
    ) -> Tensor:
        """Sample new images, each of which depends only on ``seed``, ``label`` and its own index.

        Args:
            model: in eval mode.
            index: int64 [B].
            label: the class to sample, an index into ``conditional_on``; None: as the training images are.

        Returns:
            uint8 [B, S, S] on the CPU.
        """

    def reconstruct(self, model: nn.Module, images: Tensor) -> Tensor:
        """The reconstructions [B, C, S, S] of images [B, C, S, S] by a model in eval mode.

        Raises:
            UsageError: this trainer's models have no image input.
        """

    def interpolate(self, model: nn.Module, first: Tensor, last: Tensor, steps: int) -> Tensor:
        """Images [steps, C, S, S] between one image [1, C, S, S] and another.

        Raises:
            UsageError: this trainer's models have no image input.
        """

    def to_gray_levels(self, images: Tensor) -> Tensor:
        """A model's images [B, C, S, S] as gray levels: uint8 [B, S, S] on the CPU, channels averaged."""

    def from_gray_levels(self, images: Tensor) -> Tensor:
        """Gray levels, uint8 [B, S, S], as a model's images: float32 [B, C, S, S]."""
