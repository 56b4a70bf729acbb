"""The trainer ``gan``: a generator and a discriminator, trained in turn (SOURCE 7).

The three task hooks:

- ``build_model`` is inherited from ``pneumo_cli.trainers.GenerativeTrainer``: the registered model that ``--model``
  names, by default :func:`pneumo_gan.model.build_gan`, built with :meth:`GanTrainer.model_options`;
- :meth:`GanTrainer.train_step`: one update of each network, through ``run.optimize(loss, NAME)``;
- :meth:`GanTrainer.evaluate`: the losses on one split, and the KID where it selects the checkpoint.

``noise`` and ``from_noise`` are what sampling needs, for the report and for ``pneumo generate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli import UsageError
from pneumo_cli.evaluation import Evaluation, NamedFigure, RunSummary
from pneumo_cli.runs import Monitor
from pneumo_cli.runtime import derive
from pneumo_cli.trainers import Adam, GenerativeTrainer
from pneumo_gan.augmentation import discriminator_augmentation

if TYPE_CHECKING:
    from pneumo_cli.api import ModelSpec
    from pneumo_cli.data import Batch, Loader
    from pneumo_cli.runs import Run
    from pneumo_cli.trainers import Entry
    from pneumo_gan.settings import GanSettings

_REPORT_UPDATES = 7_800  # of each network: 200 epochs of 39 batches (SOURCE 7)
_GRID = 16  # samples saved after each epoch, 4 x 4 as in the report
_KID_IMAGES = 400  # maximum for the KID of an epoch: a few seconds on two cores


class GanTrainer(GenerativeTrainer):
    """Task 4 of the report; trains any registered model of kind ``gan``."""

    curves = ("generator_loss", "discriminator_loss", "real_score", "fake_score", "kid")
    settings: GanSettings
    black_level = -1.0

    def __init__(self, settings: GanSettings) -> None:
        super().__init__(settings)
        self._real_features: dict[int, Tensor] = {}

    @property
    def monitor(self) -> Monitor:
        """KID to validation images, the generator's mean training loss, or none: the last epoch is kept."""
        if self.settings.keep == "kid":
            return Monitor("kid", "min")
        return Monitor("generator_loss" if self.settings.keep == "generator_loss" else "", "min", "train")

    def check_request(self, entry: Entry[ModelSpec]) -> None:
        """Check that the model can be built for the image size, and that there are validation images to select by.

        Raises:
            UsageError: it cannot, or there are none.
        """
        super().check_request(entry)
        if self.settings.keep == "kid" and self.settings.split == "all":
            raise UsageError(
                "keep = 'kid' selects by validation images, and split = 'all' holds none out: use patient"
            )

    def model_options(self) -> dict[str, Any]:
        """What the model's factory is called with: image size, noise dimension, width."""
        return {**super().model_options(), "z_dim": self.settings.z_dim, "width": self.settings.width}

    def freeze(self, entry: Entry[ModelSpec], model: nn.Module) -> dict[str, str]:
        """Freeze nothing; return the number of parameters of each network."""
        gan: Any = model
        return {
            f"{name.capitalize()} alone": f"{sum(p.numel() for p in getattr(gan, name).parameters()):,} parameters"
            for name in ("generator", "discriminator")
        }

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """One Adam optimizer for each network."""
        s = self.settings
        rates = {"generator": s.lr, "discriminator": s.lr * s.lr_ratio}
        return {
            name: Adam(
                getattr(run.model, name).parameters(),
                lr=rate,
                betas=(s.beta1, s.beta2),
                fused=run.device.fused,
            )
            for name, rate in rates.items()
        }

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator, then the generator on fresh noise."""
        model: Any = run.model
        s = self.settings
        real, count = batch.images, len(batch.images)
        with torch.no_grad():
            fake = model.generator(self._noise(run, count))
        # Lazy regularization (Karras et al. 2020, arXiv 1912.04958): it costs as much as the rest of the step.
        weight = s.r1 * s.r1_every if run.step % s.r1_every == 0 else 0.0
        if weight:
            real = real.requires_grad_()
        real_logits = model.discriminator(discriminator_augmentation(real, s.translate, s.brighten))
        fake_logits = model.discriminator(discriminator_augmentation(fake, s.translate, s.brighten))
        loss = adversarial_loss(real_logits, 1.0) + adversarial_loss(fake_logits, 0.0)
        run.optimize(loss + weight / 2 * r1_penalty(real_logits, real) if weight else loss, "discriminator")
        images = model.generator(self._noise(run, count))
        generator_loss = adversarial_loss(
            model.discriminator(discriminator_augmentation(images, s.translate, s.brighten)), 1.0
        )
        run.optimize(generator_loss, "generator")
        return {
            "loss": (loss + generator_loss).detach(),
            "generator_loss": generator_loss.detach(),
            "discriminator_loss": loss.detach(),
            "real_score": real_logits.detach().float().sigmoid().mean(),
            "fake_score": fake_logits.detach().float().sigmoid().mean(),
        }

    def training_metrics(
        self, run: Run, means: Mapping[str, float], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, float]:
        """Both losses and the mean scores; the sum of the losses is left out."""
        return {name: value for name, value in means.items() if name != "loss"}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """The losses on a split's images and as many generated ones; the KID where it selects the checkpoint."""
        model: Any = run.model
        index, logits, fake = [], [], []
        for batch in loader:
            index.append(batch.index)
            logits.append(model.discriminator(batch.images).float())
            fake.append(model.discriminator(model.generator(self._noise(run, len(batch.index)))).float())
        outputs = run.gather(
            {"index": torch.cat(index), "real_logits": torch.cat(logits), "fake_logits": torch.cat(fake)}
        )
        real_logits, fake_logits = (
            torch.from_numpy(outputs.pop(name)) for name in ("real_logits", "fake_logits")
        )
        metrics = {
            "generator_loss": float(adversarial_loss(fake_logits, 1.0)),
            "discriminator_loss": float(
                adversarial_loss(real_logits, 1.0) + adversarial_loss(fake_logits, 0.0)
            ),
            "real_score": float(real_logits.sigmoid().mean()),
            "fake_score": float(fake_logits.sigmoid().mean()),
        }
        if self.settings.keep == "kid":
            metrics["kid"] = self._kid(run, outputs["index"])
        outputs["real_score"] = real_logits.sigmoid().numpy()
        return Evaluation(metrics, (), outputs)

    def epoch_images(self, run: Run) -> Tensor:
        """Samples from the same noise in every epoch."""
        return self.sample(run.model, derive(run.settings.seed, "fixed"), np.arange(_GRID))

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Curves of losses and scores, what the report would select, and the fidelity of the images."""
        # keep = 'kid' compares images in every epoch, also where none are wanted for the report.
        fidelity = super().summarize(run, evaluations) if self.settings.fidelity_images else None
        if fidelity is None:
            fidelity = RunSummary(figures=(self.compared_images(run),))
        return fidelity + RunSummary(figures=_curves(run), notes=self._beside_the_report(run))

    def _beside_the_report(self, run: Run) -> tuple[str, ...]:
        """Where this run and the report differ."""
        notes = []
        history = run.history[1:]
        row = min(history, key=lambda row: row["train"]["generator_loss"], default=None)
        if row is not None and row["epoch"] != run.best.epoch:
            notes.append(
                f"The source report would name epoch {row['epoch']}, of the smallest generator loss "
                f"({row['train']['generator_loss']:.3f}): that shows a weak discriminator, not good images."
            )
        if run.model_entry.spec.name == "gan":
            notes.append(
                "The discriminator's dropout follows the source report's text; its code as printed drops nothing."
            )
        return tuple(notes)

    def remedy(self, run: Run) -> tuple[str, int]:
        """More updates, up to those of the source report; then another recipe."""
        updates = self.settings.epochs * run.updates_per_epoch
        needed = -(-_REPORT_UPDATES // run.updates_per_epoch)
        if updates < _REPORT_UPDATES:
            return (
                f"Each network had {updates:,} updates, and {_REPORT_UPDATES:,} in the source report: resume the "
                f"run with --epochs {needed}.",
                needed,
            )
        twice = 2 * self.settings.epochs
        longer = f"resume the run with --epochs {twice}"
        if run.resolved.preset.name == "strong":
            return f"More epochs or another seed may help: {longer}.", twice
        return f"The preset strong trains a generator that covers more; else {longer}.", twice

    def compares(self, run: Run) -> bool:
        """At the end, and in every epoch where the KID selects the checkpoint."""
        return super().compares(run) or self.settings.keep == "kid"

    def can_sample(self, model: nn.Module) -> bool:
        """Always."""
        return True

    def noise(self, model: nn.Module, generators: list[torch.Generator]) -> Tensor:
        """Standard normal noise [B, z_dim]."""
        z_dim: Any = model.z_dim
        return torch.stack([torch.randn(z_dim, generator=generator) for generator in generators])

    def from_noise(self, model: nn.Module, noise: Tensor) -> Tensor:
        """The generator's images."""
        gan: Any = model
        images: Tensor = gan.generator(noise)
        return images

    def _noise(self, run: Run, count: int) -> Tensor:
        """Standard normal noise [count, z_dim] from the global generator."""
        model: Any = run.model
        return torch.randn(count, model.z_dim, device=run.device.torch)

    def _kid(self, run: Run, index: NDArray[np.generic]) -> float:
        """KID of samples to the real images of a split, whose features are computed once."""
        from pneumo_cli.evaluation import kid

        positions = np.asarray(index, np.int64)[:_KID_IMAGES]
        extractor = self.extractor(run)
        key = int(positions[0])
        if key not in self._real_features:
            self._real_features[key] = extractor(run.data.gray_levels(positions))
        real = self._real_features[key]
        images = self.sample(run.model, derive(run.settings.seed, "kid"), np.arange(len(real)))
        return float(kid(real, extractor(images), seed=run.settings.seed).mean)


