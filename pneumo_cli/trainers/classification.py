"""The base class of classification trainers. Public: third parties derive from it.

The dataset says what is decided: between two classes (one logit; class 1, as PNEUMONIA, is positive), one of K
exclusive classes, or any of K labels (K logits). The default recipe is the report's (SOURCE 2 and 4): weighted
cross-entropy, SGD with Nesterov momentum, a step schedule of the learning rate. Settings offer better techniques,
which the presets ``strong`` use. A subclass overrides what its task does differently; usually nothing.
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
from pneumo_cli.evaluation.multi.rule import Rule, rule_from_state
from pneumo_cli.evaluation.result import Evaluation, RunSummary
from pneumo_cli.runs.run import Monitor
from pneumo_cli.settings.schema import ClassificationSettings
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.class_weights import ClassWeights, class_weights
from pneumo_cli.trainers.classifier_results import described, fit_rule
from pneumo_cli.trainers.explanations import explain
from pneumo_cli.trainers.optimization import SGD, AdamW, parameter_groups, warm_cosine
from pneumo_cli.trainers.targets import (
    BinaryTargets,
    MultiTargets,
    SubtypeTargets,
    Targets,
    subtypes,
    task_logits,
)

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.data.records import Task
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.capabilities import Classifier


class ClassificationTrainer(Trainer):
    """Trains a registered model of kind ``classifier`` to decide what its dataset asks.

    Args:
        settings: an instance of :class:`~pneumo_cli.settings.schema.ClassificationSettings` or a subclass.

    Attributes:
        task: ``binary``, ``multiclass`` or ``multilabel``.
        classes: names of the classes; empty before the dataset is known.
        channels: of the model's input: 3 for gray images, which are repeated, and for RGB, else the images' own.
    """

    task: Task = "binary"
    classes: Sequence[str] = ()
    channels: int = 3

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

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Check that there will be validation images.

        Raises:
            UsageError: there will be none.
        """
        if self.settings.split == "all":
            raise UsageError(
                "split = 'all' holds no image out, and a classifier selects its checkpoint and its thresholds by "
                "validation images: use --split patient"
            )

    def choose_task(self, task: Task, classes: Sequence[str]) -> None:
        """Decide among these classes."""
        self.task, self.classes = task, tuple(classes)

    def choose_images(self, channels: int, bits: int) -> None:
        """Take three channels of gray images and of RGB, else the images' own."""
        self.channels = 3 if channels == 1 else channels

    def build_model(self, run: Run) -> torch.nn.Module:
        """The registered classifier, with the outputs that the targets need.

        Raises:
            UsageError: the settings do not go with what the dataset asks to decide, or the model does not support
                its images.
        """
        data, s = run.data, self.settings
        self.choose_task(data.task, data.dataset.classes)
        self._check_task(data.dataset.name)
        trains_subtypes = self._trains_subtypes(run)
        if self.task != "binary":
            self.targets = MultiTargets(self.task, self.weights(run), s.label_smoothing)
        elif trains_subtypes:
            self.targets = SubtypeTargets(data.dataset, self.weights(run), s.label_smoothing)
        else:
            self.targets = BinaryTargets(self.weights(run), s.label_smoothing)
        model = run.create_model(channels=self.channels, outputs=self.targets.outputs)
        shape = (self.channels, run.settings.image_size, run.settings.image_size)
        check_outputs(model, shape, self.targets.outputs, run.model_entry)
        self.freeze(run.model_entry, model)
        return model

    def _check_task(self, dataset: str) -> None:
        """Raise UsageError where a setting does not go with the task."""
        s, count = self.settings, len(self.classes)
        if not count:
            raise UsageError(
                f"the images of the dataset {dataset} have no classes: there is nothing to decide"
            )
        if count < 2:
            raise UsageError(
                f"the dataset {dataset} has {count} class ({', '.join(self.classes)}): there is nothing to decide"
            )
        if s.sampling in ("over", "under") and self.task == "multilabel":
            raise UsageError(
                f"sampling = {s.sampling!r} is for exclusive classes, and {dataset} has {count} labels at once: "
                "weight them instead (--class-weights, --pos-weight)"
            )

    def _trains_subtypes(self, run: Run) -> bool:
        """Whether the targets are the subtypes of class 1: if a preset asks for them, only where there are any.

        Raises:
            UsageError: the flag asks for them, and the dataset has none.
        """
        if not self.settings.subtypes:
            return False
        try:
            if self.task != "binary":
                raise UsageError(
                    f"subtypes are for two classes, and the dataset {run.data.dataset.name} has "
                    f"{len(self.classes)}: use --no-subtypes"
                )
            subtypes(run.data.dataset)
        except UsageError as error:
            if run.resolved.origins.get("subtypes", "").startswith("--"):
                raise
            run.note(f"trained without subtypes: {str(error).rpartition(':')[0]}")
            return False
        return True

    def model_options(self) -> dict[str, Any]:
        """The channels; one output for two classes (with subtypes three, NORMAL, bacteria and virus), else K.

        After the model was built, the outputs that it has.
        """
        if hasattr(self, "targets"):
            return {"channels": self.channels, "outputs": self.targets.outputs}
        if self.task != "binary":
            return {"channels": self.channels, "outputs": len(self.classes)}
        return {"channels": self.channels, "outputs": 3 if self.settings.subtypes else 1}

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
            return {"main": AdamW(groups, **common)}
        nesterov = s.nesterov and s.momentum > 0
        return {"main": SGD(groups, momentum=s.momentum, nesterov=nesterov, **common)}

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
        options: Any = {name: getattr(s, name) for name in names} | self._normalization(spec)
        scanner = {name: getattr(s, name) for name in ("zoom", "shift", "gamma", "border", "blur")}
        augmentation: Transform
        if any(scanner.values()):
            augmentation = ScannerAugmentation(**options, **scanner)
        else:
            augmentation = ReportAugmentation(**options)
        return Transforms(augmentation, evaluation)

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """How gray levels become a model's input outside training."""
        return EvaluationTransform(**self._normalization(spec), standardize=self.settings.standardize)

    def _normalization(self, spec: ModelSpec) -> dict[str, Any]:
        """Channels, mean and std of the model's input; other channels than three have the average of the three."""
        if self.channels == 3:
            return {"channels": 3, "mean": spec.mean, "std": spec.std}
        mean, std = ([sum(three) / 3] * self.channels for three in (spec.mean, spec.std))
        return {"channels": self.channels, "mean": mean, "std": std}

    @property
    def flip_tta(self) -> bool:
        """Whether evaluation uses horizontal-flip TTA."""
        return self.settings.flip_tta

    def as_classifier(self) -> Classifier:
        """This trainer."""
        return self

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """The logits, float32 [B] of class 1 or [B, K], of a model's outputs."""
        return task_logits(outputs, self.task)

    def decision_rule(self, state: Mapping[str, Any], classes: Sequence[str] = ()) -> Rule:
        """The rule fitted on the validation images, at the operating point that the settings name."""
        rule = rule_from_state(state, classes or self.classes, self.task)
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

    def weights(self, run: Run) -> ClassWeights:
        """The weights of the classes in the loss."""
        if self.task == "binary":
            negative = self._class_weights(run).present[0]
            return ClassWeights(np.array([negative, negative * self.positive_weight(run)]), np.ones(2))
        return self._class_weights(run)

    def positive_weight(self, run: Run) -> float:
        """Of two classes, the weight of class 1 relative to class 0.

        By default NORMAL : PNEUMONIA in the training split (1017 / 2907 in the report's, SOURCE 4).
        """
        negative, positive = self._class_weights(run).present
        return float(positive / negative)

    def _class_weights(self, run: Run) -> ClassWeights:
        data, s = run.data, self.settings
        labels = data.labels[data.split.train]
        return class_weights(s.class_weights, s.pos_weight, labels, self.task, data.dataset.classes)

    def loss(self, run: Run, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss for evaluation: weighted cross-entropy without label smoothing, averaged over images.

        Args:
            logits: float [B], or [B, K].
            labels: int64 [B]; of several labels [B, K] with -1 for unknown.
        """
        if self.task != "binary":
            assert isinstance(self.targets, MultiTargets)
            return self.targets.mean_loss(logits.float(), labels)
        weight = torch.tensor(self.positive_weight(run), device=logits.device)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), pos_weight=weight)
        return loss * float(self._class_weights(run).present[0])

    def training_loss(self, run: Run, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Weighted cross-entropy with label smoothing, averaged over images."""
        return self.targets.loss(outputs, batch.labels, batch.index)

    def train_step(self, run: Run, batch: Batch) -> dict[str, torch.Tensor]:
        """One update on one batch."""
        outputs = self.forward(run, batch)
        loss = run.loss(outputs, batch)
        run.optimize(loss)
        return {"loss": loss.detach(), "logits": self.logits(outputs.detach()), "labels": batch.labels}

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """The metrics of the predictions during training: of changing weights, on augmented images."""
        return {**means, **self.targets.metrics(outputs["logits"], outputs["labels"])}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Loss and metrics at the threshold 0.5, or with the most probable of exclusive classes."""
        rows = []
        for batch in loader:
            logits = self.logits(self.forward(run, batch))
            views = logits.view(-1, len(batch.labels), *logits.shape[1:])
            rows.append((batch.index, views.mean(0), batch.labels))
        columns = map(torch.cat, zip(*rows, strict=True))
        outputs = run.gather(dict(zip(("index", "logits", "labels"), columns, strict=True)))
        if not np.isfinite(outputs["logits"]).all():
            return Evaluation(metrics={"loss": float("nan")}, outputs=outputs)
        loss = self.loss(run, torch.from_numpy(outputs["logits"]), torch.from_numpy(outputs["labels"]))
        metrics = {"loss": float(loss), **self.targets.metrics(outputs["logits"], outputs["labels"])}
        return Evaluation(metrics, outputs=outputs)

    def calibrate(self, run: Run, validation: Evaluation) -> dict[str, Any]:
        """Fit the calibration, the operating points, and the detectors of OOD images and of orientation."""
        if not np.isfinite(validation.outputs["logits"]).all():
            return {}
        return fit_rule(run.data, validation, self.settings).state()

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add intervals, operating points, subtypes, a baseline, and the misclassified images."""
        if not np.isfinite(evaluation.outputs["logits"]).all():
            return evaluation
        rule = self.decision_rule(run.calibration, run.data.dataset.classes)
        return described(run.data, evaluation, rule, self.settings.seed)

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Saliency maps of the most confident correct and incorrect predictions, and sanity checks of the maps."""
        split = next((name for name in ("test", "validation") if name in evaluations), "")
        if not split or not np.isfinite(evaluations[split].outputs["logits"]).all():
            return None
        rule = self.decision_rule(run.calibration, run.data.dataset.classes)
        return explain(run, split, evaluations[split], self.evaluation_transform(run.model_entry.spec), rule)


def check_outputs(
    model: torch.nn.Module, shape: tuple[int, int, int], outputs: int, entry: Entry[ModelSpec]
) -> None:
    """Check with one black image that a registered model is a classifier of such images.

    Args:
        shape: of an image, channels, height and width.

    Raises:
        UsageError: it fails or returns another shape than [1, outputs].
    """
    name, was_training = entry.qualified_name, model.training
    model.eval()
    try:
        with torch.no_grad():
            result = model(torch.zeros(1, *shape))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        own = entry.spec.size
        hint = f" (it was made for {own} px: --image-size {own})" if own not in (0, shape[-1]) else ""
        raise UsageError(
            f"the model {name} cannot take images of {' x '.join(map(str, shape))}: {reason.rstrip('.')}{hint}"
        ) from error
    finally:
        model.train(was_training)
    if not isinstance(result, torch.Tensor) or result.shape != (1, outputs):
        found = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise UsageError(
            f"the model {name} returns {found} for one image, where a classifier returns [1, {outputs}]"
        )
