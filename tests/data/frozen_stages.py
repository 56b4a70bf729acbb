"""A frozen network on a few images, for the tests of the cache of its features."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data.augmentation import EvaluationTransform, Transform
from pneumo_cli.data.batch_inputs import ImageInputs, Inputs
from pneumo_cli.data.feature_cache import Features, Frozen, cached_features, prefix_digest
from pneumo_cli.runtime.progress import Progress

RECORDS, SIZE = 80, 12
CPU = torch.device("cpu")
# More than one batch of the cache, and not a multiple of one; records between them have no features.
POSITIONS = np.setdiff1d(np.arange(RECORDS), [0, 7, 40])


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()).eval()


def all_images() -> Tensor:
    """uint8 [RECORDS, SIZE, SIZE]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (RECORDS, SIZE, SIZE), generator=generator, dtype=torch.uint8)


class Prefix:
    """A frozen network that counts its input images."""

    def __init__(self, layers: nn.Module | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.layers = layers or network()
        self.dtype = dtype
        self.images = 0

    def __call__(self, values: Tensor) -> Tensor:
        self.images += len(values)
        with torch.no_grad():
            result: Tensor = self.layers(values).to(self.dtype)
        return result


def images(transform: Transform | None = None) -> ImageInputs:
    return ImageInputs(all_images(), transform or EvaluationTransform(), CPU)


def frozen(
    prefix: Prefix,
    inputs: Inputs | None = None,
    epochs: tuple[int, ...] = (1,),
    positions: NDArray[np.int64] = POSITIONS,
    **identity: Any,
) -> Frozen:
    identity = {"dataset": "d1", "prefix": prefix_digest([prefix.layers]), **identity}
    return Frozen(prefix, 3, inputs or images(), epochs, positions, identity)


def cached(part: Frozen, cache: Path, **options: Any) -> Features | None:
    return cached_features(
        part, records=RECORDS, device=CPU, cache=cache, **{"progress": Progress(), **options}
    )


def kept(part: Frozen, cache: Path, **options: Any) -> Features:
    features = cached(part, cache, **options)
    assert features is not None
    return features


class Counted(NamedTuple):
    """The features, and how many images the prefix computed for them, without the few of the time estimate."""

    features: Features
    computed: int


def counted(prefix: Prefix, cache: Path, **arguments: Any) -> Counted:
    """Cached features and the images computed for them."""
    prefix.images = 0
    features = kept(frozen(prefix, **arguments), cache)
    return Counted(features, max(0, prefix.images - 2 * 4))


def files(cache: Path) -> list[str]:
    """Names of all files in the cache, hidden ones too."""
    return sorted(path.name for path in (cache / "features").iterdir())


def data_file(cache: Path) -> Path:
    (path,) = (cache / "features").glob("*.bin")
    return path
