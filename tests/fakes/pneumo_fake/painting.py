"""A fast generative trainer that samples, reconstructs and interpolates, and two models for it."""

import torch
import torch.nn.functional as F
from torch import nn

from pneumo_cli import UsageError
from pneumo_cli.evaluation import Evaluation
from pneumo_cli.trainers import GenerativeTrainer


class Painter(nn.Module):
    """A linear generator: an image is a mean and three patterns, weighted by its noise."""

    z_dim = 3
    draws = True

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        if size % 8:
            raise UsageError(f"a painter's canvas is a multiple of 8 px, not {size}")
        self.size = size
        self.canvas = nn.Linear(self.z_dim, size * size)

    def forward(self, noise):
        return self.canvas(noise).sigmoid().unflatten(1, (1, self.size, self.size))


class Copyist(Painter):
    """Trained like a painter, but cannot sample."""

    draws = False


class PainterTrainer(GenerativeTrainer):
    """Its models learn the mean image; the reconstruction of an image is its negative."""

    def train_step(self, run, batch):
        model = run.model
        images = model(torch.randn(len(batch.images), model.z_dim))
        loss = F.mse_loss(images, batch.images)
        run.optimize(loss)
        return {"loss": loss.detach()}

    def evaluate(self, run, loader):
        index, losses = [], []
        for batch in loader:
            images = run.model(torch.zeros(len(batch.images), run.model.z_dim))
            losses.append((images - batch.images).square().mean((1, 2, 3)))
            index.append(batch.index)
        outputs = run.gather({"index": torch.cat(index), "losses": torch.cat(losses)})
        return Evaluation({"loss": float(outputs["losses"].mean())}, outputs=outputs)

    def can_sample(self, model):
        return model.draws

    def noise(self, model, generators):
        return torch.stack([torch.randn(model.z_dim, generator=generator) for generator in generators])

    def from_noise(self, model, noise):
        return model(noise)

    def reconstruct(self, model, images):
        return 1 - images

    def interpolate(self, model, first, last, steps):
        return torch.lerp(first, last, torch.linspace(0, 1, steps).view(-1, 1, 1, 1))
