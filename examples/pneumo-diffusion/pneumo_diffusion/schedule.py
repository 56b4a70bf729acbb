"""How much of an image and how much noise there is at each step of the diffusion."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


class Schedule:
    """The shares of image and noise, ``noisy = signal * image + noise * standard normal noise``.

    ``cosine``: Nichol and Dhariwal 2021 (arXiv 2102.09672), better at few pixels; ``linear``: Ho et al. 2020 (arXiv
    2006.11239), its variances scaled to the number of steps.

    Args:
        kind: of the two.
        steps: T, at least 2. Step 0 is almost the image, step T - 1 almost noise.

    Attributes:
        signal, noise: float32 [T], with signal² + noise² = 1.
    """

    def __init__(self, kind: Literal["cosine", "linear"], steps: int) -> None:
        if kind == "cosine":
            place = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008
            level = torch.cos(place * math.pi / 2).square()
            variance = (1 - level[1:] / level[:-1]).clamp_max(0.999)
        else:
            variance = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)
            variance = variance.clamp_max(0.999)
        kept = torch.cumprod(1 - variance, 0)
        self.signal, self.noise = kept.sqrt().float(), (1 - kept).sqrt().float()

    def shares(self, step: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The shares of image and noise at the steps [B], each [B, 1, 1, 1]."""
        step = step.cpu()
        signal, noise = (share[step].view(-1, 1, 1, 1).to(device) for share in (self.signal, self.noise))
        return signal, noise

    def sampling(self, count: int) -> list[int]:
        """The steps in which an image is sampled, evenly spaced from T - 1 down to 0; no more than there are."""
        steps = len(self.signal)
        return torch.linspace(steps - 1, 0, min(count, steps)).round().long().tolist()
