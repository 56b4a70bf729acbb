"""The trainer ``diffusion``: a network learns to remove noise, and then makes images of nothing but noise.

After Ho et al. 2020 (arXiv 2006.11239): an image is mixed with noise, more at each of T steps; the network sees the
mixture and predicts what to remove. It predicts the *velocity* (Salimans and Ho 2022, arXiv 2202.00512), which is
well-behaved at both ends. Sampling takes few, deterministic steps (DDIM, Song et al. 2021, arXiv 2010.02502), so an
image depends on its noise alone. Conditional on the class, with classifier-free guidance (Ho and Salimans 2022,
arXiv 2207.12598), if all classes are learnt (``--images-of ""``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pneumo_cli.evaluation import Evaluation
from pneumo_cli.runs import Monitor
from pneumo_cli.runtime import derive
from pneumo_cli.trainers import GenerativeTrainer
from pneumo_diffusion.schedule import Schedule

if TYPE_CHECKING:
    from pneumo_cli.data import Batch, Loader, Task
    from pneumo_cli.runs import Run
    from pneumo_diffusion.settings import DiffusionSettings

_SHOWN = 16  # samples in a picture of an epoch
_FRAMES = 20  # pictures of a run


class DiffusionTrainer(GenerativeTrainer):
    """Trains any registered model of kind ``diffusion``."""

    curves = ("loss",)
    scheduler_interval = "update"
    settings: DiffusionSettings
    black_level = -1.0
    class_conditional = True

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__(settings)
        self.schedule = Schedule(settings.schedule, settings.diffusion_steps)

    @property
    def monitor(self) -> Monitor:
        """The lowest validation loss, which rises when images are memorised; without validation the last epoch."""
        return Monitor("", "min", "train") if self.settings.split == "all" else Monitor("loss", "min")

    def choose_task(self, task: Task, classes: Sequence[str]) -> None:
        """Remember the classes; an image with several labels has no class to be conditional on."""
        super().choose_task(task, classes)
        self.class_conditional = task != "multilabel"

    def model_options(self) -> dict[str, Any]:
        """What the model's factory is called with: channels, size, number of classes, width."""
        classes = len(self.conditional_on)
        return {**super().model_options(), "classes": classes, "width": self.settings.width}

    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Adam."""
        parameters = run.model.parameters()
        return {"main": torch.optim.Adam(parameters, lr=self.settings.lr, fused=run.device.fused)}

    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """A linear warm-up, in updates, and then a constant rate: the average of the weights does the rest."""
        updates = self.settings.warmup
        rise = torch.optim.lr_scheduler.LambdaLR(
            run.optimizers["main"], lambda update: min(1.0, (update + 1) / (updates + 1))
        )
        return {"main": rise}

    def train_step(self, run: Run, batch: Batch) -> dict[str, Tensor]:
        """One update, on a random step of the diffusion for each image."""
        count, device = len(batch.index), run.device.torch
        step = torch.randint(self.settings.diffusion_steps, (count,))
        noise = torch.randn(batch.images.shape, device=device)
        label = batch.labels
        if self.conditional_on:
            dropped = torch.rand(count, device=device) < self.settings.label_dropout
            label = label.masked_fill(dropped, len(self.conditional_on))
        loss = self._errors(run.model, batch.images, step, noise, label).mean()
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """The mean error on one split, with the same noise for an image in every epoch and on any rank."""
        parts = []
        for batch in loader:
            generators = [
                torch.Generator().manual_seed(derive(run.settings.seed, "noise", int(index)))
                for index in batch.index
            ]
            step = torch.cat(
                [torch.randint(self.settings.diffusion_steps, (1,), generator=g) for g in generators]
            )
            noise = self.noise(run.model, generators).to(batch.images.device)
            error = self._errors(run.model, batch.images, step, noise, batch.labels)
            parts.append({"index": batch.index, "error": error})
        outputs = run.gather({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return Evaluation({"loss": float(outputs["error"].mean(dtype=np.float64))}, (), outputs)

    def epoch_images(self, run: Run) -> Tensor | None:
        """Samples from the same noise, of twenty epochs or so: they take as long as an epoch."""
        epochs = self.settings.epochs
        if run.epoch % max(1, epochs // _FRAMES) and run.epoch < epochs:
            return None
        return self.sample(run.model, derive(run.settings.seed, "fixed"), np.arange(_SHOWN))

    def can_sample(self, model: nn.Module) -> bool:
        """Always."""
        return True

    def noise(self, model: nn.Module, generators: list[torch.Generator]) -> Tensor:
        """Standard normal noise [B, C, S, S]."""
        size = self.image_size
        return torch.stack([torch.randn(self.channels, size, size, generator=g) for g in generators])

    def from_noise(self, model: nn.Module, noise: Tensor) -> Tensor:
        """Images of any class."""
        return self._denoised(model, noise, None)

    def from_noise_of_class(self, model: nn.Module, noise: Tensor, label: int) -> Tensor:
        """Images of one class."""
        return self._denoised(model, noise, torch.full((len(noise),), label, device=noise.device))

    def _errors(
        self, model: nn.Module, images: Tensor, step: Tensor, noise: Tensor, label: Tensor | None
    ) -> Tensor:
        """Mean squared error of the predicted velocity of each image, float32 [B]."""
        signal, share = self.schedule.shares(step, images.device)
        predicted = self._predicted(model, signal * images + share * noise, step, label)
        return (predicted - velocity(images, noise, signal, share)).square().mean((1, 2, 3))

    def _predicted(self, model: nn.Module, noisy: Tensor, step: Tensor, label: Tensor | None) -> Tensor:
        place = (step / max(1, self.settings.diffusion_steps - 1)).to(noisy.device)
        result: Tensor = model(noisy, place, label if self.conditional_on else None)
        return result.float()

    def _denoised(self, model: nn.Module, noise: Tensor, label: Tensor | None) -> Tensor:
        """DDIM: at each step estimate the image, then mix it with less noise."""
        images = noise
        steps = self.schedule.sampling(self.settings.sampling_steps)
        for number, after in zip(steps, [*steps[1:], None], strict=True):
            step = torch.full((len(images),), number)
            found = self._guided(model, images, step, label)
            signal, share = self.schedule.shares(step, images.device)
            clean = (signal * images - share * found).clamp(-1, 1)
            if after is None:
                return clean
            rest = (images - signal * clean) / share
            signal, share = self.schedule.shares(torch.full_like(step, after), images.device)
            images = signal * clean + share * rest
        return images

    def _guided(self, model: nn.Module, images: Tensor, step: Tensor, label: Tensor | None) -> Tensor:
        """The predicted velocity, away from that of any class where the guidance is above 1."""
        found = self._predicted(model, images, step, label)
        if label is None or self.settings.guidance == 1:
            return found
        return torch.lerp(self._predicted(model, images, step, None), found, self.settings.guidance)


def velocity(images: Tensor, noise: Tensor, signal: Tensor, share: Tensor) -> Tensor:
    """What the network predicts: ``signal * noise - share * images``. The image is then ``signal * noisy -
    share * velocity``.
    """
    return signal * noise - share * images
