"""The network: a small U-Net (Ronneberger et al. 2015) that is told the step of the diffusion and the class."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli import UsageError

_GROUPS = 8
_PATCH = 2  # pixels: a finer grid costs four times as much, and shows little more at 32 px


class DenoisingUNet(nn.Module):
    """What a model of kind ``diffusion`` has to offer.

    Attributes:
        classes: number of classes that it can be conditioned on; 0: of none.
        input_shape: of one image.
    """

    def __init__(self, channels: int, size: int, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.input_shape = (channels, size, size)
        inside = 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, inside), nn.SiLU(), nn.Linear(inside, inside))
        self.label = nn.Embedding(classes + 1, inside) if classes else None
        self.first = nn.Conv2d(channels * _PATCH**2, width, 3, padding=1)
        wide = 2 * width
        self.fine = _Block(width, width, inside)
        self.halve = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.coarse = _Block(width, wide, inside)
        self.quarter = nn.Conv2d(wide, wide, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(
            [_Block(wide, wide, inside), _Attention(wide), _Block(wide, wide, inside)]
        )
        self.coarse_up = _Block(2 * wide, wide, inside)
        self.fine_up = _Block(wide + width, width, inside)
        last = nn.Conv2d(width, channels * _PATCH**2, 3, padding=1)
        self.last = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def forward(self, noisy: Tensor, place: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """Predict the velocity of each image, see :func:`pneumo_diffusion.trainer.velocity`.

        Args:
            noisy: float [B, C, S, S], images with noise.
            place: float [B], the step as a share of all steps, 0 (the image) to 1 (noise); None: 0.
            label: int64 [B], the class; ``classes``, and None, mean any class.

        Returns:
            [B, C, S, S].
        """
        place = torch.zeros(len(noisy), device=noisy.device) if place is None else place
        about = self.time(_waves(place, self.width))
        if self.label is not None:
            anything = torch.full((len(noisy),), self.classes, device=noisy.device)
            about = about + self.label(anything if label is None else label)
        fine = self.fine(self.first(F.pixel_unshuffle(noisy, _PATCH)), about)
        coarse = self.coarse(self.halve(fine), about)
        values = self.quarter(coarse)
        before, attention, after = self.middle
        values = after(attention(before(values, about)), about)
        values = self.coarse_up(torch.cat((_doubled(values, coarse), coarse), 1), about)
        values = self.fine_up(torch.cat((_doubled(values, fine), fine), 1), about)
        return F.pixel_shuffle(self.last(values), _PATCH)


class _Block(nn.Module):
    """Two convolutions with a residual connection, scaled and shifted by what is known of step and class."""

    def __init__(self, inputs: int, outputs: int, inside: int) -> None:
        super().__init__()
        self.one = nn.Sequential(
            nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.about = nn.Sequential(nn.SiLU(), nn.Linear(inside, 2 * outputs))
        self.norm = nn.GroupNorm(_GROUPS, outputs)
        self.two = nn.Sequential(nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, values: Tensor, about: Tensor) -> Tensor:
        scale, shift = self.about(about)[:, :, None, None].chunk(2, 1)
        inner = self.norm(self.one(values)) * (1 + scale) + shift
        result: Tensor = self.two(inner) + self.skip(values)
        return result


class _Attention(nn.Module):
    """Self-attention between all places of a small grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.inner = nn.Conv2d(channels, 3 * channels, 1)
        self.outer = nn.Conv2d(channels, channels, 1)

    def forward(self, values: Tensor) -> Tensor:
        query, key, value = self.inner(self.norm(values)).flatten(2).transpose(1, 2).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = values + self.outer(mixed.transpose(1, 2).unflatten(2, values.shape[2:]))
        return result


def _waves(place: Tensor, count: int) -> Tensor:
    """Sines and cosines of ``count / 2`` frequencies: [B, count], as positions in a Transformer."""
    frequencies = torch.exp(
        torch.arange(count // 2, device=place.device) * (-math.log(10_000) / (count // 2))
    )
    angles = 1000 * place[:, None].float() * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)


def _doubled(values: Tensor, like: Tensor) -> Tensor:
    """The values at twice the resolution, that of ``like``."""
    return F.interpolate(values, size=like.shape[2:], mode="nearest")


def build_unet(channels: int = 1, size: int = 32, classes: int = 0, width: int = 64) -> DenoisingUNet:
    """Build the network.

    Raises:
        UsageError: the size is not a multiple of 8, or the width is not one of 8.
    """
    if size % 8 or size < 8:
        raise UsageError(
            f"the model denoising-unet generates images whose side is a multiple of 8, not {size}"
        )
    if width % _GROUPS or width < _GROUPS:
        raise UsageError(f"the width of the model denoising-unet is a multiple of {_GROUPS}, not {width}")
    return DenoisingUNet(channels, size, classes, width)
