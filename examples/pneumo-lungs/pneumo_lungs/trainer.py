"""The trainer ``segmentation``: a mask of what the dataset has masks of (``Dataset.targets``)."""

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

from pneumo_cli import UsageError
from pneumo_cli.data import EvaluationTransform, ReportAugmentation, Transforms
from pneumo_cli.evaluation import Evaluation, NamedFigure, NamedTable
from pneumo_cli.runs import Monitor
from pneumo_cli.trainers import Trainer
from pneumo_lungs.figure import outlines

if TYPE_CHECKING:
    from pneumo_cli.api import ModelSpec
    from pneumo_cli.data import Batch, Loader
    from pneumo_cli.runs import Run
    from pneumo_lungs.settings import SegmentationSettings

_UNKNOWN = 255  # pixels of a mask that do not count
_RESAMPLES = 1000
_SHOWN = 8  # images in the figure, evenly spread over the order of their Dice coefficients


class SegmentationTrainer(Trainer):
    """Cross-entropy plus Dice loss; reports the Dice coefficient of each image."""

    settings: SegmentationSettings
    curves = ("dice", "loss")
    scheduler_interval = "update"

    @property
    def monitor(self) -> Monitor:
        """The largest mean Dice coefficient of the validation images."""
        return Monitor("dice", "max")

    def build_model(self, run: Run) -> nn.Module:
        """The registered network.

        Raises:
            UsageError: the dataset does not have the mask.
        """
        wanted, names = self.settings.target, ", ".join(run.data.masks) or "none"
        if wanted not in run.data.masks:
            raise UsageError(
                f"the dataset {run.data.dataset.name} has no mask {wanted} (--target); it has {names}"
            )
        return run.create_model()

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
        """Rotations and flips, which the masks follow, and changes of exposure for training."""
        gray: dict[str, Any] = {"channels": 1, "mean": [0.5], "std": [0.25]}
        augmentation = ReportAugmentation(seed=run.settings.seed, rotation=15, **gray)
        return Transforms(augmentation, self.evaluation_transform(run.model_entry.spec))

    def evaluation_transform(self, spec: ModelSpec) -> EvaluationTransform:
        """One channel from -2 to 2."""
        return EvaluationTransform(channels=1, mean=[0.5], std=[0.25])

    def as_predictor(self) -> SegmentationTrainer:
        """This trainer: ``pneumo predict`` prints the mask's area and writes the mask."""
        return self

    @property
    def units(self) -> Mapping[str, str]:
        """One mask."""
        return {self.settings.target: ""}

    def predictions(self, outputs: Tensor) -> dict[str, Tensor]:
        """The probability of each pixel, float32 [B, S, S]."""
        return {name: outputs[:, 0].float().sigmoid() for name in self.units}

    def training_loss(self, run: Run, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the known pixels, plus 1 - Dice of their probabilities."""
        mask = batch.targets[self.settings.target]
        known, truth = (mask != _UNKNOWN).float(), (mask == 1).float()
        logits = outputs[:, 0].float()
        entropy = F.binary_cross_entropy_with_logits(logits, truth, known, reduction="sum") / known.sum()
        return entropy + 1 - dice(logits.sigmoid() * known, truth * known).mean()

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """One update."""
        loss = run.loss(run.model(batch.images), batch)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Loss and Dice coefficient of each image."""
        rows = []
        for batch in loader.iterate():
            outputs = run.model(batch.images)
            mask = batch.targets[self.settings.target]
            known = mask != _UNKNOWN
            found = dice(((outputs[:, 0] >= 0) & known).float(), ((mask == 1) & known).float())
            loss = self.training_loss(run, outputs, batch)
            rows.append((batch.index, found, loss.expand(len(found))))
        columns = dict(zip(("index", "dice", "loss"), map(torch.cat, zip(*rows, strict=True)), strict=True))
        outputs = run.gather(columns)
        metrics = {name: float(outputs[name].mean()) for name in ("loss", "dice")}
        return Evaluation(metrics, outputs=outputs)

    def describe_evaluation(self, run: Run, split: str, evaluation: Evaluation) -> Evaluation:
        """Add a 95 % interval over patients, the worst image, and outlines of masks."""
        index, found = (evaluation.outputs[name] for name in ("index", "dice"))
        records = [run.data.dataset.records[int(position)] for position in index]
        low, high = interval(found, [record.patient for record in records], run.settings.seed)
        worst = int(found.argmin())
        lowest = (f"lowest ({records[worst].name})", f"{found[worst]:.3f}", "")
        rows = (("mean", f"{found.mean():.3f}", f"{low:.3f} to {high:.3f}"), lowest)
        table = NamedTable(
            "Dice coefficient", ("", "Dice", "95 % interval"), rows, "Bootstrap over patients."
        )
        chosen = np.argsort(found)[np.linspace(0, len(found) - 1, min(_SHOWN, len(found))).astype(int)]
        caption = (
            f"Masks of {split} images (yellow) and predictions (red), from the lowest Dice coefficient up."
        )
        draw = partial(self._outlines, run, index[chosen].astype(np.int64), found[chosen])
        return replace(
            evaluation,
            intervals={**evaluation.intervals, "dice": (low, high)},
            tables=(*evaluation.tables, table),
            figures=(*evaluation.figures, NamedFigure("outlines", caption, draw)),
        )

    def _outlines(self, run: Run, index: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> Any:
        inputs = run.image_inputs(run.transforms.evaluation)(index, 0)
        with torch.no_grad():
            predicted = run.model(inputs)[:, 0].cpu().numpy() >= 0
        images = run.data.gray_levels(index).numpy()
        return outlines(images, run.data.masks[self.settings.target][index] == 1, predicted, found)


def dice(first: Tensor, second: Tensor) -> Tensor:
    """The Dice coefficients [B] of masks [B, S, S] of values from 0 to 1; 1 if both are empty."""
    common, total = (first * second).sum((1, 2)), (first + second).sum((1, 2))
    return (2 * common + 1e-6) / (total + 1e-6)


def interval(values: np.ndarray[Any, Any], patients: Sequence[str], seed: int) -> tuple[float, float]:
    """The 95 % interval of a mean over images [N], from drawing patients with replacement."""
    _, owner = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)
