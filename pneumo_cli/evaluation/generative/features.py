"""Features by which images are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.progress import Progress

_SIDE_OF_PIXELS = 32
_BATCH = 64
_SILENT = Progress()


@dataclass(frozen=True)
class Extractor:
    """Computes features of images.

    Attributes:
        name: for tables: ``efficientnet-lite0 at 128 px (ImageNet)``.
        slug: for the names of metrics: ``efficientnet-lite0``.
        dimension: D, the number of features.
        module: maps uint8 [B, S, S], S at least 8, on any device, to float32 [B, D]; ``module.num_features`` is D.
    """

    name: str
    slug: str
    dimension: int
    module: nn.Module

    def __call__(self, images: Tensor, progress: Progress = _SILENT) -> Tensor:
        """Features float32 [N, D], on the CPU.

        Args:
            images: uint8 [N, S, S].
            progress: shows the progress.

        Raises:
            PneumoError: a feature is NaN or infinite.
        """
        self.module.eval()
        # The mean image or a collapsed generator repeats one image hundreds of times.
        images, position = images.unique_consecutive(dim=0, return_inverse=True)
        batches = [torch.empty(0, self.dimension)]
        with torch.no_grad(), progress.stage(f"Features: {self.slug}", len(images)) as advance:
            for batch in images.split(_BATCH):
                batches.append(self.module(batch).cpu())
                advance(len(batch))
        features = torch.cat(batches)[position]
        if not features.isfinite().all():
            raise PneumoError(f"the extractor {self.name} gives features of these images that are not finite")
        return features


class _Pixels(nn.Module):
    """Gray levels, averaged over areas and scaled from 0 to 255 to -2 to 2.

    In 0 to 1 a cubic kernel's value would be mostly its constant term, and could not distinguish a pixel Gaussian
    from radiographs.

    Args:
        side: height and width after averaging, in pixels.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.num_features = side**2

    def forward(self, images: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(images.unsqueeze(1).float() / 255, self.side)
        return (means.flatten(1) - 0.5) / 0.25
