"""The base class of binary classification trainers. Public: third parties derive from it.

A network maps images to one logit each; PNEUMONIA (class 1) is positive. The default recipe is the report's
(SOURCE 2 and 4): weighted binary cross-entropy, SGD with Nesterov momentum, a step schedule of the learning rate.
Settings offer better techniques, which the presets ``strong`` use. A subclass overrides what its task does
differently; usually nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform
from pneumo_cli.data.batch_inputs import FlipTTA, Sources, Transforms
from pneumo_cli.data.scanner_augmentation import ScannerAugmentation
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.classification_report import Predictions, classification_report
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule, spread
from pneumo_cli.evaluation.result import Evaluation, RunSummary
from pneumo_cli.reports.figures.classification_report import with_figures
from pneumo_cli.runs.run import Monitor
from pneumo_cli.settings.schema import ClassificationSettings
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.explanations import explain
from pneumo_cli.trainers.optimization import parameter_groups, warm_cosine
from pneumo_cli.trainers.targets import BinaryTargets, SubtypeTargets, Targets, positive_logits

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.capabilities import Classifier


class ClassificationTrainer(Trainer):
    """Trains a registered model of kind ``classifier`` to distinguish class 1 from class 0.

    Args:
        settings: an instance of :class:`~pneumo_cli.settings.schema.ClassificationSettings` or a subclass.
    """

    curves = ("accuracy", "loss", "precision", "recall", "f1")
    settings: ClassificationSettings
    targets: Targets

    def __init__(self, settings: ClassificationSettings) -> None:
        super().__init__(settings)
        if settings.schedule == "cosine":
            self.scheduler_interval = "update"

    @property
    def monitor(self) -> Monitor:
        """The metric that the settings name; higher is better, except for the loss."""
        return Monitor(self.settings.monitor, "min" if self.settings.monitor == "loss" else "max")

    def build_model(self, run: Run) -> torch.nn.Module:
        """The registered classifier, with three channels and the outputs that the targets need.

        Raises:
            UsageError: the dataset does not have two classes, or the model does not support its images.
        """
        classes = run.data.dataset.classes
        if len(classes) != 2:
            raise UsageError(
                f"{run.spec.name} is for two classes, and the dataset {run.data.dataset.name} has "
                f"{len(classes)}: {', '.join(classes)}"
            )
        weight, smoothing = self.positive_weight(run), self.settings.label_smoothing
        if self.settings.subtypes:
            self.targets = SubtypeTargets(run.data.dataset, weight, smoothing)
        else:
            self.targets = BinaryTargets(weight, smoothing)
        model = run.create_model(channels=3, outputs=self.targets.outputs)
        check_outputs(model, run.settings.image_size, self.targets.outputs, run.model_entry.qualified_name)
        self.freeze(run.model_entry, model)
        return model

    def model_options(self) -> dict[str, Any]:
        """Three channels; one output, or three for NORMAL, bacteria and virus."""
        return {"channels": 3, "outputs": 3 if self.settings.subtypes else 1}

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """SGD as in SOURCE 4, or AdamW."""
        s = self.settings
        groups = parameter_groups(
            run.model,
            stages_of(run.model_entry.spec, run.model),
            lr=s.lr,
            weight_decay=s.weight_decay,
            decay_norms=s.decay_norms,
            layer_decay=s.layer_decay,
        )
        common: Any = {"lr": s.lr, "fused": run.device.fused}
        if s.optimizer == "adamw":
            return {"main": torch.optim.AdamW(groups, **common)}
        nesterov = s.nesterov and s.momentum > 0
        return {"main": torch.optim.SGD(groups, momentum=s.momentum, nesterov=nesterov, **common)}

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """StepLR as in SOURCE 4, per epoch; or a linear warm-up and a cosine, per update."""
        s = self.settings
        optimizer = run.optimizers["main"]
        if s.schedule == "step":
            return {"main": torch.optim.lr_scheduler.StepLR(optimizer, s.lr_step, s.lr_gamma)}
        per_epoch = run.updates_per_epoch
        factor = warm_cosine(s.epochs * per_epoch, round(s.warmup * per_epoch))
        return {"main": torch.optim.lr_scheduler.LambdaLR(optimizer, factor)}

    def build_transforms(self, run: Run) -> Transforms:
        """The report's augmentation for training, plain normalisation for evaluation (SOURCE 2).

        Settings beyond the report's select an augmentation that models other scanners.
        """
        s = self.settings
        spec = run.model_entry.spec
        evaluation = self.evaluation_transform(spec)
        if not s.augment:
            return Transforms(evaluation, evaluation)
        names = ("seed", "rotation", "flip", "brightness", "contrast", "standardize")
        options: Any = {name: getattr(s, name) for name in names} | {"mean": spec.mean, "std": spec.std}
        scanner = {name: getattr(s, name) for name in ("zoom", "shift", "gamma", "border", "blur")}
        augmentation: Transform
        if any(scanner.values()):
            augmentation = ScannerAugmentation(**options, **scanner)
        else:
            augmentation = ReportAugmentation(**options)
        return Transforms(augmentation, evaluation)

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """How gray levels become a model's input outside training."""
        return EvaluationTransform(mean=spec.mean, std=spec.std, standardize=self.settings.standardize)

    @property
    def flip_tta(self) -> bool:
        """Whether evaluation uses horizontal-flip TTA."""
        return self.settings.flip_tta

    def as_classifier(self) -> Classifier:
        """This trainer."""
        return self

    def decision_rule(self, state: Mapping[str, Any], classes: Sequence[str] = ()) -> DecisionRule:
        """The rule fitted on the validation images, at the operating point that the settings name."""
        rule = DecisionRule.from_state(state, classes)
        return rule.at(self.settings.operating_point) if rule.images else rule

    def build_sources(self, run: Run) -> Sources:
        """Images; for evaluation with their horizontal flips, if the settings ask for flip TTA."""
        sources = super().build_sources(run)
        if not self.settings.flip_tta:
            return sources
        flipped = FlipTTA(run.image_inputs(run.transforms.evaluation))
        return Sources(sources.train, flipped, flipped)

    def forward(self, run: Run, batch: Batch) -> torch.Tensor:
        """The model's outputs for a batch, [B, outputs]; or [V * B, outputs] for V views of each image."""
        outputs: torch.Tensor = run.model(batch.images)
        return outputs

    def positive_weight(self, run: Run) -> float:
        """NORMAL : PNEUMONIA in the training split (1017 / 2907 in the report's, SOURCE 4), or 1."""
        if not self.settings.weighted_loss:
            return 1.0
        labels = run.data.labels[run.data.split.train]
        return float((labels == 0).sum() / (labels == 1).sum())

    def loss(self, run: Run, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss for evaluation: binary cross-entropy, class 1 weighted, averaged over images.

        Args:
            logits: float [B].
            labels: int64 [B] of 0 and 1.
        """
        weight = torch.tensor(self.positive_weight(run), device=logits.device)
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), pos_weight=weight)

    def train_step(self, run: Run, batch: Batch) -> dict[str, torch.Tensor]:
        """One update on one batch."""
        outputs = self.forward(run, batch)
        loss = self.targets.loss(outputs, batch.labels, batch.index)
        run.optimize(loss)
        logits = positive_logits(outputs.detach())
        return {"loss": loss.detach(), "logits": logits, "labels": batch.labels}

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """The metrics of the predictions during training: of changing weights, on augmented images."""
        return {**means, **binary_metrics(outputs["logits"], outputs["labels"])}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Loss and binary metrics at the threshold 0.5."""
        rows = []
        for batch in loader:
            views = positive_logits(self.forward(run, batch)).view(-1, len(batch.labels))
            rows.append((batch.index, views.mean(0), batch.labels))
        columns = map(torch.cat, zip(*rows, strict=True))
        outputs = run.gather(dict(zip(("index", "logits", "labels"), columns, strict=True)))
        if not np.isfinite(outputs["logits"]).all():
            return Evaluation(metrics={"loss": float("nan")}, outputs=outputs)
        loss = self.loss(run, torch.from_numpy(outputs["logits"]), torch.from_numpy(outputs["labels"]))
        metrics = {"loss": float(loss), **binary_metrics(outputs["logits"], outputs["labels"])}
        return Evaluation(metrics, outputs=outputs)

    def calibrate(self, run: Run, validation: Evaluation) -> dict[str, Any]:
        """Fit the calibration, the operating points, and the detectors of OOD images and of orientation."""
        outputs, data, s = validation.outputs, run.data, self.settings
        if not np.isfinite(outputs["logits"]).all():
            return {}
        train = spread(data.split.train, data.size)
        negative, positive = data.dataset.classes
        rule = fit_decision_rule(
            Fitting(
                classes=(negative, positive),
                logits=outputs["logits"],
                labels=outputs["labels"],
                train_images=data.images[train],
                train_labels=data.labels[train],
                validation_images=data.images[spread(data.split.validation, data.size)],
            ),
            chosen=s.operating_point,
            wanted_sensitivity=s.wanted_sensitivity,
            miss_cost=s.miss_cost,
            seed=s.seed,
        )
        return rule.state()

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add intervals, operating points, subtypes, a baseline, and the misclassified images."""
        outputs = evaluation.outputs
        if not np.isfinite(outputs["logits"]).all():
            return evaluation
        rule = self.decision_rule(run.calibration, run.data.dataset.classes)
        records = [run.data.dataset.records[int(position)] for position in outputs["index"]]
        predictions = Predictions(
            logits=outputs["logits"].astype(np.float64),
            labels=outputs["labels"].astype(np.int64),
            names=[record.name for record in records],
            patients=[record.patient for record in records],
            subtypes=[record.subtype for record in records],
        )
        baseline = None
        if rule.baseline is not None:
            chunks = np.array_split(outputs["index"], len(records) // 1024 + 1)
            baseline = np.concatenate([rule.baseline.logits(run.data.images[chunk]) for chunk in chunks])
        seed = self.settings.seed
        described = classification_report(evaluation, predictions, rule, baseline, seed)
        return with_figures(described, predictions, rule, seed)

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Saliency maps of the most confident correct and incorrect predictions, and sanity checks of the maps."""
        split = next((name for name in ("test", "validation") if name in evaluations), "")
        if not split or not np.isfinite(evaluations[split].outputs["logits"]).all():
            return None
        return explain(run, split, evaluations[split], self.evaluation_transform(run.model_entry.spec))


def check_outputs(model: torch.nn.Module, size: int, outputs: int, name: str) -> None:
    """Check with one black image that a module is a classifier of such images.

    Raises:
        UsageError: it fails or returns another shape than [1, outputs].
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            result = model(torch.zeros(1, 3, size, size))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"the model {name} cannot take images of 3 x {size} x {size}: {reason}") from error
    finally:
        model.train(was_training)
    if not isinstance(result, torch.Tensor) or result.shape != (1, outputs):
        shape = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise UsageError(
            f"the model {name} returns {shape} for one image, where a classifier returns [1, {outputs}]"
        )
