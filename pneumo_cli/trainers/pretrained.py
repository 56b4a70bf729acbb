"""Pretrained weights: a model's ImageNet weights, a state dict, or the checkpoint of a run.

Files are read with ``weights_only=True``, so no code in them is run, and names and shapes are compared with the
model's before it is changed.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.registry import Entry
from pneumo_cli.runs.weights import evaluation_weights
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ModelSpec, load_reference
from pneumo_cli.trainers.backbone import head_name

_FORBIDDEN = re.compile(
    "(?i)unsupported global|can only (create|build)"
)  # torch on what it does not unpickle
_LONGEST = 200  # characters of a name or a plugin's message in an error
_SHOWN = 3  # names of each kind in an error


def load_pretrained(
    model: nn.Module, stages: Sequence[nn.Module], entry: Entry[ModelSpec], weights: str, progress: Progress
) -> str:
    """Load weights into a model; its head keeps its random weights unless theirs fit too.

    Args:
        model: newly built; not changed in case of an error.
        stages: of the model (:func:`pneumo_cli.trainers.backbone.stages_of`); may be empty.
        weights: ``imagenet``, ``none``, or the path of a file: a state dict, or a checkpoint of a run.
        progress: shows a download.

    Returns:
        what was loaded, in one line.

    Raises:
        UsageError: the weights are not available, cannot be read, or are those of another model.
    """
    name = entry.spec.name
    if weights == "none":
        return f"{name} begins with random weights"
    loaded = find_weights(entry, weights, progress)
    loaded = {key.removeprefix("module."): value for key, value in loaded.items()}
    origin = "its ImageNet weights" if weights == "imagenet" else f"the weights in {weights}"
    head = head_name(model, stages)
    fitting, head_fits = _fitting(model, loaded, f"{head}." if head else "", f"{name}: {origin}")
    own = model.state_dict()
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
    state = "its head too" if head_fits else "its head is new"
    return f"{name} begins with {origin} ({len(fitting):,} tensors; {state})"


def find_weights(entry: Entry[ModelSpec], weights: str, progress: Progress) -> dict[str, Tensor]:
    """The state dict that the setting ``weights`` names; empty for ``none``.

    Raises:
        UsageError: it is not available or cannot be read.
    """
    if weights == "none":
        return {}
    return _imagenet(entry, progress) if weights == "imagenet" else read_weights(Path(weights))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the weights of a run's checkpoint, from a file, without running code in it.

    Raises:
        UsageError: there is no such file, or it contains something else.
    """
    path = Path(os.path.expanduser(path))  # Path.expanduser raises an error for unknown users
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"weights = {str(path)!r}: this file {what}; imagenet and none are possible too")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, in several lines; problems are reported below
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UsageError(f"the weights {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file can raise anything
        reason = "the file is damaged, or no file of torch.save"
        if isinstance(error, pickle.UnpicklingError) and _FORBIDDEN.search(str(error)):
            reason = "it holds code, or objects other than tensors, and is not loaded; save only model.state_dict()"
        raise UsageError(f"the weights {path} cannot be read: {reason}") from error
    if _all_named(content) and _all_named(content.get("model")) and _all_named(content.get("average") or {}):
        content = evaluation_weights(content)
    if not (_all_named(content) and content and all(map(_is_plain, content.values()))):
        raise UsageError(f"{path} holds no state dict: a mapping from names to dense tensors of real numbers")
    return dict(content)


def _all_named(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor of real numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_nested or value.is_meta or value.is_complex())
    )


def _imagenet(entry: Entry[ModelSpec], progress: Progress) -> dict[str, Tensor]:
    spec = entry.spec
    if not spec.weights:
        raise UsageError(
            f"the model {entry.qualified_name} has no ImageNet weights: use --weights none, or --weights PATH"
        )
    try:
        return dict(load_reference(spec.weights)(spec.name, progress))
    except PneumoError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST]
        raise UsageError(
            f"the ImageNet weights of {entry.qualified_name} ({entry.provenance}) cannot be loaded: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _fitting(
    model: nn.Module, loaded: Mapping[str, Tensor], head: str, origin: str
) -> tuple[dict[str, Tensor], bool]:
    """The weights to use, in the model's dtypes, and whether those of the head are among them.

    Args:
        head: prefix of the names of the head's tensors; empty without a head.
    """
    own = model.state_dict()
    in_head = {key for key in own if head and key.startswith(head)}
    head_fits = all(key in loaded and loaded[key].shape == own[key].shape for key in in_head)
    body = {key: value for key, value in own.items() if key not in in_head}
    # Old state dicts have no counts of batches, which are not used if a momentum is set.
    missing = [key for key in body if key not in loaded and not key.endswith("num_batches_tracked")]
    unknown = [
        ascii(key)[1:-1][:_LONGEST]  # the message has to stay in one line
        for key in loaded
        if key not in own and not (head and key.startswith(head))
    ]
    other = [
        f"{key} {list(loaded[key].shape)} for {list(value.shape)}"
        for key, value in body.items()
        if key in loaded and loaded[key].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if names
    ]
    if problems:
        raise UsageError(
            f"{origin} do not fit, tensors: {'; '.join(problems)}. Are they of another architecture?"
        )
    used = own if head_fits else body
    fitting = {key: loaded[key].to(value.dtype) for key, value in used.items() if key in loaded}
    broken = [
        key for key, value in fitting.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise UsageError(f"{origin} are not finite: {broken[0]} holds NaN or infinity")
    return fitting, head_fits
