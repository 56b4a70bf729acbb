"""What a trainer is: three hooks and typed settings.

Philosophy: the author owns the model, the update of one batch and the judgement of one split; the runner owns
everything around them (devices, precision, data, order, checkpoints, interruption, reports).
Not here: the loop (:mod:`pneumo_cli.training.runner`), and what classification tasks share
(:mod:`pneumo_cli.trainers.classification`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.data.batch_inputs import Sources, Transforms
from pneumo_cli.evaluation.result import Evaluation, RunSummary
from pneumo_cli.runs.run import Monitor
from pneumo_cli.settings.schema import TrainerSettings

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.capabilities import Classifier, ImageGenerator


_FORMER = {"assess": "describe_evaluation", "judge": "summarize", "wanted_class": "only_class"}


class Trainer(FormerNames, ABC, former=_FORMER):
    """Base class of every trainer. Its methods are the implementations of the task hooks.

    Args:
        settings: the checked settings, an instance of the class that the spec names.

    Attributes:
        curves: the metrics whose curves the report shows first; empty: all of them.
        scheduler_interval: whether schedulers are stepped once per epoch or after each update.
    """

    curves: Sequence[str] = ()
    scheduler_interval: Literal["epoch", "update"] = "epoch"

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings

    @property
    def monitor(self) -> Monitor:
        """What chooses the best checkpoint: the smallest validation loss, unless a trainer says otherwise."""
        return Monitor("loss", "min")

    @abstractmethod
    def build_model(self, run: Run) -> torch.nn.Module:
        """Make the one module that is trained and saved (:class:`~pneumo_cli.plugins.hookspecs.TaskHooks`)."""

    @abstractmethod
    def train_step(self, run: Run, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Make the update of one batch through ``run.optimize`` and return detached tensors."""

    @abstractmethod
    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Judge the model on one split, in eval mode and without gradients."""

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by the name that ``run.optimize`` is called with. Default: ``main``, AdamW at 1e-3."""
        parameters = [p for p in run.model.parameters() if p.requires_grad]
        return {"main": torch.optim.AdamW(parameters, lr=1e-3, fused=run.device.fused)}

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Schedulers by optimizer name, stepped as ``scheduler_interval`` says. Default: constant rates."""
        return {}

    def build_transforms(self, run: Run) -> Transforms:
        """Default: no augmentation; three channels, normalised as ImageNet's (SOURCE 2)."""
        return Transforms(EvaluationTransform(), EvaluationTransform())

    def build_sources(self, run: Run) -> Sources:
        """What the loaders' batches are made of. Default: images, transformed anew each time."""
        evaluation = run.image_inputs(run.transforms.evaluation)
        return Sources(run.image_inputs(run.transforms.train), evaluation, evaluation)

    def cache_sources(self, run: Run) -> Sources:
        """Compute once what every epoch would compute anew. Default: nothing.

        Called when a run begins or is taken up again, when its weights are in place.
        """
        return run.sources

    @property
    def only_class(self) -> str:
        """The class whose images alone the run is given. Default: the empty string, all classes."""
        return ""

    def epoch_images(self, run: Run) -> torch.Tensor | None:
        """Images to keep of each epoch, uint8 [N, S, S], such as a GAN's of the same noise. Default: none.

        Called in eval mode without gradients.
        """
        return None

    def calibrate(self, run: Run, validation: Evaluation) -> dict[str, Any]:
        """Fit on the validation images what is fitted when training is over. Default: nothing.

        Thresholds, a calibration: what is returned, tensors and plain values, is kept in the checkpoint ``best``
        and is ``run.calibration`` wherever that is judged. The test images have not been looked at by then.

        Args:
            validation: of the best checkpoint; where no image validates, the method is not called.
        """
        return {}

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add to an evaluation what only a reader wants: intervals, tables, figures. Default: nothing.

        Called with what :meth:`evaluate` returned for the best checkpoint, not in every epoch, on the first rank
        only, in eval mode without gradients.

        Args:
            split: ``train``, ``validation`` or ``test``.
        """
        return evaluation

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Say something about the result as a whole, for the report of a finished run. Default: nothing.

        Called once, with the best checkpoint, in eval mode without gradients, on the first rank only.

        Args:
            evaluations: by split, assessed; empty where a checkpoint is judged again.
        """
        return None

    def can_summarize(self, run: Run) -> bool:
        """Whether :meth:`summarize` has something to say of a built model. Default: where it is overridden."""
        return type(self).summarize is not Trainer.summarize

    def as_classifier(self) -> Classifier | None:
        """How this trainer's models classify images; None (the default) where they do not."""
        return None

    def as_generator(self) -> ImageGenerator | None:
        """How this trainer's models make images; None (the default) where they do not."""
        return None

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Find what can be found wrong with a new run before its data are read. Default: nothing.

        Args:
            entry: the model that is asked for.

        Raises:
            UsageError: something that was asked for cannot be had.
        """
        return

    def model_options(self) -> dict[str, Any]:
        """What the trainer offers to the factory of a model of its kind, as far as the settings tell."""
        return {}

    def freeze(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> dict[str, str]:
        """Choose what of a new model is trained. Default: everything.

        Returns:
            facts about the choice by title, for ``pneumo show`` and the report.
        """
        return {}

    def load_pretrained(self, run: Run) -> str:
        """Put weights from elsewhere into the model of a new run. Default: they stay as they were drawn.

        Returns:
            what was loaded, in one line; empty where nothing was.

        Raises:
            UsageError: the weights cannot be had, or are another model's.
        """
        return ""

    def train_mode(self, run: Run) -> None:
        """Put the model into training mode at the start of an epoch."""
        run.model.train()

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """Turn what ``train_step`` returned during an epoch into the epoch's training metrics.

        Args:
            means: 0-d tensors, averaged over the epoch by batch size.
            outputs: 1-d tensors, one value per image [N] in the order of ``outputs["index"]``.
        """
        return dict(means)
