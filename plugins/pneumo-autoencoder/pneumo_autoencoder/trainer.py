"""The trainer ``autoencoder``: images through a bottleneck and back (SOURCE 8)."""

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
from pneumo_cli.trainers import GenerativeTrainer

if TYPE_CHECKING:
    from pneumo_autoencoder.settings import AutoencoderSettings
    from pneumo_cli.data import Batch, Loader
    from pneumo_cli.runs import Run

_LINEAR_RATE = 0.02  # of linear paths, as a share of the learning rate
_SHOWN = 8  # images that are kept of each epoch, each beside its reconstruction
_COLUMNS = 4  # of the grid that they are kept in
_ROUNDING = 1 / 12 / 255**2  # variance of an error that is nothing but the rounding to whole grey levels


class AutoencoderTrainer(GenerativeTrainer):
    """Task 5 of the report: any registered model of kind ``autoencoder``.

    What is made small is the mean squared error over pixels and channels, as in the report. For a variational model
    it is the negative bound on the log-likelihood, per pixel, of a normal distribution about the reconstruction,
    with the variance that fits best (sigma-VAE, Rybkin et al. 2021, arXiv 2006.13202): error and divergence are
    then balanced without a weight that would have to be searched for.
    """

    curves = ("loss", "mse", "psnr", "ssim", "divergence")
    settings: AutoencoderSettings

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__(settings)
        self.channels = settings.channels

    def model_options(self) -> dict[str, Any]:
        """The size of the images and of the latent."""
        return {**super().model_options(), "latent": self.settings.latent, "width": self.settings.width}

    def load_pretrained(self, run: Run) -> str:
        """Nothing from elsewhere; but linear paths begin as the training images' principal components."""
        from pneumo_autoencoder.reconstruction import Components

        model: Any = run.model
        if not hasattr(model, "begin_with_components"):
            return ""
        training = run.data.gray_levels(run.data.split.train)
        found = Components(training, model.latent_values, run.settings.seed)
        model.begin_with_components(found.mean, found.axes, found.variances, max(found.rest, _ROUNDING))
        name = run.model_entry.spec.name
        return f"{name} begins as {found.count} principal components of {found.fitted:,} training images"

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Adam, with Keras' defaults; slower for the linear paths of a model that has them."""
        model: Any = run.model
        rate = self.settings.lr
        linear = model.linear_parameters() if hasattr(model, "linear_parameters") else []
        apart = {id(parameter) for parameter in linear}
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in apart]}]
        if linear:
            groups.append({"params": linear, "lr": rate * _LINEAR_RATE})
        return {"main": torch.optim.Adam(groups, lr=rate, eps=1e-7, fused=run.device.fused)}

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """One update of encoder and decoder."""
        s = self.settings
        originals = augment(batch.images, s.shift, s.zoom, s.brightness)
        images, metrics = self._made(run.model, originals)
        run.optimize(metrics["loss"])
        if self.channels > 1:
            metrics["keras_accuracy"] = _keras_accuracy(images, originals).mean()
        return {name: value.detach() for name, value in metrics.items()}

    def _made(self, model: nn.Module, originals: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's images in training, and the mean loss, error and divergence of the batch."""
        module: Any = model
        if not self.can_sample(model):
            images = module(originals)
            error = (images.float() - originals).square().mean()
            return images, {"loss": error, "mse": error}
        images, divergence = module.training_forward(originals)
        error = (images.float() - originals).square().mean()
        mean = divergence.float().mean()
        return images, {
            "loss": self._bound(error, mean, originals[0].numel()),
            "mse": error,
            "divergence": mean,
        }

    def _bound(self, error: Tensor, divergence: Tensor, values: int) -> Tensor:
        """Half the logarithm of the error, and the divergence per value of an image."""
        return (error + _ROUNDING).log() / 2 + self.settings.beta * divergence / values

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Error, PSNR and SSIM of the reconstructions; of a variational model those of the latent's mean."""
        from pneumo_autoencoder.reconstruction import picture_quality

        model: Any = run.model
        variational = self.can_sample(model)
        found: dict[str, list[Tensor]] = {}
        for batch in loader:
            images = model(batch.images)
            values = {"index": batch.index, "mse": _errors(images, batch.images)}
            _, values["psnr"], values["ssim"] = picture_quality(images, batch.images)
            if self.channels > 1:
                values["keras_accuracy"] = _keras_accuracy(images, batch.images)
            if variational:
                drawn, values["divergence"] = model.training_forward(batch.images)
                values["drawn"] = _errors(drawn, batch.images)
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        outputs = run.gather({name: torch.cat(parts) for name, parts in found.items()})
        metrics = {
            name: float(value.mean(dtype=np.float64)) for name, value in outputs.items() if name != "index"
        }
        metrics["loss"] = metrics["mse"]
        if variational:
            drawn, divergence = (torch.tensor(metrics[name]) for name in ("drawn", "divergence"))
            del metrics["drawn"]
            metrics["loss"] = float(self._bound(drawn, divergence, math.prod(model.input_shape)))
        return Evaluation(metrics, (), {name: outputs[name] for name in ("index", "mse")})

    def epoch_images(self, run: Run) -> Tensor:
        """Always the same images, a row of them above a row of what the model makes of them."""
        split = run.data.split
        pool = split.validation if len(split.validation) else split.train
        originals = run.data.gray_levels(spread(pool, _SHOWN))
        made = self._restored(run, originals)
        rows = zip(originals.split(_COLUMNS), made.split(_COLUMNS), strict=True)
        return torch.cat([row for pair in rows for row in pair])

    def summarize(self, run: Run, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
        """Reconstructions beside those of simple methods and of other classes; new images, where it draws any."""
        from pneumo_autoencoder.reconstruction import Reconstruction, evaluate_reconstruction

        module: Any = run.model
        data = run.data
        parts = self.evaluation_parts(run)
        if not parts:
            return None
        others = data.others.parts()
        task = Reconstruction(
            reconstruct=lambda grey: self._grey(module, grey),
            latent_values=module.latent_values,
            image_values=math.prod(module.input_shape),
            training=run.data.gray_levels(data.split.train),
            parts={name: run.data.gray_levels(part) for name, part in parts.items()},
            others={name: run.data.gray_levels(others[name]) for name in parts},
            wanted=self.only_class,
            unseen=" or ".join(name for name in data.dataset.classes if name != self.only_class),
            device=run.device.torch,
            seed=run.settings.seed,
        )
        judgement = evaluate_reconstruction(task, run.progress)
        last = task.parts[next(reversed(parts))]
        figures = summary_figures(self, run, last)
        dead = self._dead_channels(run, last)
        return (
            judgement
            + RunSummary(figures=figures, notes=dead)
            + (super().summarize(run, evaluations) or RunSummary())
        )

    def can_sample(self, model: nn.Module) -> bool:
        """Where the model is variational."""
        return bool(getattr(model, "variational", False))

    def noise(self, model: nn.Module, generators: list[torch.Generator]) -> Tensor:
        """Standard normal numbers in the shape of the latent, [B, ...]."""
        shape: Any = model.latent_shape
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    def from_noise(self, model: nn.Module, noise: Tensor) -> Tensor:
        """What the decoder makes of it."""
        module: Any = model
        images: Tensor = module.decode(noise)
        return images

    def reconstruct(self, model: nn.Module, images: Tensor) -> Tensor:
        """Images through the bottleneck and back; of a variational model through the latent's mean."""
        made: Tensor = model(images)
        return made

    def interpolate(self, model: nn.Module, first: Tensor, last: Tensor, steps: int) -> Tensor:
        """A straight line from latent to latent, ends included; where the latent is a map, much like a fade."""
        module: Any = model
        start, end = (module.encode(image).float() for image in (first, last))
        share = torch.linspace(0, 1, steps, device=start.device).view(-1, *(1,) * (start.ndim - 1))
        images: Tensor = module.decode(torch.lerp(start, end, share))
        return images

    def _dead_channels(self, run: Run, levels: Tensor) -> tuple[str, ...]:
        """Say so where a channel is always black: nothing comes through its last ReLU, not even a gradient."""
        shown = levels[spread(np.arange(len(levels)), _SHOWN)]
        made = self.reconstruct(run.model, self.from_gray_levels(shown.to(run.device.torch)))
        dead = int((made.amax((0, 2, 3)) <= 0).sum())
        if not dead:
            return ()
        return (
            f"{dead} of {self.channels} channels of the model are black in every image: another --seed may help.",
        )

    def _restored(self, run: Run, levels: Tensor) -> Tensor:
        """What the run's model makes of grey levels, uint8 [N, S, S] both."""
        return self.to_gray_levels(
            self.reconstruct(run.model, self.from_gray_levels(levels.to(run.device.torch)))
        )

    def _grey(self, model: nn.Module, pictures: Tensor) -> Tensor:
        """What a model makes of pictures [B, 1, S, S], with its channels averaged."""
        made = self.reconstruct(model, pictures.expand(-1, self.channels, -1, -1))
        return made.float().mean(1, keepdim=True)


def spread(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``count`` of the positions, evenly spread over them; some twice where there are not as many."""
    return positions[np.linspace(0, len(positions) - 1, count).astype(np.int64)]


def _errors(images: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error of each image, over its pixels and channels, float32 [B]."""
    return (images.float() - originals).square().mean((1, 2, 3))


def _keras_accuracy(images: Tensor, originals: Tensor) -> Tensor:
    """What Keras calls the accuracy of images: the share of pixels whose largest channel is the same one, [B].

    The channels of a grey image are equal, and the first counts as the largest; so this is how often the red
    channel of the model's image is: it says nothing about the image. The report prints it (SOURCE 8).
    """
    return (images.detach().argmax(1) == originals.argmax(1)).float().mean((1, 2))
