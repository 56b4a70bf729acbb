"""The report's convolutional autoencoder (SOURCE 8), and a variational one from which new images can be drawn.

Only networks: what is made small in training is :mod:`pneumo_autoencoder.trainer`'s business.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pneumo_cli import UsageError


class Autoencoder(nn.Module):
    """An encoder and a decoder: the contract of the kind ``autoencoder``.

    Attributes:
        encoder: maps images [B, C, S, S] in [0, 1] to the latent [B, ...].
        decoder: maps the latent to images [B, C, S, S].
        input_shape: (C, S, S).
        latent_values: numbers in the latent of one image.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, input_shape: tuple[int, int, int], latent_values: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = input_shape
        self.latent_values = latent_values

    def encode(self, images: Tensor) -> Tensor:
        """The latent [B, ...] of images [B, C, S, S]."""
        latent: Tensor = self.encoder(images)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Images [B, C, S, S] from a latent [B, ...]; nothing keeps them below 1."""
        images: Tensor = self.decoder(latent)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of images."""
        return self.decode(self.encode(images))


class TwoPaths(nn.Module):
    """The sum of what a convolutional and a linear path make of the same input.

    The last layer of the convolutional path begins with zeros: it learns what the linear one leaves.
    """

    def __init__(self, convolutional: nn.Sequential, linear: nn.Sequential, last: nn.Module) -> None:
        super().__init__()
        self.convolutional = convolutional
        self.linear = linear
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        """Their sum; a grey image from the linear path is added to every channel."""
        total: Tensor = self.convolutional(inputs) + self.linear(inputs)
        return total


class Grey(nn.Module):
    """Averages the channels: [B, C, S, S] to [B, S * S]."""

    def forward(self, images: Tensor) -> Tensor:
        """The grey levels of images."""
        return images.mean(1).flatten(1)


class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose latent is standard normal over the images (Kingma and Welling 2014, arXiv 1312.6114).

    The encoder returns mean and logarithm of the variance side by side [B, 2 L]; :meth:`encode` the mean alone.
    The last layers of both linear paths are ``encoder.linear[1]`` and ``decoder.linear[0]``.

    Attributes:
        variational: that decoding standard normal numbers gives new images.
        latent_shape: of the latent of one image, (L,).
    """

    variational = True

    def __init__(
        self, encoder: TwoPaths, decoder: TwoPaths, input_shape: tuple[int, int, int], latent: int
    ) -> None:
        super().__init__(encoder, decoder, input_shape, latent)
        self.latent_shape = (latent,)

    def encode(self, images: Tensor) -> Tensor:
        """The mean [B, L] of the latent of images [B, C, S, S]."""
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latent, float32 [B, L] each."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)
        # A variance that leaves these bounds in the first steps would overflow in the divergence.
        return mean, log_variance.clamp(-15, 10)

    def training_forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What training needs: images decoded from a latent that is drawn by the global generator.

        Returns:
            the reconstruction [B, C, S, S], and the Kullback-Leibler divergence of each image's latent from a
            standard normal one, in nats, float32 [B].
        """
        mean, log_variance = self.posterior(images)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return self.decode(latent), divergence

    def linear_parameters(self) -> list[nn.Parameter]:
        """Those of both linear paths, which want a much smaller learning rate.

        Adam's steps are alike for all weights, and far too long for the small ones of a row of thousands: at the
        rate of the convolutions they undo in an epoch what they cannot find again in many.
        """
        return [
            parameter
            for side in (self.encoder, self.decoder)
            for parameter in side.get_submodule("linear").parameters()
        ]

    @torch.no_grad()
    def begin_with_components(self, mean: Tensor, axes: Tensor, variances: Tensor, rest: float) -> None:
        """Let the linear paths begin as the best that linear ones can become: probabilistic principal components.

        Tipping and Bishop 1999; the optimum of a linear variational autoencoder, as shown by Lucas et al. 2019
        (arXiv 1911.02469). Numbers of the latent beyond the components are left to the convolutional paths.

        Args:
            mean: of the training images, [S * S].
            axes: orthonormal, [k, S * S]; the first L are used.
            variances: of the training images along them, [k].
            rest: variance per pixel that the axes leave, above 0.
        """
        latent = self.latent_values
        axes, variances = axes[:latent], variances[:latent]
        count, spread = len(axes), variances.sqrt()
        encode, decode = self.encoder.get_submodule("linear.1"), self.decoder.get_submodule("linear.0")
        assert isinstance(encode, nn.Linear)
        assert isinstance(decode, nn.Linear)
        for parameter in (*encode.parameters(), *decode.parameters()):
            nn.init.zeros_(parameter)
        encode.weight[:count] = axes * (spread / (variances + rest)).unsqueeze(1)
        encode.bias[:count] = -(encode.weight[:count] @ mean.to(encode.weight.device))
        encode.bias[latent : latent + count] = (rest / (variances + rest)).log()
        decode.weight[:, :count] = (axes * spread.unsqueeze(1)).T
        decode.bias.copy_(mean)


