"""The trainer ``age``: regression of the number that a dataset gives (``Dataset.targets``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_age.figure import agreement
from pneumo_cli import UsageError
from pneumo_cli.data import EvaluationTransform, ReportAugmentation, Transforms
from pneumo_cli.evaluation import Evaluation, NamedFigure, NamedTable
from pneumo_cli.runs import Monitor
from pneumo_cli.trainers import Trainer

if TYPE_CHECKING:
    from pneumo_age.settings import AgeSettings
    from pneumo_cli.api import ModelSpec
    from pneumo_cli.data import Batch, Loader
    from pneumo_cli.runs import Run

_RESAMPLES = 1000


class AgeTrainer(Trainer):
    """Minimises the squared error, and reports the mean absolute error beside that of predicting the mean."""

    settings: AgeSettings
    curves = ("mae", "loss")
    scheduler_interval = "update"
    units: Mapping[str, str] = {"age": "years"}

    @property
    def monitor(self) -> Monitor:
        """The smallest mean absolute error on the validation images."""
        return Monitor("mae", "min")

    def model_options(self) -> dict[str, Any]:
        """Three channels, in which the gray image is repeated, and one output."""
        return {"channels": 3, "outputs": 1}

    def build_model(self, run: Run) -> nn.Module:
        """The registered classifier, with one output.

        Raises:
            UsageError: the dataset gives no age.
        """
        if "age" not in run.data.numbers:
            raise UsageError(
                f"the dataset {run.data.dataset.name} gives no number age: use --dataset phantom-age"
            )
        return run.create_model(**self.model_options())

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"main": torch.optim.AdamW(run.model.parameters(), lr=self.settings.lr, weight_decay=0.01)}

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """A linear warm-up over a tenth of all updates, and a cosine to zero."""
        steps = run.settings.epochs * run.updates_per_epoch

        def factor(step: int) -> float:
            return min((step + 1) / (steps / 10), (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)

        return {"main": torch.optim.lr_scheduler.LambdaLR(run.optimizers["main"], factor)}

    def build_transforms(self, run: Run) -> Transforms:
        """Small rotations, flips and changes of exposure for training."""
        spec = run.model_entry.spec
        augmentation = ReportAugmentation(
            seed=run.settings.seed, rotation=5, brightness=0.1, contrast=0.1, mean=spec.mean, std=spec.std
        )
        return Transforms(augmentation, self.evaluation_transform(spec))

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """The model's own normalisation."""
        return EvaluationTransform(mean=spec.mean, std=spec.std)

    def as_predictor(self) -> AgeTrainer:
        """This trainer: ``pneumo predict`` prints the age."""
        return self

    def predictions(self, outputs: Tensor) -> dict[str, Tensor]:
        """The age of each image in years, float32 [B]."""
        return {"age": self.settings.typical + outputs[:, 0].float()}

    def training_loss(self, run: Run, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean squared error of the images whose age is known, in square years."""
        age = batch.targets["age"]
        known = ~age.isnan()
        errors = F.mse_loss(self.predictions(outputs)["age"], torch.where(known, age, 0.0), reduction="none")
        return (errors * known).sum() / known.sum().clamp(min=1)

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """One update."""
        loss = run.loss(run.model(batch.images), batch)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Errors on the images of known age."""
        rows = []
        for batch in loader.iterate():
            predicted = self.predictions(run.model(batch.images))["age"]
            rows.append((batch.index, batch.targets["age"], predicted))
        columns = dict(
            zip(("index", "age", "predicted"), map(torch.cat, zip(*rows, strict=True)), strict=True)
        )
        outputs = run.gather(columns)
        errors = outputs["predicted"] - outputs["age"]
        metrics = {"loss": float(np.nanmean(errors**2)), "mae": float(np.nanmean(abs(errors)))}
        return Evaluation(metrics, outputs=outputs)

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add the error of predicting the mean of the training images, and 95 % intervals over patients."""
        index, age, predicted = (evaluation.outputs[name] for name in ("index", "age", "predicted"))
        known = np.isfinite(age.astype(float))
        mean = float(np.nanmean(run.data.numbers["age"][run.data.split.train]))
        errors = {"mae": abs(predicted - age)[known], "mae_of_mean": abs(mean - age)[known]}
        errors["mae_gain"] = errors["mae_of_mean"] - errors["mae"]
        patients = [run.data.dataset.records[int(position)].patient for position in index[known]]
        intervals = {name: interval(values, patients, run.settings.seed) for name, values in errors.items()}
        metrics = {name: float(values.mean()) for name, values in errors.items()}
        titles = ("this model", "predicting the mean of training", "difference")
        rows = tuple(
            (title, f"{metrics[name]:.2f}", f"{low:.2f} to {high:.2f}")
            for title, (name, (low, high)) in zip(titles, intervals.items(), strict=True)
        )
        note = f"Bootstrap over {len(set(patients))} patients."
        table = NamedTable("Mean absolute error in years", ("", "MAE", "95 % interval"), rows, note)
        caption = f"Predicted and stated age in the {split} images; the line is where they are equal."
        figure = NamedFigure("agreement", caption, partial(agreement, age, predicted))
        return replace(
            evaluation,
            metrics={**evaluation.metrics, **metrics},
            intervals={**evaluation.intervals, **intervals},
            tables=(*evaluation.tables, table),
            figures=(*evaluation.figures, figure),
        )


def interval(values: np.ndarray[Any, Any], patients: Sequence[str], seed: int) -> tuple[float, float]:
    """The 95 % interval of a mean over images [N], from drawing patients with replacement."""
    _, owner = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)
