"""A classifier that was exported: what it says of itself, and how its ONNX graph answers without torch and plugins.

An exported model is an ``.onnx`` file that carries its description in its metadata, or a bundle: a folder with
``model.json`` (the same description, and the SHA-256 of each file), the graph, the weights and a model card.
Writing them is :mod:`pneumo_export.export`. Nothing that is read here can run code: JSON, and a graph for
onnxruntime. A ``torch.export`` program is not read, for torch unpickles parts of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.runs.index import BUNDLE

FORMAT = 2
_READABLE = (1, FORMAT)  # the first one has no bias, which is 0 there
KEY = "pneumo"
"""The entry of an ONNX file's metadata that holds the description, as JSON."""
DESCRIPTION = BUNDLE
GRAPH = "model.onnx"
PROGRAM = "model.pt2"
CARD = "README.md"
INPUT = "images"
OUTPUTS = ("logit", "probability")
INSTALL = "pip install onnx onnxscript onnxruntime"

_OWN = frozenset(
    (
        *(DESCRIPTION, GRAPH, PROGRAM, CARD, "run.toml", "environment.json"),
        *("checkpoints/best.pt", "checkpoints/manifest.json"),
    )
)
"""Files of every bundle."""
_LARGEST = 4096  # pixels, of an image's side
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Description:
    """What an exported model says of itself.

    Attributes:
        rule: how its logits become probabilities and decisions.
        size: height and width of its images, in pixels.
        facts: everything else, as JSON holds it: what it is, what it was trained on and with, how it was checked,
            its results.
    """

    rule: DecisionRule
    size: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; what is long and for programs alone comes last."""
        rule = self.rule.state() | {"baseline": {}}  # a report's comparison, of no use here
        negative, positive = self.rule.classes
        logit, probability = OUTPUTS
        return {
            "format": FORMAT,
            **self.facts,
            "classes": list(self.rule.classes),
            "input": {
                "name": INPUT,
                "size": self.size,
                "shape": ["batch", 1, self.size, self.size],
                "dtype": "float32",
                "range": [0.0, 1.0],
                "preprocessing": "Upright; grey (ITU-R BT.601 luminance), 8 bits; resized to a square whatever its "
                "aspect, bilinear with antialiasing; divided by 255. Normalisation is part of the graph.",
            },
            "outputs": {
                logit: f"float32 [batch], of {positive} against {negative}; compared with an operating point's cut",
                probability: f"float32 [batch], of {positive}: the sigmoid of logit / temperature + bias, "
                + _holds_for(self.rule),
            },
            "rule": _packed(rule),
        }

    @classmethod
    def from_plain(cls, plain: Any, where: str) -> Description:
        """Take a description back.

        Args:
            where: what the errors name.

        Raises:
            UsageError: it is of another version of the format, or of no exported classifier.
            PneumoError: it is damaged.
        """
        if not isinstance(plain, dict) or "format" not in plain:
            raise UsageError(f"{where} does not describe an exported model")
        if plain["format"] not in _READABLE:
            raise UsageError(f"{where} was written by another version of pneumo (format {plain['format']!r})")
        try:
            size = plain["input"]["size"]
            if not (type(size) is int and 1 <= size <= _LARGEST):
                raise ValueError(f"its images have {size!r} px")
            rule = DecisionRule.from_state(_unpacked(plain["rule"]))
        except PneumoError as error:
            raise PneumoError(f"{where} is damaged: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PneumoError(f"{where} is damaged: {type(error).__name__}: {error}") from error
        derived = ("format", "classes", "input", "outputs", "rule")
        return cls(rule, size, {name: value for name, value in plain.items() if name not in derived})

    def text(self) -> str:
        """As one JSON document."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / DESCRIPTION).is_file()


def unrelated_files(path: Path) -> list[str]:
    """What lies in a bundle's folder without being part of it, as names relative to it, sorted.

    Its own are the files that an export makes and those that its description names; an empty ``.lock`` is left by
    whoever has read it as a run. A folder that is not there holds nothing.
    """
    try:
        described = _read_description(path / DESCRIPTION).get("files")
    except PneumoError:  # damaged: what an export makes is known without it
        described = None
    own = _OWN | set(described if isinstance(described, dict) else ())
    return sorted(
        name
        for file in path.rglob("*")
        if (file.is_symlink() or not file.is_dir())
        and (name := file.relative_to(path).as_posix()) not in own
        and not (name == ".lock" and file.lstat().st_size == 0)
    )


def is_exported(path: Path) -> bool:
    """Whether a path looks like an exported model that can be read.

    Raises:
        UsageError: it is one that is not read, for it could run code.
    """
    if path.suffix.lower() == ".pt2":
        raise UsageError(
            f"{path}: a torch.export program is not read here, for torch unpickles parts of it, which can run any "
            "code; use the run, its ONNX file or its bundle"
        )
    return is_bundle(path) or (path.suffix.lower() == ".onnx" and not path.is_dir())


def graph_input(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the graph takes, float32 [B, 1, S, S] from 0 to 1, for uint8 [B, S, S]."""
    return levels[:, None].astype(np.float32) / np.float32(255)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: it is not JSON") from error
    return described if isinstance(described, dict) else {}


def _check_digest(path: Path, described: Mapping[str, Any]) -> None:
    """Find damage, not forgery. Raises PneumoError where the file is not what the description says."""
    files = described.get("files")
    known = files.get(path.name) if isinstance(files, dict) else None
    if not path.is_file():
        raise PneumoError(f"the bundle {path.parent} is damaged: it has no {path.name}")
    if not isinstance(known, dict) or known.get("sha256") != file_digest(path):
        raise PneumoError(f"the bundle {path.parent} is damaged: {path.name} does not match {DESCRIPTION}")


def _holds_for(rule: DecisionRule) -> str:
    if not rule.is_calibrated:
        return "not calibrated"
    return f"for images of which {rule.prevalence:.1%} are {rule.classes[1]}, as of those that it was calibrated on"


def _packed(value: Any) -> Any:
    """Plain values as they are; tensors as their type, shape and bytes (little-endian, base64)."""
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().contiguous().numpy()
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        return {
            "tensor": str(array.dtype),
            "shape": list(array.shape),
            "base64": base64.b64encode(data).decode("ascii"),
        }
    if isinstance(value, Mapping):
        return {name: _packed(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    return value


def _unpacked(value: Any) -> Any:
    """The inverse of :func:`_packed`. Raises KeyError, TypeError or ValueError where a tensor is damaged."""
    if isinstance(value, dict) and "tensor" in value:
        dtype = _DTYPES[value["tensor"]]
        shape = [int(length) for length in value["shape"]]
        data = base64.b64decode(value["base64"], validate=True)
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes are no {value['tensor']} {shape}")
        array = np.frombuffer(data, np.dtype(value["tensor"]).newbyteorder("<")).reshape(shape)
        return torch.from_numpy(array.astype(value["tensor"]))
    if isinstance(value, dict):
        return {name: _unpacked(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    return value