def build_autoencoder(channels: int = 3, size: int = 256) -> Autoencoder:
    """The report's network, 1,331,459 parameters with 3 channels; at 256 px the latent is 256 x 32 x 32.

    Its weights begin as Keras' do: Glorot's uniform distribution, biases 0. torch's own start has a third of the
    variance and random biases, so that it learns differently, and more often leaves a channel of the last ReLU
    dead: black, and without a gradient.

    Args:
        size: height and width of the images, divisible by 8.

    Raises:
        UsageError: the size is not.
    """
    if size % 8:
        raise UsageError(
            f"the model autoencoder halves the images three times: a size of {size} px is not divisible by 8"
        )
    encoder = nn.Sequential(
        *_convolution(channels, 64),
        nn.MaxPool2d(2),
        *_convolution(64, 128),
        nn.MaxPool2d(2),
        *_convolution(128, 256),
        nn.MaxPool2d(2),
    )
    decoder = nn.Sequential(
        *_convolution(256, 256),
        nn.Upsample(scale_factor=2),
        *_convolution(256, 128),
        nn.Upsample(scale_factor=2),
        *_convolution(128, 64),
        nn.Upsample(scale_factor=2),
        *_convolution(64, channels),
    )
    model = Autoencoder(encoder, decoder, (channels, size, size), 256 * (size // 8) ** 2)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]


def build_vae(channels: int = 1, size: int = 64, latent: int = 128, width: int = 0) -> VariationalAutoencoder:
    """A variational autoencoder: convolutions to a grid of 4 x 4 and back, each beside a linear path.

    The latent is a vector. The image's last doubling is a rearrangement of channels (Shi et al. 2016, arXiv
    1609.05158), which costs a quarter of a convolution at full size.

    Args:
        size: height and width of the images: 32, 64, 128 or 256.
        latent: L, numbers per image.
        width: channels next to the image, doubled with each halving of the size up to eight times as many; 0: 32.

    Raises:
        UsageError: the size is none of these.
    """
    if size not in (32, 64, 128, 256):
        raise UsageError(f"the model vae takes images of 32, 64, 128 or 256 px, not of {size}")
    n = width or 32
    halvings = int(math.log2(size)) - 2
    widths = [n * min(2**step, 8) for step in range(halvings)]  # from the image to the grid of 4 x 4
    grid = widths[-1]
    down: list[nn.Module] = []
    before = channels
    for after in widths:
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False), *_normed(after)]
        before = after
    code = nn.Linear(grid * 16, 2 * latent)
    up: list[nn.Module] = [
        nn.Linear(latent, grid * 16, bias=False),
        nn.Unflatten(1, (grid, 4, 4)),
        *_normed(grid),
    ]
    for after in reversed(widths[:-1]):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False), *_normed(after)]
        before = after
    up += [nn.Conv2d(n, n, 3, padding=1, bias=False), *_normed(n)]
    levels = nn.Conv2d(n, 4 * channels, 3, padding=1)
    encoder = TwoPaths(
        nn.Sequential(*down, nn.Flatten(), code),
        nn.Sequential(Grey(), nn.Linear(size * size, 2 * latent)),
        code,
    )
    decoder = TwoPaths(
        nn.Sequential(*up, levels, nn.PixelShuffle(2)),
        nn.Sequential(nn.Linear(latent, size * size), nn.Unflatten(1, (1, size, size))),
        levels,
    )
    return VariationalAutoencoder(encoder, decoder, (channels, size, size), latent)


def _normed(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.SiLU()]
