"""Augmentation of training images, so that an autoencoder does not memorize them.

The augmented image is both input and target. No horizontal flips: the heart is on the left. Borders are replicated,
since the model would reproduce black ones in generated images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, shift: float, zoom: float, brightness: float) -> Tensor:
    """Shift, scale and brighten each image at random (global generator).

    Args:
        images: [B, C, S, S] in [0, 1].
        shift: maximum translation along each axis, as a share of the side, 0 to 0.5.
        zoom: maximum relative change of scale, 0 to 0.9.
        brightness: maximum relative change of brightness, 0 to 1.

    Returns:
        [B, C, S, S] in [0, 1]; ``images`` itself if all three are 0.
    """
    count, device = len(images), images.device
    if shift or zoom:
        scale = 1 + zoom * _uniform(count, 1, device)
        affine = torch.zeros(count, 2, 3, device=device)
        affine[:, 0, 0] = affine[:, 1, 1] = scale[:, 0]
        affine[:, :, 2] = 2 * shift * _uniform(count, 2, device)  # the side is 2 in grid coordinates
        with torch.autocast(device.type, enabled=False):
            grid = F.affine_grid(affine, list(images.shape), align_corners=False)
            images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if brightness:
        images = (images * (1 + brightness * _uniform(count, 1, device)).view(-1, 1, 1, 1)).clamp(0, 1)
    return images


def _uniform(count: int, columns: int, device: torch.device) -> Tensor:
    """Uniform in [-1, 1], [count, columns]."""
    return 2 * torch.rand(count, columns, device=device) - 1
