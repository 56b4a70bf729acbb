"""Files of weights, in the shapes that people have: which state dicts one holds, without running code in it.

Which of them fits a model is decided in :mod:`pneumo_cli.trainers.pretrained`.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.installation import pip_install
from pneumo_cli.runs.weights import evaluation_weights

_FORBIDDEN = re.compile(
    "(?i)unsupported global|can only (create|build)"
)  # torch on what it does not unpickle
_AVERAGED = re.compile("(?i)ema|average")
_DEEPEST = 3  # mappings within one another: {"checkpoint": {"model": {"state_dict": …}}}
_LONGEST = 200  # characters of a name in an error
_SHOWN = 3  # names in an error


class StateDict(NamedTuple):
    """A state dict, and the path of the entry that holds it in its file; empty: it is the whole file."""

    entry: str
    tensors: dict[str, Tensor]


def state_dicts(path: Path) -> list[StateDict]:
    """The state dicts in a file of ``torch.save`` or of safetensors, at least one, moving averages first.

    Those of a run's checkpoint are the one that the run is evaluated with.

    Raises:
        UsageError: there is no such file, or it contains something else.
    """
    path = Path(os.path.expanduser(path))  # Path.expanduser raises an error for unknown users
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"weights = {str(path)!r}: this file {what}; imagenet and none are possible too")
    content = _read(path)
    if _is_checkpoint(content):
        content = evaluation_weights(content)
    found = list(_within(content, "", set()))
    if not found:
        raise UsageError(
            f"{path} holds no state dict: a mapping from names to dense tensors of real numbers{_entries(content)}"
        )
    return sorted(found, key=lambda one: not _AVERAGED.search(one.entry))


def names_text(names: list[str]) -> str:
    """Some names from a file, for a message in one line."""
    shown = ", ".join(ascii(name)[1:-1][:_LONGEST] for name in names[:_SHOWN])
    return shown + (", …" if len(names) > _SHOWN else "")


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":  # after the length of the header, which is JSON
            return _read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, in several lines; problems are reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except PermissionError as error:
        raise UsageError(f"the weights {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file can raise anything
        reason = "the file is damaged, or no file of torch.save or safetensors"
        if isinstance(error, pickle.UnpicklingError) and _FORBIDDEN.search(str(error)):
            reason = "it holds code, or objects other than tensors, and is not loaded; save only model.state_dict()"
        raise UsageError(f"the weights {path} cannot be read: {reason}") from error


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(
            f"{path} is a file of safetensors: {pip_install('safetensors')} to read it"
        ) from error
    return load_file(path)


def _within(content: Any, entry: str, seen: set[int], depth: int = 0) -> Iterator[StateDict]:
    """A mapping itself, if it is a state dict; else those in its entries."""
    if not _all_named(content) or id(content) in seen or depth > _DEEPEST:
        return
    seen.add(id(content))  # a file can hold a mapping in many places, and within itself
    if content and all(map(_is_plain, content.values())):
        yield StateDict(entry, dict(content))
        return
    for name, value in content.items():
        yield from _within(value, f"{entry}.{name}" if entry else name, seen, depth + 1)


def _is_checkpoint(content: Any) -> bool:
    """Whether this is a checkpoint of a run."""
    return (
        _all_named(content)
        and not content.keys().isdisjoint(("fingerprint", "average"))
        and _all_named(content.get("model"))
        and _all_named(content.get("average") or {})
    )


def _all_named(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor of real numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_nested or value.is_meta or value.is_complex())
    )


def _entries(content: Any) -> str:
    """What a file holds instead; continues a message."""
    if not isinstance(content, Mapping):
        return f"; it holds one {type(content).__name__}"
    return f"; its entries are {names_text([str(name) for name in content])}" if content else "; it is empty"
