"""Augmentation of everything that the discriminator sees, so that it does not memorize the few real images.

After DiffAugment (Zhao et al. 2020, arXiv 2006.10738): differentiable, so that gradients reach the generator, and
applied to real and generated images alike, so that the generator does not learn to imitate the augmentation. No
horizontal flips: the heart is on the left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_augmentation(images: Tensor, translate: float, brighten: float) -> Tensor:
    """Translate each image by whole pixels and change its brightness and contrast, at random (global generator).

    Args:
        images: [B, 1, S, S] in [-1, 1].
        translate: maximum translation as a share of S, 0 to 0.5; borders are replicated.
        brighten: maximum change of brightness (absolute, of a range of 2) and of contrast (relative), 0 to 1.

    Returns:
        [B, 1, S, S]; ``images`` itself if both are 0.
    """
    if brighten:
        factor = 1 + brighten * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
        offset = brighten * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * factor + mean + offset
    if translate:
        size = images.shape[-1]
        limit = max(1, round(translate * size))
        padded = F.pad(images, (limit,) * 4, mode="replicate")
        shift = torch.randint(0, 2 * limit + 1, (2, len(images), 1), device=images.device)
        pixel = torch.arange(size, device=images.device)
        rows, columns = (shift[0] + pixel)[:, :, None], (shift[1] + pixel)[:, None, :]
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        images = padded[:, 0][batch, rows, columns].unsqueeze(1)
    return images
