"""The description of an exported classifier, and reading the files that hold it.

An exported model is an ``.onnx`` file with its description in its metadata, or a bundle: a folder with
``model.json`` (the same description, and the SHA-256 of each file), the graph, the weights and a model card.
:mod:`pneumo_export.export` writes them. Nothing that is read here can run code: JSON, and a graph for
onnxruntime. A ``torch.export`` program is not read, because torch unpickles parts of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.rule import MultiRule, Rule, rule_from_state
from pneumo_cli.runs.index import BUNDLE

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

FORMAT, FORMAT_OF_CLASSES = 2, 3
"""The version of descriptions of two classes, and of K classes or labels, which version 0.2 cannot read."""
_READABLE = (1, FORMAT)  # format 1 has no bias: 0
KEY = "pneumo"
"""The entry of an ONNX file's metadata that holds the description, as JSON."""
DESCRIPTION = BUNDLE
GRAPH = "model.onnx"
PROGRAM = "model.pt2"
CARD = "README.md"
INPUT = "images"
INSTALL = "pip install onnx onnxscript onnxruntime"

_OWN = {DESCRIPTION, GRAPH, PROGRAM, CARD, "run.toml", "environment.json"}
_OWN |= {"checkpoints/best.pt", "checkpoints/manifest.json"}
"""Files of every bundle."""
_LARGEST = 4096  # pixels, height and width of an image
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Description:
    """The description of an exported model.

    Attributes:
        rule: how its logits become probabilities and decisions.
        size: height and width of its images, in pixels.
        facts: everything else, JSON-compatible: model, training data and software, checks, results.
    """

    rule: Rule
    size: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON values; the long, machine-readable rule comes last."""
        rule = self.rule.state() | {"baseline": {}}  # only reports use it
        binary = self.rule.task == "binary"
        return {
            "format": FORMAT if binary else FORMAT_OF_CLASSES,
            **self.facts,
            **({} if binary else {"task": self.rule.task}),
            "classes": list(self.rule.classes),
            "input": {
                "name": INPUT,
                "size": self.size,
                "shape": ["batch", 1, self.size, self.size],
                "dtype": "float32",
                "range": [0.0, 1.0],
                "preprocessing": "Upright; gray (ITU-R BT.601 luminance), 8 bits; resized to a square whatever the "
                "aspect ratio, bilinear with antialiasing; divided by 255. Normalisation is part of the graph.",
            },
            "outputs": dict(zip(output_names(self.rule.task), _outputs(self.rule), strict=True)),
            "rule": _packed(rule),
        }

    @classmethod
    def from_plain(cls, plain: Any, where: str) -> Description:
        """The inverse of :meth:`plain`.

        Args:
            where: the source that errors name.

        Raises:
            UsageError: another version of the format, or no description of an exported classifier.
            PneumoError: it is damaged.
        """
        if not isinstance(plain, dict) or "format" not in plain:
            raise UsageError(f"{where} does not describe an exported model")
        if plain["format"] not in ((FORMAT_OF_CLASSES,) if "task" in plain else _READABLE):
            raise UsageError(f"{where} was written by another version of pneumo (format {plain['format']!r})")
        try:
            size = plain["input"]["size"]
            if not (type(size) is int and 1 <= size <= _LARGEST):
                raise ValueError(f"image size {size!r} px")
            rule = rule_from_state(_unpacked(plain["rule"]), (), "binary")
        except PneumoError as error:
            raise PneumoError(f"{where} is damaged: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PneumoError(f"{where} is damaged: {type(error).__name__}: {error}") from error
        derived = ("format", "task", "classes", "input", "outputs", "rule")
        return cls(rule, size, {name: value for name, value in plain.items() if name not in derived})

    def text(self) -> str:
        """As one JSON document."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def output_names(task: Task) -> tuple[str, str]:
    """The names of a graph's outputs: logits, [B] or [B, K], and probabilities of the same shape."""
    return ("logit", "probability") if task == "binary" else ("logits", "probabilities")


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / DESCRIPTION).is_file()


