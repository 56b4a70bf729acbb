"""The trainer ``autoencoder``: images through a bottleneck and back (SOURCE 8).

The three task hooks:

- ``build_model`` is inherited from ``pneumo_cli.trainers.GenerativeTrainer``: the registered model that ``--model``
  names, by default :func:`pneumo_autoencoder.model.build_autoencoder`, built with
  :meth:`AutoencoderTrainer.model_options`;
- :meth:`AutoencoderTrainer.train_step`: one update on the reconstruction error, for a variational model on the
  negative evidence lower bound;
- :meth:`AutoencoderTrainer.evaluate`: error, PSNR and SSIM of the reconstructions of one split.

``reconstruct``, ``interpolate``, ``noise`` and ``from_noise`` are what the report and ``pneumo generate`` need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_autoencoder.augmentation import augment
from pneumo_autoencoder.figures import summary_figures
from pneumo_cli.evaluation import Evaluation, RunSummary
from pneumo_cli.trainers import Adam, GenerativeTrainer

if TYPE_CHECKING:
    from pneumo_autoencoder.settings import AutoencoderSettings
    from pneumo_cli.data import Batch, Loader
    from pneumo_cli.runs import Run

_LINEAR_RATE = 0.02  # learning rate of linear paths, relative to that of the others
_SHOWN = 8  # images saved after each epoch, each with its reconstruction
_COLUMNS = 4  # of the grid that they are saved in
_ROUNDING = 1 / 12 / 255**2  # variance of the rounding error of 8-bit gray levels


class AutoencoderTrainer(GenerativeTrainer):
    """Task 5 of the report; trains any registered model of kind ``autoencoder``.

    The loss is the mean squared error over pixels and channels, as in the report. For a variational model it is the
    negative evidence lower bound per pixel of a Gaussian likelihood with the optimal variance (sigma-VAE, Rybkin et
    al. 2021, arXiv 2006.13202), which balances error and KL divergence without a weight to tune.
    """

    curves = ("loss", "mse", "psnr", "ssim", "divergence")
    settings: AutoencoderSettings

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__(settings)
        self.channels = settings.channels

    def model_options(self) -> dict[str, Any]:
        """What the model's factory is called with: image size, channels, latent dimension, width."""
        return {**super().model_options(), "latent": self.settings.latent, "width": self.settings.width}

    def load_pretrained(self, run: Run) -> str:
        """Initialise linear paths with the principal components of the training images; nothing is loaded."""
        from pneumo_autoencoder.reconstruction import Components

        model: Any = run.model
        if not hasattr(model, "begin_with_components"):
            return ""
        training = run.data.gray_levels(run.data.split.train)
        pca = Components(training, model.latent_values, run.settings.seed)
        model.begin_with_components(pca.mean, pca.axes, pca.variances, max(pca.rest, _ROUNDING))
        name = run.model_entry.spec.name
        return (
            f"{name} is initialised with {pca.count} principal components of {pca.fitted:,} training images"
        )

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Adam with Keras' defaults; linear paths, if the model has any, get a smaller learning rate."""
        model: Any = run.model
        rate = self.settings.lr
        linear = model.linear_parameters() if hasattr(model, "linear_parameters") else []
        ids = {id(parameter) for parameter in linear}
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in ids]}]
        if linear:
            groups.append({"params": linear, "lr": rate * _LINEAR_RATE})
        return {"main": Adam(groups, lr=rate, eps=1e-7, fused=run.device.fused)}

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """One update of encoder and decoder."""
        s = self.settings
        originals = augment(batch.images, s.shift, s.zoom, s.brightness)
        images, metrics = self._forward(run.model, originals)
        run.optimize(metrics["loss"])
        if self.channels > 1:
            metrics["keras_accuracy"] = _keras_accuracy(images, originals).mean()
        return {name: value.detach() for name, value in metrics.items()}

    def _forward(self, model: nn.Module, originals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions in training mode, and the mean loss, error and KL divergence of the batch."""
        module: Any = model
        if not self.can_sample(model):
            images = module(originals)
            error = (images.float() - originals).square().mean()
            return images, {"loss": error, "mse": error}
        images, divergence = module.training_forward(originals)
        error = (images.float() - originals).square().mean()
        kl = divergence.float().mean()
        loss = self._negative_elbo(error, kl, originals[0].numel())
        return images, {"loss": loss, "mse": error, "divergence": kl}

    def _negative_elbo(self, error: Tensor, divergence: Tensor, values: int) -> Tensor:
        """Per value of an image, up to a constant; ``divergence`` is that of a whole image."""
        return (error + _ROUNDING).log() / 2 + self.settings.beta * divergence / values

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Error, PSNR and SSIM of the reconstructions; a variational model reconstructs from the posterior mean."""
        from pneumo_autoencoder.reconstruction import image_quality

        model: Any = run.model
        variational = self.can_sample(model)
        batches: dict[str, list[Tensor]] = {}
        for batch in loader:
            images = model(batch.images)
            values = {"index": batch.index, "mse": _mse(images, batch.images)}
            _, values["psnr"], values["ssim"] = image_quality(images, batch.images)
            if self.channels > 1:
                values["keras_accuracy"] = _keras_accuracy(images, batch.images)
            if variational:
                sampled, values["divergence"] = model.training_forward(batch.images)
                values["sampled"] = _mse(sampled, batch.images)
            for name, value in values.items():
                batches.setdefault(name, []).append(value)
        outputs = run.gather({name: torch.cat(tensors) for name, tensors in batches.items()})
        metrics = {
            name: float(value.mean(dtype=np.float64)) for name, value in outputs.items() if name != "index"
        }
        metrics["loss"] = metrics["mse"]
        if variational:
            sampled, divergence = (torch.tensor(metrics[name]) for name in ("sampled", "divergence"))
            del metrics["sampled"]
            metrics["loss"] = float(self._negative_elbo(sampled, divergence, math.prod(model.input_shape)))
        return Evaluation(metrics, (), {name: outputs[name] for name in ("index", "mse")})

    def epoch_images(self, run: Run) -> Tensor:
        """Rows of the same images in every epoch, each above the row of their reconstructions."""
        split = run.data.split
        pool = split.validation if len(split.validation) else split.train
        originals = run.data.gray_levels(evenly_spaced(pool, _SHOWN))
        reconstructions = self.to_gray_levels(self._reconstruct_gray_levels(run, originals))
        rows = zip(originals.split(_COLUMNS), reconstructions.split(_COLUMNS), strict=True)
        return torch.cat([row for pair in rows for row in pair])

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Reconstructions compared with baselines and with other classes; fidelity of samples, if there are any."""
        from pneumo_autoencoder.reconstruction import Reconstruction, evaluate_reconstruction

        module: Any = run.model
        data = run.data
        splits = self.evaluation_parts(run)
        if not splits:
            return None
        others = data.others.parts()
        task = Reconstruction(
            reconstruct=lambda gray: self._reconstruct_gray(module, gray),
            latent_values=module.latent_values,
            image_values=math.prod(module.input_shape),
            training=data.gray_levels(data.split.train),
            splits={split: data.gray_levels(positions) for split, positions in splits.items()},
            others={split: data.gray_levels(others[split]) for split in splits},
            only_class=self.only_class,
            other_classes=" or ".join(name for name in data.dataset.classes if name != self.only_class),
            device=run.device.torch,
            seed=run.settings.seed,
        )
        split, images = list(task.splits.items())[-1]
        own = evaluate_reconstruction(task, run.progress)
        own += RunSummary(
            figures=summary_figures(self, run, images, split, own.verdict),
            notes=self._dead_channels(run, images),
        )
        return own + (super().summarize(run, evaluations) or RunSummary())

    def can_sample(self, model: nn.Module) -> bool:
        """Whether the model is variational."""
        return bool(getattr(model, "variational", False))

    def noise(self, model: nn.Module, generators: list[torch.Generator]) -> Tensor:
        """Standard normal latents [B, ...]."""
        shape: Any = model.latent_shape
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    def from_noise(self, model: nn.Module, noise: Tensor) -> Tensor:
        """The decoder's images."""
        module: Any = model
        images: Tensor = module.decode(noise)
        return images

    def reconstruct(self, model: nn.Module, images: Tensor) -> Tensor:
        """The model's reconstructions; a variational model reconstructs from the posterior mean."""
        reconstructions: Tensor = model(images)
        return reconstructions

    def interpolate(self, model: nn.Module, first: Tensor, last: Tensor, steps: int) -> Tensor:
        """Linear interpolation of the latents, ends included; much like a cross-fade if the latent is a map."""
        module: Any = model
        start, end = (module.encode(image).float() for image in (first, last))
        share = torch.linspace(0, 1, steps, device=start.device).view(-1, *(1,) * (start.ndim - 1))
        images: Tensor = module.decode(torch.lerp(start, end, share))
        return images

    def _dead_channels(self, run: Run, levels: Tensor) -> tuple[str, ...]:
        """A note on channels that are black in every image: their last ReLU passes no gradient any more."""
        shown = levels[evenly_spaced(np.arange(len(levels)), _SHOWN)]
        dead = int((self._reconstruct_gray_levels(run, shown).amax((0, 2, 3)) <= 0).sum())
        if not dead:
            return ()
        return (
            f"{dead} of {self.channels} channels of the model are dead, black in every image: try another --seed.",
        )

    def _reconstruct_gray_levels(self, run: Run, levels: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S] of gray levels, uint8 [N, S, S]."""
        return self.reconstruct(run.model, self.from_gray_levels(levels.to(run.device.torch)))

    def _reconstruct_gray(self, model: nn.Module, images: Tensor) -> Tensor:
        """Reconstructions of gray images, [B, 1, S, S] both: the model's channels averaged."""
        reconstructions = self.reconstruct(model, images.expand(-1, self.channels, -1, -1))
        return reconstructions.float().mean(1, keepdim=True)


def evenly_spaced(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``count`` of the positions, evenly spaced; some repeated if there are fewer."""
    return positions[np.linspace(0, len(positions) - 1, count).astype(np.int64)]


def _mse(images: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error of each image, over its pixels and channels, float32 [B]."""
    return (images.float() - originals).square().mean((1, 2, 3))


def _keras_accuracy(images: Tensor, originals: Tensor) -> Tensor:
    """Keras' categorical accuracy of images: the share of pixels whose largest channel stays the same, [B].

    Of gray images it says nothing: their channels are equal and the first counts as the largest, so it is how often
    the first channel of the reconstruction is. The report's model is compiled with it; the report prints no value
    (SOURCE 8).
    """
    return (images.detach().argmax(1) == originals.argmax(1)).float().mean((1, 2))
