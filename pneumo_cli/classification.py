"""The shared base of binary classification trainers. Public: third parties derive from it.

A network maps images to one logit each; PNEUMONIA (class 1) is positive. The recipe is the report's (SOURCE 2
and 4): weighted binary cross-entropy, SGD with Nesterov momentum, a learning rate that is cut in steps.
A subclass usually states nothing but its name in a spec; it overrides what its task does differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pneumo_cli.data.augment import EvaluationTransform, ReportAugmentation
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics, confusion
from pneumo_cli.evaluation.result import Evaluation, NamedFigure
from pneumo_cli.settings import ClassificationSettings
from pneumo_cli.trainer import Monitor, Trainer, Transforms

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.run import Run


class ClassificationTrainer(Trainer):
    """Trains a registered model of kind ``classifier`` to tell class 1 from class 0.

    Args:
        settings: an instance of :class:`~pneumo_cli.settings.ClassificationSettings` or a subclass.
    """

    curves = ("accuracy", "loss", "precision", "recall", "f1")
    settings: ClassificationSettings

    def __init__(self, settings: ClassificationSettings) -> None:
        super().__init__(settings)

    @property
    def monitor(self) -> Monitor:
        """The metric that the settings name; the loss is the one of which less is better."""
        return Monitor(self.settings.monitor, "min" if self.settings.monitor == "loss" else "max")

    def build_model(self, run: Run) -> torch.nn.Module:
        """The registered classifier, for three channels and one logit.

        Raises:
            UsageError: the dataset has not two classes, or the model cannot take its images.
        """
        classes = run.data.dataset.classes
        if len(classes) != 2:
            raise UsageError(
                f"{run.spec.name} tells two classes apart, and the dataset {run.data.dataset.name} has "
                f"{len(classes)}: {', '.join(classes)}"
            )
        model = run.create_model(channels=3, outputs=1)
        check_logits(model, run.settings.image_size, run.model_entry.qualified_name)
        return model

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """SGD as SOURCE 4 has it."""
        s = self.settings
        parameters = [p for p in run.model.parameters() if p.requires_grad]
        return {
            "main": torch.optim.SGD(
                parameters,
                lr=s.lr,
                momentum=s.momentum,
                nesterov=s.nesterov and s.momentum > 0,
                weight_decay=s.weight_decay,
                fused=run.device.fused,
            )
        }

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """StepLR as SOURCE 4 has it, per epoch."""
        s = self.settings
        return {"main": torch.optim.lr_scheduler.StepLR(run.optimizers["main"], s.lr_step, s.lr_gamma)}

    def build_transforms(self, run: Run) -> Transforms:
        """The report's augmentation for training, plain normalisation elsewhere (SOURCE 2)."""
        s = self.settings
        evaluation = EvaluationTransform()
        if not s.augment:
            return Transforms(evaluation, evaluation)
        augmentation = ReportAugmentation(
            seed=s.seed,
            rotation=s.rotation,
            flip=s.flip,
            brightness=s.brightness,
            contrast=s.contrast,
        )
        return Transforms(augmentation, evaluation)

    def positive_weight(self, run: Run) -> float:
        """NORMAL : PNEUMONIA in the training split (1017 / 2907 in the report's, SOURCE 4), or 1."""
        if not self.settings.weighted_loss:
            return 1.0
        labels = run.data.labels[run.data.split.train]
        return float((labels == 0).sum() / (labels == 1).sum())

    def loss(self, run: Run, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy with the positive class weighted, averaged over images.

        Args:
            logits: float [B].
            labels: int64 [B] of 0 and 1.
        """
        weight = torch.tensor(self.positive_weight(run), device=logits.device)
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), pos_weight=weight)

    def train_step(self, run: Run, batch: Batch) -> dict[str, torch.Tensor]:
        """One update on one batch."""
        logits = run.model(batch.images).flatten()
        loss = self.loss(run, logits, batch.labels)
        run.optimize(loss)
        return {"loss": loss.detach(), "logits": logits.detach().float(), "labels": batch.labels}

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """The metrics of the predictions made while training: of changing weights, on augmented images."""
        return {**means, **binary_metrics(outputs["logits"], outputs["labels"])}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Loss and binary metrics at the threshold 0.5, with the report's figures."""
        logits = []
        labels = []
        index = []
        for batch in loader:
            logits.append(run.model(batch.images).flatten().float())
            labels.append(batch.labels)
            index.append(batch.index)
        outputs = run.gather(
            {"index": torch.cat(index), "logits": torch.cat(logits), "labels": torch.cat(labels)}
        )
        if not np.isfinite(outputs["logits"]).all():
            return Evaluation(metrics={"loss": float("nan")}, outputs=outputs)
        loss = self.loss(run, torch.from_numpy(outputs["logits"]), torch.from_numpy(outputs["labels"]))
        outputs["probabilities"] = 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))
        metrics = {"loss": float(loss), **binary_metrics(outputs["logits"], outputs["labels"])}
        return Evaluation(metrics, classification_figures(outputs, run.data.dataset.classes), outputs)


def check_logits(model: torch.nn.Module, size: int, name: str) -> None:
    """Find out with one black image whether a module is a binary classifier of such images.

    Raises:
        UsageError: it fails on them or returns another shape than [1, 1].
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(1, 3, size, size))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"the model {name} cannot take images of 3 x {size} x {size}: {reason}") from error
    finally:
        model.train(was_training)
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, 1):
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(f"the model {name} returns {shape} for one image, where a classifier returns [1, 1]")


def classification_figures(
    outputs: Mapping[str, NDArray[np.generic]], classes: tuple[str, ...]
) -> tuple[NamedFigure, ...]:
    """Confusion matrix, ROC curve and precision-recall curve of one split's predictions (SOURCE 4)."""
    from pneumo_cli.reports import figures

    logits, labels = outputs["logits"], outputs["labels"]
    return (
        NamedFigure(
            "confusion-matrix",
            "Confusion matrix at the threshold 0.5: counts, and shares of each true class.",
            partial(figures.confusion_matrix, confusion(logits, labels), classes),
        ),
        NamedFigure(
            "roc",
            f"ROC curve: sensitivity for {classes[1]} against the share of false alarms among {classes[0]}.",
            partial(figures.roc_curve, logits, labels),
        ),
        NamedFigure(
            "precision-recall",
            f"Precision-recall curve for {classes[1]}; the dashed line is its prevalence in this split.",
            partial(figures.precision_recall_curve, logits, labels),
        ),
    )
