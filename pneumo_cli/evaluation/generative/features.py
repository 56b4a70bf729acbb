"""Features by which images are compared."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.data.array_file import (
    damage_is_warned_of,
    disk_errors,
    open_array,
    prepare_folder,
    write_array,
)
from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.progress import Progress

_SIDE_OF_PIXELS = 32
_BATCH = 64
_SILENT = Progress()
_FORMAT = 1
_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Extractor:
    """Computes features of images.

    Attributes:
        name: for tables: ``efficientnet-lite0 at 128 px (ImageNet)``.
        slug: for the names of metrics: ``efficientnet-lite0``.
        dimension: D, the number of features.
        module: maps uint8 [B, S, S], S at least 8, on any device, to float32 [B, D]; ``module.num_features`` is D.
        identity: plain values of everything that the features of an image depend on; empty: not known, or they are
            faster to compute than to read.
    """

    name: str
    slug: str
    dimension: int
    module: nn.Module
    identity: Mapping[str, Any] = field(default_factory=dict)

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


def stored_features(
    extractor: Extractor, images: Tensor, cache: Path | None, progress: Progress = _SILENT
) -> Tensor:
    """Features of images that occur in several runs: from the cache, or computed now and kept there.

    Args:
        images: uint8 [N, S, S].
        cache: folder of all caches; None: nothing is kept. One that cannot be written costs the computation: the
            epochs before an evaluation are worth more than what is kept for the next one.

    Returns:
        float32 [N, D], on the CPU.

    Raises:
        PneumoError: a feature is NaN or infinite.
    """
    if cache is None or not extractor.identity or not len(images):
        return extractor(images, progress)
    identity = {
        "format": _FORMAT,
        "extractor": dict(extractor.identity),
        "images": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "shape": [len(images), extractor.dimension],
        "dtype": "float32",
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = cache / "features" / f"{key[:32]}.bin"
    found = None
    with damage_is_warned_of(path, "features", "computing them again"):
        found = open_array(path, identity)
    if found is not None:
        return torch.from_numpy(found[0].copy())
    features = extractor(images, progress)
    try:
        prepare_folder(path.parent)
        with disk_errors("features", features.nbytes, path.parent):
            write_array(path, identity, [features.numpy().tobytes()])
    except PneumoError as error:
        _log.debug("features are not kept: %s", error)
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
