"""What is done to training images, so that an autoencoder cannot learn the few that there are by heart.

The changed image is what goes in and what has to come out. No mirror images, the heart is on the left; and no black
where an image has been moved away from its border, for new images would have it too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, shift: float, zoom: float, brightness: float) -> Tensor:
    """Shift, scale and brighten each image by chance of the global generator; what comes in repeats the edge.

    Args:
        images: [B, C, S, S] in [0, 1].
        shift: largest translation along each axis, as a share of the side, 0 to 0.5.
        zoom: largest relative change of scale, 0 to 0.9.
        brightness: largest relative change of brightness, 0 to 1.

    Returns:
        [B, C, S, S] in [0, 1]; ``images`` itself where all three are 0.
    """
    count, device = len(images), images.device
    if shift or zoom:
        scale = 1 + zoom * _between(count, 1, device)
        maps = torch.zeros(count, 2, 3, device=device)
        maps[:, 0, 0] = maps[:, 1, 1] = scale[:, 0]
        maps[:, :, 2] = 2 * shift * _between(count, 2, device)  # from edge to edge is 2
        with torch.autocast(device.type, enabled=False):
            grid = F.affine_grid(maps, list(images.shape), align_corners=False)
            images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if brightness:
        images = (images * (1 + brightness * _between(count, 1, device)).view(-1, 1, 1, 1)).clamp(0, 1)
    return images


def _between(count: int, numbers: int, device: torch.device) -> Tensor:
    """Uniform numbers from -1 to 1, [count, numbers]."""
    return 2 * torch.rand(count, numbers, device=device) - 1
