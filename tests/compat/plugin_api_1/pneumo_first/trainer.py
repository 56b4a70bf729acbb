"""A classifier that overrides every method of a trainer, and implements the protocol of classifiers itself."""

import functools

import numpy as np
import torch
import torch.nn.functional as F

from pneumo_cli.data import Batch, EvaluationTransform, Sources, Transforms
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation import (
    DecisionRule,
    Evaluation,
    NamedFigure,
    NamedTable,
    RunSummary,
    binary_metrics,
)
from pneumo_cli.runs import Monitor
from pneumo_cli.trainers import Trainer

called = set()


def noted(method):
    """Remember that a method was called."""

    @functools.wraps(method)
    def wrapper(*arguments, **options):
        called.add(method.__name__)
        return method(*arguments, **options)

    return wrapper


class Brighter:
    """A transform: gray levels of random brightness, by the image's index and the epoch."""

    def __init__(self, plain):
        self.plain = plain

    def __call__(self, images, index, epoch):
        shift = ((index + epoch) % 3 - 1).to(images.device).reshape(-1, 1, 1, 1) * 0.05
        return self.plain(images, index, epoch) + shift

    def display(self, images):
        return self.plain.display(images)


class Counted:
    """A source of batches that counts them."""

    def __init__(self, source):
        self.source, self.stage, self.batches = source, source.stage, 0

    def __call__(self, positions, epoch):
        self.batches += 1
        return self.source(positions, epoch)


class FirstProbe(Trainer):
    """Every method of API 1."""

    curves = ("loss", "accuracy")
    scheduler_interval = "update"

    def __init__(self, settings):
        super().__init__(settings)
        self.classes = ()

    @property
    def monitor(self):
        return Monitor("accuracy", "max")

    @property
    def only_class(self):
        return ""

    @noted
    def check_request(self, entry):
        if entry.spec.size > 64:
            raise UsageError("too large")

    @noted
    def choose_task(self, task, classes):
        if task != "binary":
            raise UsageError("first-probe knows two classes")
        self.classes = tuple(classes)

    @noted
    def model_options(self):
        return {"channels": 3, "outputs": 1, "width": self.settings.width}

    @noted
    def build_model(self, run):
        self.choose_task(run.data.task, run.data.dataset.classes)
        model = run.create_model(**self.model_options())
        self.freeze(run.model_entry, model)
        return model

    @noted
    def freeze(self, entry, model):
        model[0][0].bias.requires_grad_(False)
        return {"Frozen": "the bias of the first layer"}

    @noted
    def load_pretrained(self, run):
        run.note(self.settings.remark or "no remark")
        return ""

    @noted
    def build_optimizers(self, run):
        parameters = [p for p in run.model.parameters() if p.requires_grad]
        return {
            "main": torch.optim.SGD(parameters, lr=self.settings.lr, momentum=0.9, fused=run.device.fused)
        }

    @noted
    def build_schedulers(self, run):
        if not self.settings.decay:
            return {}
        updates = max(1, run.settings.epochs * run.updates_per_epoch)
        return {
            "main": torch.optim.lr_scheduler.LambdaLR(
                run.optimizers["main"], lambda step: 1 - 0.5 * step / updates
            )
        }

    @noted
    def build_transforms(self, run):
        evaluation = self.evaluation_transform(run.model_entry.spec)
        return Transforms(Brighter(evaluation), evaluation)

    @noted
    def build_sources(self, run):
        train = Counted(run.image_inputs(run.transforms.train))
        evaluation = Counted(run.image_inputs(run.transforms.evaluation))
        return Sources(train, evaluation, evaluation)

    @noted
    def cache_sources(self, run):
        return run.sources

    @noted
    def train_mode(self, run):
        run.model.train()

    @noted
    def train_step(self, run, batch):
        assert isinstance(batch, Batch)
        assert batch.stage == 0
        logits = run.model(batch.images).float().flatten()
        losses = F.binary_cross_entropy_with_logits(logits, batch.labels.float(), reduction="none")
        run.optimize(losses.mean())
        return {"loss": losses.mean().detach(), "logit": logits.detach(), "label": batch.labels}

    @noted
    def training_metrics(self, run, means, outputs):
        return {**means, "accuracy": float(((outputs["logit"] >= 0) == outputs["label"]).mean())}

    @noted
    def evaluate(self, run, loader):
        parts = []
        for batch in loader.iterate():
            logits = run.model(batch.images).float().flatten()
            parts.append({"index": batch.index, "label": batch.labels, "logit": logits})
        outputs = run.gather({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        logits, labels = outputs["logit"].astype(np.float64), outputs["label"]
        metrics = {"loss": float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())}
        metrics["accuracy"] = float(((logits >= 0) == labels).mean())
        return Evaluation(metrics=metrics, outputs=outputs, details={"images": len(labels)})

    @noted
    def epoch_images(self, run):
        return run.images[:4]

    @noted
    def calibrate(self, run, validation):
        return {**DecisionRule(self.classes).state(), "offset": float(validation.outputs["logit"].mean())}

    @noted
    def describe_evaluation(self, run, split, evaluation):
        def draw():
            from matplotlib.figure import Figure

            figure = Figure()
            figure.add_subplot().hist(evaluation.outputs["logit"])
            return figure

        metrics = binary_metrics(evaluation.outputs["logit"].astype(np.float64), evaluation.outputs["label"])
        assert metrics["accuracy"] == evaluation.metrics["accuracy"]
        return Evaluation(
            metrics=evaluation.metrics,
            figures=(NamedFigure(f"logits-{split}", "Logits.", draw),),
            outputs=evaluation.outputs,
            intervals={"accuracy": (0.0, 1.0)},
            tables=(NamedTable("Counts", ("", "images"), (("all", str(len(evaluation.outputs["index"]))),)),),
        )

    @noted
    def can_summarize(self, run):
        return True

    @noted
    def summarize(self, run, evaluations):
        return RunSummary(metrics={"parameters": 1.0}, notes=("A sentence.",))

    @noted
    def as_classifier(self):
        return self

    @noted
    def as_generator(self):
        return None

    # The protocol of classifiers.

    task = "binary"
    flip_tta = False

    def logits(self, outputs):
        return outputs.float().flatten()

    def evaluation_transform(self, spec):
        return EvaluationTransform(mean=spec.mean, std=spec.std)

    def decision_rule(self, state, classes=()):
        return DecisionRule.from_state(state, classes or self.classes)
