"""The report's convolutional autoencoder (SOURCE 8), and a variational autoencoder that can generate images.

The loss is in :mod:`pneumo_autoencoder.trainer`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pneumo_cli import UsageError


class Autoencoder(nn.Module):
    """An encoder and a decoder: what a model of kind ``autoencoder`` has to offer.

    Attributes:
        encoder: maps images [B, C, S, S] in [0, 1] to the latent [B, ...].
        decoder: maps the latent to images [B, C, S, S].
        input_shape: (C, S, S).
        latent_values: number of values in the latent of one image.
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
        """Images [B, C, S, S] from a latent [B, ...]; not bounded above."""
        images: Tensor = self.decoder(latent)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of images."""
        return self.decode(self.encode(images))


class ConvPlusLinear(nn.Module):
    """The sum of a convolutional and a linear path over the same input.

    The last layer of the convolutional path is initialised with zeros: it learns the residual of the linear path.
    """

    def __init__(self, convolutional: nn.Sequential, linear: nn.Sequential, last: nn.Module) -> None:
        super().__init__()
        self.convolutional = convolutional
        self.linear = linear
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        """The sum; the linear path's gray image is added to every channel."""
        total: Tensor = self.convolutional(inputs) + self.linear(inputs)
        return total


class ChannelMean(nn.Module):
    """Averages the channels and flattens: [B, C, S, S] to [B, S * S]."""

    def forward(self, images: Tensor) -> Tensor:
        """The gray levels of images."""
        return images.mean(1).flatten(1)


