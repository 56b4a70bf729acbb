"""torchvision's classifiers with a new head, their stages, and their ImageNet weights.

Modules and names of weights are torchvision's own, so that its state dicts fit.
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

_TIMEOUT = 20.0  # seconds without a response
_FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "pool": lambda: nn.AdaptiveAvgPool2d(1),
    "flatten": nn.Flatten,
}


def build(name: str, channels: int = 3, outputs: int = 1) -> nn.Module:
    """Build a model of the table, with random weights.

    It maps float images [B, 3, H, W] to logits [B, outputs]; the smallest size depends on the architecture.

    Raises:
        UsageError: the number of channels is not three.
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
    """Split a model into single blocks, whose composition is its forward pass; the head is the last one."""
    architecture = ARCHITECTURES[type(model).__name__]
    blocks: list[nn.Module] = []
    for path in architecture.parts:
        is_module = hasattr(model, path.partition(".")[0])
        blocks += _blocks(model.get_submodule(path)) if is_module else [_FUNCTIONS[path]()]
    return [*blocks, model.get_submodule(architecture.head)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    # Only nn.Sequential itself: torchvision's subclasses (convolution with norm, transition) are one block.
    if type(module) is nn.Sequential:
        for child in module:
            yield from _blocks(child)
    else:
        yield module


def imagenet(name: str, progress: Progress) -> dict[str, Tensor]:
    """A model's ImageNet weights: downloaded once into torch's download folder, and checked by their hash.

    Raises:
        UsageError: they cannot be downloaded, or the file does not match the hash in its name.
    """
    family = FAMILIES[name]
    url = torchvision.models.get_model_weights(family.builder)[family.weights].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digest = match.group(1) if match else ""
    if not path.is_file():
        _download(url, path, digest, name)
    with path.open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(digest):
            raise UsageError(
                f"{path} is damaged or another file: its SHA-256 does not begin with {digest}; remove it"
            )
    return read_weights(path)


def _download(url: str, path: Path, digest: str, name: str) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes a temporary file, checks it, and moves it into place.
        terminal = sys.stderr is not None and sys.stderr.isatty()
        torch.hub.download_url_to_file(url, str(path), digest, progress=terminal)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"the ImageNet weights of {name} could not be downloaded ({_reason(error)}): put {path.name} into "
            f"{path.parent}, or use --weights none or PATH, or a model whose package contains its weights "
            "(examples/pneumo-efficientnet-lite)"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason).splitlines()[0]
