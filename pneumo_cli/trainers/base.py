"""The base class of trainers: three hooks and typed settings.

The author is responsible for the model, the update of one batch and the evaluation of one split; the runner
(:mod:`pneumo_cli.training.runner`) for everything else: devices, precision, data, order, checkpoints,
interruption, reports.
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
from pneumo_cli.trainers.optimization import AdamW

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.data.records import Task
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.capabilities import Classifier, ImageGenerator, ImagePredictor

_FORMER = {"assess": "describe_evaluation", "judge": "summarize", "wanted_class": "only_class"}


class Trainer(FormerNames, ABC, former=_FORMER):
    """Base class of every trainer. Its methods implement the task hooks.

    Args:
        settings: validated, an instance of the class that the spec names.

    Attributes:
        curves: the metrics whose curves the report shows first; empty: all of them.
        scheduler_interval: whether schedulers step once per epoch or after each update.
        updates_each_step: whether every ``train_step`` calls ``run.optimize``, which the first one is checked for.
            False for a trainer that fits without gradients, or not in every step.
    """

    curves: Sequence[str] = ()
    scheduler_interval: Literal["epoch", "update"] = "epoch"
    updates_each_step: bool = True

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings

    @property
    def monitor(self) -> Monitor:
        """The metric that selects the best checkpoint. Default: the lowest validation loss."""
        return Monitor("loss", "min")

    @abstractmethod
    def build_model(self, run: Run) -> torch.nn.Module:
        """Build the one module that is trained and saved (:class:`~pneumo_cli.plugins.hookspecs.TaskHooks`)."""

    @abstractmethod
    def train_step(self, run: Run, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Make the update of one batch through ``run.optimize`` and return detached tensors."""

    def training_loss(self, run: Run, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss that is trained, 0-d, which ``train_step`` gets through ``run.loss(outputs, batch)``.

        Default: there is none, so extensions that change the loss cannot take part.

        Args:
            outputs: of the model for the batch.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define training_loss")

    @property
    def has_training_loss(self) -> bool:
        """Whether :meth:`training_loss` is defined, so that extensions may change it."""
        return type(self).training_loss is not Trainer.training_loss

    @abstractmethod
    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Evaluate the model on one split, in eval mode without gradients."""

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by the name that ``run.optimize`` is called with. Default: ``main``, AdamW at 1e-3."""
        parameters = [p for p in run.model.parameters() if p.requires_grad]
        return {"main": AdamW(parameters, lr=1e-3, fused=run.device.fused)}

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Schedulers by optimizer name, see ``scheduler_interval``. Default: constant learning rates."""
        return {}

    def build_transforms(self, run: Run) -> Transforms:
        """Default: no augmentation; three channels, normalised as ImageNet's (SOURCE 2)."""
        return Transforms(EvaluationTransform(), EvaluationTransform())

    def build_sources(self, run: Run) -> Sources:
        """The sources of the loaders' batches. Default: images, transformed anew each time."""
        evaluation = run.image_inputs(run.transforms.evaluation)
        return Sources(run.image_inputs(run.transforms.train), evaluation, evaluation)

    def cache_sources(self, run: Run) -> Sources:
        """Compute once what every epoch would recompute. Default: nothing.

        Called when a run starts or resumes, after its weights are loaded.
        """
        return run.sources

    @property
    def only_class(self) -> str:
        """The only class whose images the run uses. Default: empty, all classes."""
        return ""

    def epoch_images(self, run: Run) -> torch.Tensor | None:
        """Images to save of each epoch, uint8 [N, S, S], such as a GAN's from fixed noise. Default: none.

        Called in eval mode without gradients.
        """
        return None

    def calibrate(self, run: Run, validation: Evaluation) -> dict[str, Any]:
        """Fit a calibration, thresholds and the like on the validation images after training. Default: nothing.

        The result, tensors and plain values, is stored in the checkpoint ``best`` and is ``run.calibration``
        wherever that is evaluated. The test images have not been evaluated on by then.

        Args:
            validation: of the best checkpoint; without validation images, the method is not called.
        """
        return {}

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add intervals, tables and figures for the report to an evaluation. Default: nothing.

        Called with the result of :meth:`evaluate` for the best checkpoint, on the first rank only, in eval mode
        without gradients.

        Args:
            split: ``train``, ``validation`` or ``test``.
        """
        return evaluation

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Summarize the results as a whole, for the report of a finished run. Default: nothing.

        Called once, with the best checkpoint, in eval mode without gradients, on the first rank only.

        Args:
            evaluations: by split, from :meth:`describe_evaluation`; empty if a checkpoint is re-evaluated.
        """
        return None

    def can_summarize(self, run: Run) -> bool:
        """Whether :meth:`summarize` returns a summary for a built model. Default: if it is overridden."""
        return type(self).summarize is not Trainer.summarize

    def as_classifier(self) -> Classifier | None:
        """How this trainer's models classify images; None (the default) if they do not."""
        return None

    def as_predictor(self) -> ImagePredictor | None:
        """How this trainer's models predict numbers or masks; None (the default) if they do not.

        With it ``pneumo predict`` (also of a group, as an ensemble) and ``pneumo export`` work as for a classifier.
        """
        return None

    def as_generator(self) -> ImageGenerator | None:
        """How this trainer's models generate images; None (the default) if they do not."""
        return None

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Check a new run with the model ``entry`` before its data are read. Default: nothing.

        Raises:
            UsageError: the request cannot be carried out.
        """
        return

    def choose_task(self, task: Task, classes: Sequence[str]) -> None:
        """Learn what the dataset asks to decide, before :meth:`model_options`. Default: of no concern.

        Args:
            task: ``binary``, ``multiclass`` or ``multilabel``.
            classes: names of the classes.
        """
        return

    def choose_images(self, channels: int, bits: int) -> None:
        """Learn what the dataset's images are, before :meth:`build_transforms` and :meth:`model_options`.

        Default: of no concern; images of other channels than the transform's become gray.

        Args:
            channels: 1 gray, 3 red, green and blue, or one for each view.
            bits: 8 or 16.
        """
        return

    def feature_stages(self, spec: ModelSpec, model: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """Modules that compute the features of an image, in order, for comparing images (``--extractor RUN``).

        Default: the model's stages without the last, its head.

        Returns:
            at least one module; none: it has no features.
        """
        from pneumo_cli.trainers.backbone import stages_of

        return stages_of(spec, model)[:-1]

    def model_options(self) -> dict[str, Any]:
        """Options for the factory of a model of the trainer's kind, as far as the settings determine them."""
        return {}

    def freeze(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> dict[str, str]:
        """Freeze parameters of a new model. Default: none.

        Returns:
            facts about the choice by title, for ``pneumo show`` and the report.
        """
        return {}

    def load_pretrained(self, run: Run) -> str:
        """Load pretrained weights into the model of a new run. Default: it keeps its random weights.

        Returns:
            what was loaded, in one line; empty for nothing.

        Raises:
            UsageError: the weights are not available, or are those of another model.
        """
        return ""

    def train_mode(self, run: Run) -> None:
        """Put the model into training mode at the start of an epoch."""
        run.model.train()

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """Turn the results of ``train_step`` during an epoch into the epoch's training metrics.

        Args:
            means: 0-d tensors, averaged over the epoch by batch size.
            outputs: 1-d tensors, one value per image [N] in the order of ``outputs["index"]``.
        """
        return dict(means)
