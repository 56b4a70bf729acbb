"""The report's generator and discriminator, two multilayer perceptrons (SOURCE 7), and a convolutional pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pneumo_cli import UsageError


class Gan(nn.Module):
    """A generator and a discriminator: what a model of kind ``gan`` has to offer.

    Attributes:
        generator: maps noise [B, z_dim] to images [B, 1, S, S] in [-1, 1].
        discriminator: maps images to logits [B]; the report's sigmoid is part of the loss.
        z_dim: dimension of the noise vector.
        input_shape: shape of one input of :meth:`forward`, for the table of layers.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, z_dim: int) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.z_dim = z_dim
        self.input_shape = (z_dim,)

    def forward(self, noise: Tensor) -> Tensor:
        """Logits [B] of the images generated from noise [B, z_dim]."""
        logits: Tensor = self.discriminator(self.generator(noise))
        return logits


def build_gan(size: int = 32, z_dim: int = 100, width: int = 0) -> Gan:
    """The report's networks.

    Generator: z_dim - n - 2n - 4n - S * S, LeakyReLU(0.2), tanh; 1,732,352 parameters at 32 px. Discriminator:
    S * S - 4n - 2n - n - 1, LeakyReLU(0.2) and Dropout(0.3); 1,705,985 parameters (computed, the report prints
    none). The dropout follows the report's text: its code, ``F.leaky_relu(fc(x), 0.2, 0.3)``, passes 0.3 as
    ``inplace`` and drops nothing.

    Args:
        size: S, height and width of the images in pixels.
        z_dim: dimension of the noise vector.
        width: n; 0: 256, as in the report.
    """
    n = width or 256
    generator = nn.Sequential(
        *_dense(z_dim, n),
        *_dense(n, 2 * n),
        *_dense(2 * n, 4 * n),
        nn.Linear(4 * n, size * size),
        nn.Tanh(),
        nn.Unflatten(1, (1, size, size)),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        *_dense(size * size, 4 * n, dropout=0.3),
        *_dense(4 * n, 2 * n, dropout=0.3),
        *_dense(2 * n, n, dropout=0.3),
        nn.Linear(n, 1),
        nn.Flatten(0),
    )
    return Gan(generator, discriminator, z_dim)


def _dense(inputs: int, outputs: int, dropout: float = 0.0) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    return [*layers, nn.Dropout(dropout)] if dropout else layers


class MinibatchStd(nn.Module):
    """Minibatch standard deviation: appends a channel with the mean deviation of the features over the batch.

    After Karras et al. 2018 (arXiv 1710.10196), over the whole batch: [B, C, H, W] to [B, C + 1, H, W].
    """

    def forward(self, features: Tensor) -> Tensor:
        """The features, and one channel with their mean standard deviation."""
        deviation = (features.float().var(0, correction=0) + 1e-8).sqrt().mean().to(features.dtype)
        return torch.cat((features, deviation.expand_as(features[:, :1])), 1)


def build_dcgan(size: int = 64, z_dim: int = 100, width: int = 0) -> Gan:
    """A convolutional pair after DCGAN (Radford et al. 2016, arXiv 1511.06434).

    The generator upsamples a 4 x 4 grid by transposed convolutions. The discriminator has no normalisation layers:
    the trainer's R1 penalty regularizes it. Its minibatch standard deviation exposes mode collapse.

    Args:
        size: height and width of the images in pixels: 16, 32, 64, 128 or 256.
        z_dim: dimension of the noise vector.
        width: channels of the layer nearest the image, doubled with each halving of the size, at most to 8 times as
            many; 0: 32.

    Raises:
        UsageError: another size.
    """
    doublings = size.bit_length() - 3
    if size != 4 * 2**doublings or not 2 <= doublings <= 6:
        raise UsageError(f"the model dcgan generates images of 16, 32, 64, 128 or 256 px, not of {size}")
    n = width or 32
    widths = [n * min(2**step, 8) for step in range(doublings)]  # from the image to the 4 x 4 grid
    grid = widths[-1]
    generator: list[nn.Module] = [
        nn.Linear(z_dim, grid * 16, bias=False),
        nn.Unflatten(1, (grid, 4, 4)),
        nn.BatchNorm2d(grid),
        nn.ReLU(inplace=True),
    ]
    discriminator: list[nn.Module] = []
    channels = grid
    for after in reversed(widths):
        generator += [
            nn.ConvTranspose2d(channels, after, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
        channels = after
    generator += [nn.Conv2d(channels, 1, 3, padding=1), nn.Tanh()]
    channels = 1
    for after in widths:
        discriminator += [nn.Conv2d(channels, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = after
    discriminator += [MinibatchStd(), nn.Flatten(), nn.Linear((channels + 1) * 16, 1), nn.Flatten(0)]
    model = Gan(nn.Sequential(*generator), nn.Sequential(*discriminator), z_dim)
    for layer in model.generator.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)  # DCGAN's initialisation
    return model