def _curves(run: Run) -> tuple[NamedFigure, ...]:
    """Both losses in one axes, as in the report's figure 49, and both scores."""
    from pneumo_cli.reports import lines

    history, best = list(run.history[1:]), run.best.epoch
    shown = {
        "losses": ("Mean loss of generator and discriminator by epoch.", "Loss", "loss"),
        "scores": (
            "Mean score that the discriminator gives images by epoch; guessing gives 0.5.",
            "Score",
            "score",
        ),
    }
    names = {
        "losses": {"generator_loss": "Generator", "discriminator_loss": "Discriminator"},
        "scores": {"real_score": "Real images", "fake_score": "Generated images"},
    }
    figures = []
    for name, (caption, label, what) in shown.items():
        last = (
            ", ".join(
                f"{title.lower()} {history[-1]['train'][metric]:.3f}" for metric, title in names[name].items()
            )
            if history
            else "no epoch"
        )
        figures.append(
            NamedFigure(
                name,
                caption,
                partial(lines, history, names[name], best=best, label=label),
                "training",
                f"The {what} by epoch; in the last one: {last}.",
                tuple(names[name]),
            )
        )
    return tuple(figures)


def adversarial_loss(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy with one target for all images, real (1) or generated (0).

    The report's BCELoss after a sigmoid, but numerically stable.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits.float(), target))


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Mean squared norm of the gradient at real images (R1, Mescheder et al. 2018, arXiv 1801.04406)."""
    (gradient,) = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()
