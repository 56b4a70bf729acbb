"""What the distributions of this repository contain, and how to install one: what messages and reports end with.

What is in the clone of the repository that pneumo was installed from is named by its folder, as README does.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import lru_cache
from pathlib import Path

_BUNDLED = {
    "pneumo-cnn": {"trainer": "cnn", "model": "cnn"},
    "pneumo-feature-extraction": {"trainer": "feature-extraction"},
    "pneumo-fine-tuning": {"trainer": "fine-tuning"},
    "pneumo-gan": {"trainer": "gan", "model": "gan dcgan"},
    "pneumo-autoencoder": {"trainer": "autoencoder", "model": "autoencoder vae"},
    "pneumo-torchvision": {
        "model": "efficientnet-b0 efficientnet-b1 efficientnet-b2 efficientnet-b3 efficientnet-b4 efficientnet-b5 "
        "efficientnet-b6 efficientnet-b7 resnet18 resnet50 densenet121 convnext-tiny mobilenet-v3-small "
        "mobilenet-v3-large"
    },
    "pneumo-timm": {"model": "timm/"},
    "pneumo-chest-xray": {"dataset": "chest-xray"},
    "pneumo-datasets": {
        "dataset": "folder table nih-chestxray14 chexpert rsna-pneumonia vindr-cxr covid19-radiography "
        "pneumonia-mnist chest-mnist"
    },
    "pneumo-phantom": {"dataset": "phantom"},
    "pneumo-extensions": {"extension": "compile early-stopping mixup"},
    "pneumo-tensorboard": {"observer": "tensorboard"},
    "pneumo-mlflow": {"observer": "mlflow"},
    "pneumo-wandb": {"observer": "wandb"},
    "pneumo-audit": {"command": "data/audit", "function": "audit"},
    "pneumo-author": {"command": "check new", "dataset": "toy"},
    "pneumo-bench": {"command": "bench", "function": "bench"},
    "pneumo-compare": {"command": "compare", "function": "compare"},
    "pneumo-export": {"command": "export", "function": "export"},
    "pneumo-reproduce": {"command": "reproduce", "function": "reproduce"},
    "pneumo-sweep": {"command": "sweep", "function": "sweep resume_sweep"},
    "pneumo-ui": {"command": "ui"},
    "pneumo-synthetic": {
        "command": "generate evaluate-images judge tstr usefulness",
        "function": "generate evaluate_images tstr",
    },
}
"""What the distributions of this repository contain, so that an error can name the one that is missing."""

_MOVED = {("model", "pneumo-cli"): "pneumo-torchvision"}
"""The present distribution of parts that runs of earlier versions record under another one."""


def pip_install(*requirements: str) -> str:
    """How to install distributions, to end a message with.

    Args:
        requirements: such as ``pneumo-export``, ``pneumo-datasets[dicom]`` or ``pydicom>=3``.

    >>> pip_install("safetensors")
    'pip install safetensors'
    """
    return shlex.join(["pip", "install", *map(_place, requirements)])


def with_places(text: str) -> str:
    """A text of a plugin that says ``pip install NAME``, with the folder of what is in the clone."""
    return re.sub(r"pip install ([A-Za-z][\w.-]*)", lambda found: pip_install(found[1]), text)


def _place(requirement: str) -> str:
    """The folder of a distribution in the clone, with a ``.`` before it; else the requirement."""
    parts = re.fullmatch(r"([A-Za-z][\w.-]*)(\[.*\])?(==.*)?", requirement)
    if parts is None or (root := _clone()) is None:
        return requirement
    places = [root / "plugins" / parts[1], root / "examples" / parts[1]]
    folder = root if parts[1] == "pneumo-cli" else next((one for one in places if one.is_dir()), None)
    if folder is None:
        return requirement
    try:
        here = os.path.relpath(folder)
    except (OSError, ValueError):  # the working folder is gone, or on another drive
        here = ".."
    named = str(folder) if here.startswith("..") else "." if here == "." else os.path.join(".", here)
    return named + (parts[2] or "")


@lru_cache(maxsize=1)
def _clone() -> Path | None:
    """The clone of the repository that pneumo was installed from, if there is one, and it is still there."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    folders = [Path(__file__).parents[1]]
    try:
        url = urlsplit(
            str(json.loads(distribution("pneumo-cli").read_text("direct_url.json") or "{}").get("url"))
        )
        folders += [Path(url2pathname(url.path))] if url.scheme == "file" else []
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        pass
    return next((one for one in folders if (one / "plugins" / "requirements.txt").is_file()), None)


def bundled_in(noun: str, name: str) -> str:
    """The distribution of this repository that contains a part of this name; empty: none does."""
    bare = name.rpartition(":")[2]
    wanted = {bare, f"{bare.partition('/')[0]}/"}  # a model, or the family of one
    return next((where for where, parts in _BUNDLED.items() if wanted & set(parts.get(noun, "").split())), "")


def absent_text(distribution: str, why: str = "") -> str:
    """How to get a part whose distribution is not available; completes "the command 'compare' …".

    Args:
        why: see :meth:`pneumo_cli.registry.Registries.why_absent`; empty: it is not installed.
    """
    why = why or (
        f"is not installed: {pip_install(distribution)} (pneumo list-plugins shows what is installed, disabled or "
        "broken)"
    )
    return f"comes with {distribution}, which {why}"


def current_name(noun: str, qualified_name: str) -> str:
    """The present qualified name of a part that a run of an earlier version may record under another one."""
    distribution, _, name = qualified_name.rpartition(":")
    return f"{_MOVED[noun, distribution]}:{name}" if (noun, distribution) in _MOVED else qualified_name
