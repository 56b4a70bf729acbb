"""Pretrained weights: a model's own ones, a state dict, or the checkpoint of a run.

Names and shapes are compared with the model's before it is changed. How files are read is in
:mod:`pneumo_cli.trainers.weight_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.registry import Entry
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ModelSpec, load_reference
from pneumo_cli.trainers.backbone import head_name
from pneumo_cli.trainers.weight_files import StateDict, names_text, state_dicts

_LONGEST = 200  # characters of a plugin's message in an error
_DEEPEST = 4  # names in a prefix: module.model.encoder.backbone.
_COMPILED = "_orig_mod."  # torch.compile's, within the names of the modules that it compiled


def load_pretrained(
    model: nn.Module, stages: Sequence[nn.Module], entry: Entry[ModelSpec], weights: str, progress: Progress
) -> str:
    """Load weights into a model; its head keeps its random weights unless theirs fit too.

    Args:
        model: newly built; not changed in case of an error.
        stages: of the model (:func:`pneumo_cli.trainers.backbone.stages_of`); may be empty.
        weights: ``imagenet`` (its own ones), ``none``, or the path of a file (torch.save, safetensors): a state
            dict, a mapping that holds some, of which the one that fits best is taken, or a checkpoint of a run.
            Names may begin with those of modules around the model: ``module.``, ``model.``, ``backbone.``.
        progress: shows a download.

    Returns:
        what was loaded, in one line.

    Raises:
        UsageError: the weights are not available, cannot be read, or are those of another model.
    """
    name = entry.spec.name
    if weights == "none":
        return f"{name} begins with random weights"
    if weights == "imagenet":
        origin, found = f"its {entry.spec.trained_on} weights", [StateDict("", _own(entry, progress))]
    else:
        origin, found = f"the weights in {weights}", state_dicts(Path(weights))
    best = _best(found, model.state_dict())
    if best.entry:
        origin += f", entry {names_text([best.entry])},"
    head = head_name(model, stages)
    fitting, head_fits = _fitting(model, best.tensors, f"{head}." if head else "", f"{name}: {origin}")
    own = model.state_dict()
    with torch.no_grad():
        for key, value in fitting.items():
            own[key].copy_(value)
    state = "its head too" if head_fits else "its head is new"
    unused = (
        f"; {best.unused:,} that are not under {names_text([best.prefix])} are unused" if best.unused else ""
    )
    return f"{name} begins with {origin.rstrip(',')} ({len(fitting):,} tensors; {state}{unused})"


def find_weights(entry: Entry[ModelSpec], weights: str, progress: Progress) -> dict[str, Tensor]:
    """The state dict that the setting ``weights`` names; empty for ``none``.

    Raises:
        UsageError: it is not available or cannot be read.
    """
    if weights == "none":
        return {}
    return _own(entry, progress) if weights == "imagenet" else read_weights(Path(weights))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the weights of a run's checkpoint, from a file, without running code in it.

    Of several state dicts in a file it is the first, a moving average before others.

    Raises:
        UsageError: there is no such file, or it contains something else.
    """
    return state_dicts(path)[0].tensors


def _own(entry: Entry[ModelSpec], progress: Progress) -> dict[str, Tensor]:
    spec = entry.spec
    if not spec.weights:
        raise UsageError(
            f"the model {entry.qualified_name} has no {spec.trained_on} weights: use --weights none, or --weights "
            "PATH"
        )
    try:
        return dict(load_reference(spec.weights)(spec.name, progress))
    except PneumoError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST]
        raise UsageError(
            f"the {spec.trained_on} weights of {entry.qualified_name} ({entry.provenance}) cannot be loaded: "
            f"{type(error).__name__}: {reason}"
        ) from error


class _Best(NamedTuple):
    """The state dict of a file that fits a model best, named as the model names its tensors.

    Attributes:
        entry: of the file.
        prefix: that was removed from the names.
        unused: how many tensors are not under the prefix: those of other modules, such as a loss.
    """

    entry: str
    tensors: dict[str, Tensor]
    prefix: str
    unused: int


def _best(found: Sequence[StateDict], own: Mapping[str, Tensor]) -> _Best:
    """The first of the state dicts, and the shortest prefix, with which most of a model's tensors are found."""
    best, most = None, (-1, -1)
    for entry, tensors in found:
        tensors = {key.replace(_COMPILED, ""): value for key, value in tensors.items()}
        matches = {"": [0, 0]}
        for key, value in tensors.items():
            prefix = ""
            for _ in range(_DEEPEST + 1):
                name = key[len(prefix) :]
                if name in own:
                    counts = matches.setdefault(prefix, [0, 0])
                    counts[0] += own[name].shape == value.shape
                    counts[1] += 1
                first, dot, _ = name.partition(".")
                if not dot:
                    break
                prefix += first + dot
        for prefix, (shapes, names) in sorted(matches.items(), key=lambda pair: pair[0].count(".")):
            if (shapes, names) > most:
                best, most = (entry, tensors, prefix), (shapes, names)
    assert best is not None
    entry, tensors, prefix = best
    named = {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
    beside = {key: v for key, v in tensors.items() if not key.startswith(prefix)}
    used = {key: v for key, v in beside.items() if key in own}  # a head beside its backbone
    return _Best(entry, {**used, **named}, prefix, len(beside) - len(used))


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
    unknown = [key for key in loaded if key not in own and not (head and key.startswith(head))]
    other = [
        f"{key} {list(loaded[key].shape)} for {list(value.shape)}"
        for key, value in body.items()
        if key in loaded and loaded[key].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what} ({names_text(names)})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if names
    ]
    if problems:
        matching = sum(key in loaded and loaded[key].shape == value.shape for key, value in body.items())
        raise UsageError(
            f"{origin} do not fit: {matching} of {len(body)} tensors match, {'; '.join(problems)}. Are they of "
            "another architecture?"
        )
    used = own if head_fits else body
    fitting = {key: loaded[key].to(value.dtype) for key, value in used.items() if key in loaded}
    broken = [
        key for key, value in fitting.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise UsageError(f"{origin} are not finite: {broken[0]} holds NaN or infinity")
    return fitting, head_fits
