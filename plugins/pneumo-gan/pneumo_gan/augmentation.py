"""What is done to every image that the discriminator sees, real or not, so that it cannot learn the few by heart.

After DiffAugment (Zhao et al. 2020, arXiv 2006.10738): differentiable, so that the generator learns through it,
and augmented for both, so that the generator is not taught the augmentation. No mirror images:
the heart is on the left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_augmentation(images: Tensor, translate: float, brighten: float) -> Tensor:
    """Shift each image by whole pixels, and change its brightness and contrast, by chance of the global generator.

    Args:
        images: [B, 1, S, S] in [-1, 1].
        translate: largest shift as a share of S, 0 to 0.5; what comes in repeats the edge.
        brighten: largest change of the brightness (of a range of 2) and, relative, of the contrast, 0 to 1.

    Returns:
        [B, 1, S, S]; ``images`` itself where both are 0.
    """
    if brighten:
        factor = 1 + brighten * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
        offset = brighten * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * factor + mean + offset
    if translate:
        size = images.shape[-1]
        most = max(1, round(translate * size))
        padded = F.pad(images, (most,) * 4, mode="replicate")
        shift = torch.randint(0, 2 * most + 1, (2, len(images), 1), device=images.device)
        line = torch.arange(size, device=images.device)
        rows, columns = (shift[0] + line)[:, :, None], (shift[1] + line)[:, None, :]
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        images = padded[:, 0][batch, rows, columns].unsqueeze(1)
    return images