def unrelated_files(path: Path) -> list[str]:
    """The files in a bundle's folder that do not belong to the bundle, as relative names, sorted.

    Those that belong are the files that an export writes and those that the description lists; an empty ``.lock``
    remains when the bundle has been read as a run. For a missing folder the list is empty.
    """
    try:
        described = read_description(path / DESCRIPTION).get("files")
    except PneumoError:  # damaged: then only the files of every bundle count
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
    """Whether a path looks like a bundle or an ONNX file.

    Raises:
        UsageError: it is a torch.export program, which could run code.
    """
    if path.suffix.lower() == ".pt2":
        raise UsageError(
            f"{path}: torch.export programs are not read, because torch unpickles parts of them, which can run any "
            "code; use the run, its ONNX file or its bundle"
        )
    return is_bundle(path) or (path.suffix.lower() == ".onnx" and not path.is_dir())


def graph_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The graph's input, float32 [B, 1, S, S] from 0 to 1, for gray levels uint8 [B, S, S]."""
    return images[:, None].astype(np.float32) / np.float32(255)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UsageError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def read_description(path: Path) -> dict[str, Any]:
    """The JSON object in a description's file; empty where it holds another JSON value.

    Raises:
        UsageError: it is missing or cannot be read.
        PneumoError: it is not JSON.
    """
    try:
        described = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: it is not JSON") from error
    return described if isinstance(described, dict) else {}


def check_digest(path: Path, described: Mapping[str, Any]) -> None:
    """Detect damage, not forgery.

    Raises:
        PneumoError: the file is missing, or its SHA-256 is not the description's.
    """
    files = described.get("files")
    entry = files.get(path.name) if isinstance(files, dict) else None
    if not path.is_file():
        raise PneumoError(f"the bundle {path.parent} is damaged: it has no {path.name}")
    if not isinstance(entry, dict) or entry.get("sha256") != file_digest(path):
        raise PneumoError(f"the bundle {path.parent} is damaged: {path.name} does not match {DESCRIPTION}")


def _outputs(rule: Rule) -> tuple[str, str]:
    """What the outputs are, in words."""
    if isinstance(rule, DecisionRule):
        negative, positive = rule.classes
        return (
            f"float32 [batch], of {positive} against {negative}; {positive} is predicted from an operating point's "
            "logit_threshold on",
            f"float32 [batch], of {positive}: the sigmoid of logit / temperature + bias, {_holds_for(rule)}",
        )
    shape = f"float32 [batch, {len(rule.classes)}], one for each of the classes"
    calibrated = "calibrated on validation images" if rule.is_calibrated else "not calibrated"
    if rule.task == "multilabel":
        return (
            f"{shape}; a label is predicted from its own logit_threshold of an operating point on",
            f"{shape}: the sigmoid of logit / temperature + bias of the class, {calibrated}",
        )
    return (
        f"{shape}; the class with the largest score - logit_threshold is predicted, where a score is log p - "
        "log(1 - p) for the softmax p of the logits (thresholds 0: the class with the largest logit)",
        f"{shape}, their sum is 1: the softmax of logit / temperature + bias of the class, {calibrated}",
    )


def thresholds(rule: Rule) -> dict[str, float | list[float]]:
    """The threshold of each operating point, or the thresholds of its K classes."""
    if isinstance(rule, MultiRule):
        return {point.name: list(point.logit_thresholds) for point in rule.points}
    return {point.name: point.logit_threshold for point in rule.points}


def _holds_for(rule: DecisionRule) -> str:
    if not rule.is_calibrated:
        return "not calibrated"
    return (
        f"for a prevalence of {rule.prevalence:.1%} of {rule.classes[1]}, as in the images of the calibration"
    )


def _packed(value: Any) -> Any:
    """Tensors as their type, shape and bytes (little-endian, base64); other values as they are."""
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().contiguous().numpy()
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        encoded = base64.b64encode(data).decode("ascii")
        return {"tensor": str(array.dtype), "shape": list(array.shape), "base64": encoded}
    if isinstance(value, Mapping):
        return {name: _packed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item) for item in value]
    return value


def _unpacked(value: Any) -> Any:
    """The inverse of :func:`_packed`. Raises KeyError, TypeError or ValueError where a tensor is damaged."""
    if isinstance(value, dict) and "tensor" in value:
        dtype = _DTYPES[value["tensor"]]
        shape = [int(length) for length in value["shape"]]
        data = base64.b64decode(value["base64"], validate=True)
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for {value['tensor']} {shape}")
        array = np.frombuffer(data, np.dtype(value["tensor"]).newbyteorder("<")).reshape(shape)
        return torch.from_numpy(array.astype(value["tensor"]))
    if isinstance(value, dict):
        return {name: _unpacked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return value
