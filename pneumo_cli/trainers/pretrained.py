"""Weights to begin with: a model's ImageNet weights, a state dict, or another run's checkpoint.

A file is data and never code: it is read with ``weights_only=True`` and compared with the model, name by name and
shape by shape, before anything of the model is changed.
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

# torch's words for what it does not unpickle.
_FORBIDDEN = re.compile("(?i)unsupported global|can only (create|build)")
_LONGEST = 200  # characters of a text from elsewhere that an error repeats
_SHOWN = 3  # how many names of each kind an error lists


def load_pretrained(
    model: nn.Module, stages: Sequence[nn.Module], entry: Entry[ModelSpec], weights: str, progress: Progress
) -> str:
    """Put weights into a model, all but those of its head, which stays new unless they fit it as well.

    Args:
        model: as its factory made it; not changed if anything is wrong.
        stages: the model in pieces (:func:`pneumo_cli.trainers.backbone.stages_of`); may be empty.
        weights: ``imagenet``, ``none``, or the path of a file: a state dict, or a checkpoint of a run.
        progress: where a download is shown.

    Returns:
        what was loaded, in one line.

    Raises:
        UsageError: the weights cannot be had or read, or are of another model.
    """
    name = entry.spec.name
    if weights == "none":
        return f"{name} begins with random weights"
    found = find_weights(entry, weights, progress)
    origin = "its ImageNet weights" if weights == "imagenet" else f"the weights in {weights}"
    found = {key.removeprefix("module."): value for key, value in found.items()}
    head = head_name(model, stages)
    fitting, head_fits = _compare(model, found, f"{head}." if head else "", f"{name}: {origin}")
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in fitting:
                value.copy_(fitting[key])
    state = "its head too" if head_fits else "its head is new"
    return f"{name} begins with {origin} ({len(fitting):,} tensors; {state})"


def find_weights(entry: Entry[ModelSpec], weights: str, progress: Progress) -> dict[str, Tensor]:
    """Return the state dict that the setting ``weights`` names; empty for ``none``.

    Raises:
        UsageError: it cannot be had or read.
    """
    if weights == "none":
        return {}
    return _imagenet(entry, progress) if weights == "imagenet" else read_weights(Path(weights))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the weights of a run's checkpoint, from a file, without running code in it.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    path = Path(os.path.expanduser(path))  # unlike Path.expanduser, leaves the home of nobody as it is
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"weights = {str(path)!r}: this file {what}; also possible are imagenet and none")
    try:
        with warnings.catch_warnings():
            # What torch finds odd about a file, in several lines, is no news beside what is said below.
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UsageError(f"the weights {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file makes torch raise whatever its bytes lead to
        reason = "the file is damaged, or no file of torch.save"
        if isinstance(error, pickle.UnpicklingError) and _FORBIDDEN.search(str(error)):
            reason = "it holds code, or objects other than tensors, and is not loaded; save only model.state_dict()"
        raise UsageError(f"the weights {path} cannot be read: {reason}") from error
    if _all_named(content) and _all_named(content.get("model")) and _all_named(content.get("average") or {}):
        content = evaluation_weights(content)
    if not (_all_named(content) and content and all(map(_plain, content.values()))):
        raise UsageError(f"{path} holds no state dict: a mapping from names to (dense, real) tensors")
    return dict(content)


def _all_named(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _plain(value: Any) -> bool:
    """Whether it is a tensor with a real number at each place."""
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
            f"the ImageNet weights of {entry.qualified_name} ({entry.provenance}) cannot be had: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _compare(
    model: nn.Module, found: Mapping[str, Tensor], head: str, origin: str
) -> tuple[dict[str, Tensor], bool]:
    """The weights that are to be taken, and whether the head's are among them.

    Args:
        head: what the names of the head's tensors begin with; empty where there is no head.
    """
    wanted = model.state_dict()
    own_head = {key for key in wanted if head and key.startswith(head)}
    head_fits = all(key in found and found[key].shape == wanted[key].shape for key in own_head)
    body = {key: value for key, value in wanted.items() if key not in own_head}
    # Old state dicts do not count batches; the count is not used where momentum is set.
    missing = [key for key in body if key not in found and not key.endswith("num_batches_tracked")]
    unexpected = [
        ascii(key)[1:-1][:_LONGEST]  # whatever the file holds must not break the line
        for key in found
        if key not in wanted and not (head and key.startswith(head))
    ]
    other = [
        f"{key} {list(found[key].shape)} for {list(value.shape)}"
        for key, value in body.items()
        if key in found and found[key].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unknown"), (other, "of another shape"))
        if names
    ]
    if problems:
        raise UsageError(
            f"{origin} do not fit, tensors: {'; '.join(problems)}. Are they of another architecture?"
        )
    taken = {
        key: found[key].to(value.dtype)
        for key, value in wanted.items()
        if key in found and (head_fits or key not in own_head)
    }
    broken = [key for key, value in taken.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UsageError(f"{origin} are not finite: {broken[0]} holds NaN or infinity")
    return taken, head_fits