class VariationalAutoencoder(Autoencoder):
    """An autoencoder with a standard normal prior on its latent (Kingma and Welling 2014, arXiv 1312.6114).

    The encoder returns mean and log-variance of the posterior, concatenated [B, 2 L]; :meth:`encode` the mean.
    The linear layers of the linear paths are ``encoder.linear[1]`` and ``decoder.linear[0]``.

    Attributes:
        variational: decoding a latent sampled from the prior generates an image.
        latent_shape: shape of the latent of one image, (L,).
    """

    variational = True

    def __init__(
        self, encoder: ConvPlusLinear, decoder: ConvPlusLinear, input_shape: tuple[int, int, int], latent: int
    ) -> None:
        super().__init__(encoder, decoder, input_shape, latent)
        self.latent_shape = (latent,)

    def encode(self, images: Tensor) -> Tensor:
        """The posterior mean [B, L] of images [B, C, S, S]."""
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, float32 [B, L] each."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)
        # Without bounds the KL divergence can overflow in the first steps.
        return mean, log_variance.clamp(-15, 10)

    def training_forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct from a latent that is sampled from the posterior (global generator).

        Returns:
            the reconstruction [B, C, S, S], and the Kullback-Leibler divergence of each image's posterior from the
            standard normal prior, in nats, float32 [B].
        """
        mean, log_variance = self.posterior(images)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return self.decode(latent), divergence

    def linear_parameters(self) -> list[nn.Parameter]:
        """Parameters of both linear paths, which need a much smaller learning rate.

        Adam's step has the same length for every weight, which is far too long for the small weights of a layer
        with thousands of inputs: at the rate of the convolutions one epoch destroys the initialisation.
        """
        return [
            parameter
            for side in (self.encoder, self.decoder)
            for parameter in side.get_submodule("linear").parameters()
        ]

    @torch.no_grad()
    def begin_with_components(self, mean: Tensor, axes: Tensor, variances: Tensor, rest: float) -> None:
        """Initialise the linear paths with probabilistic principal components (Tipping and Bishop 1999).

        They are the optimum of a linear variational autoencoder (Lucas et al. 2019, arXiv 1911.02469). Latent
        dimensions beyond the components are left to the convolutional paths.

        Args:
            mean: of the training images, [S * S].
            axes: principal axes, orthonormal, [k, S * S]; the first L are used.
            variances: of the training images along the axes, [k].
            rest: residual variance per pixel, above 0.
        """
        latent = self.latent_values
        axes, variances = axes[:latent], variances[:latent]
        count, deviations = len(axes), variances.sqrt()
        encode, decode = self.encoder.get_submodule("linear.1"), self.decoder.get_submodule("linear.0")
        assert isinstance(encode, nn.Linear)
        assert isinstance(decode, nn.Linear)
        for parameter in (*encode.parameters(), *decode.parameters()):
            nn.init.zeros_(parameter)
        encode.weight[:count] = axes * (deviations / (variances + rest)).unsqueeze(1)
        encode.bias[:count] = -(encode.weight[:count] @ mean.to(encode.weight.device))
        encode.bias[latent : latent + count] = (rest / (variances + rest)).log()
        decode.weight[:, :count] = (axes * deviations.unsqueeze(1)).T
        decode.bias.copy_(mean)


def build_autoencoder(channels: int = 3, size: int = 256) -> Autoencoder:
    """The report's network, 1,331,459 parameters with 3 channels; at 256 px the latent is 256 x 32 x 32.

    Initialised as in Keras: Glorot uniform weights, zero biases. torch's default has a third of the variance and
    random biases, so it trains differently and more often leaves a dead channel in the last ReLU: black, without
    a gradient.

    Args:
        size: height and width of the images in pixels, divisible by 8.

    Raises:
        UsageError: the size is not divisible by 8.
    """
    if size % 8:
        raise UsageError(
            f"the model autoencoder halves the images three times: a size of {size} px is not divisible by 8"
        )
    encoder = nn.Sequential(
        *_conv_relu(channels, 64),
        nn.MaxPool2d(2),
        *_conv_relu(64, 128),
        nn.MaxPool2d(2),
        *_conv_relu(128, 256),
        nn.MaxPool2d(2),
    )
    decoder = nn.Sequential(
        *_conv_relu(256, 256),
        nn.Upsample(scale_factor=2),
        *_conv_relu(256, 128),
        nn.Upsample(scale_factor=2),
        *_conv_relu(128, 64),
        nn.Upsample(scale_factor=2),
        *_conv_relu(64, channels),
    )
    model = Autoencoder(encoder, decoder, (channels, size, size), 256 * (size // 8) ** 2)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def _conv_relu(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]


def build_vae(channels: int = 1, size: int = 64, latent: int = 128, width: int = 0) -> VariationalAutoencoder:
    """A variational autoencoder: convolutions to a 4 x 4 grid and back, each with a parallel linear path.

    The latent is a vector. The last upsampling is a pixel shuffle (Shi et al. 2016, arXiv 1609.05158), at a quarter
    of the cost of a convolution at full resolution.

    Args:
        size: height and width of the images in pixels: 32, 64, 128 or 256.
        latent: L, the dimension of the latent.
        width: channels of the layer nearest the image, doubled with each halving of the size, at most to 8 times as
            many; 0: 32.

    Raises:
        UsageError: another size.
    """
    if size not in (32, 64, 128, 256):
        raise UsageError(f"the model vae takes images of 32, 64, 128 or 256 px, not of {size}")
    n = width or 32
    halvings = int(math.log2(size)) - 2
    widths = [n * min(2**step, 8) for step in range(halvings)]  # from the image to the 4 x 4 grid
    grid = widths[-1]
    down: list[nn.Module] = []
    before = channels
    for after in widths:
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False), *_norm_silu(after)]
        before = after
    posterior = nn.Linear(grid * 16, 2 * latent)
    up: list[nn.Module] = [
        nn.Linear(latent, grid * 16, bias=False),
        nn.Unflatten(1, (grid, 4, 4)),
        *_norm_silu(grid),
    ]
    for after in reversed(widths[:-1]):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False), *_norm_silu(after)]
        before = after
    up += [nn.Conv2d(n, n, 3, padding=1, bias=False), *_norm_silu(n)]
    pixels = nn.Conv2d(n, 4 * channels, 3, padding=1)
    encoder = ConvPlusLinear(
        nn.Sequential(*down, nn.Flatten(), posterior),
        nn.Sequential(ChannelMean(), nn.Linear(size * size, 2 * latent)),
        posterior,
    )
    decoder = ConvPlusLinear(
        nn.Sequential(*up, pixels, nn.PixelShuffle(2)),
        nn.Sequential(nn.Linear(latent, size * size), nn.Unflatten(1, (1, size, size))),
        pixels,
    )
    return VariationalAutoencoder(encoder, decoder, (channels, size, size), latent)


def _norm_silu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.SiLU()]
