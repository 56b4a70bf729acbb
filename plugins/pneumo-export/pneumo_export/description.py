"""The description of an exported model: what its graph takes and gives, and how that is read.

It is in the metadata of an ``.onnx`` file, and in a bundle's ``model.json``; :mod:`pneumo_export.bundle` reads the
latter.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.rule import MultiRule, Rule, rule_from_state
from pneumo_cli.runtime.json_values import mapping
from pneumo_cli.runtime.percentages import share

FORMAT, FORMAT_OF_CLASSES, FORMAT_OF_VALUES = 2, 3, 4
"""The version of descriptions: of two classes; of K classes or labels, which version 0.2 cannot read; of numbers
and masks, or of other images than gray ones of 8 bits, which earlier versions cannot read."""
_READABLE = (1, FORMAT)  # format 1 has no bias: 0
KEY = "pneumo"
"""The entry of an ONNX file's metadata that holds the description, as JSON."""
INPUT = "images"

_LARGEST = 4096  # pixels, height and width of an image
_MOST_CHANNELS = 64
_DERIVED = ("format", "task", "classes", "predicts", "input", "outputs", "rule")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Images:
    """What an exported graph takes.

    Attributes:
        size: height and width, in pixels.
        channels: 1 gray, 3 red, green and blue, or one for each view.
        bits: 8 or 16.
    """

    size: int
    channels: int = 1
    bits: int = 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image in the graph's input."""
        return self.channels, self.size, self.size

    @property
    def usual(self) -> bool:
        """Whether they are gray images of 8 bits, which all versions know."""
        return (self.channels, self.bits) == (1, 8)

    @property
    def white(self) -> int:
        """The largest level."""
        return (1 << self.bits) - 1

    def graph_input(self, levels: NDArray[Any]) -> NDArray[np.float32]:
        """The graph's input, float32 [B, C, S, S] from 0 to 1, for uint8 or uint16 [B, S, S] or [B, C, S, S]."""
        return levels.reshape(-1, *self.shape).astype(np.float32) / np.float32(self.white)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        colors = {1: "gray (ITU-R BT.601 luminance)", 3: "red, green and blue"}
        color = colors.get(self.channels, f"{self.channels} channels")
        return {
            "name": INPUT,
            "size": self.size,
            **({} if self.usual else {"channels": self.channels, "bits": self.bits}),
            "shape": ["batch", *self.shape],
            "dtype": "float32",
            "range": [0.0, 1.0],
            "preprocessing": f"Upright; {color}, {self.bits} bits; resized to a square whatever the aspect ratio, "
            f"bilinear with antialiasing; divided by {self.white}. Normalisation is part of the graph.",
        }

    @classmethod
    def from_plain(cls, plain: Any) -> Images:
        """The inverse of :meth:`plain`. Raises KeyError, TypeError or ValueError."""
        size, channels, bits = plain["size"], plain.get("channels", 1), plain.get("bits", 8)
        if not (type(size) is int and 1 <= size <= _LARGEST):
            raise ValueError(f"image size {size!r} px")
        if not (type(channels) is int and 1 <= channels <= _MOST_CHANNELS and bits in (8, 16)):
            raise ValueError(f"images of {channels!r} channels and {bits!r} bits")
        return cls(size, channels, bits)


@dataclass(frozen=True)
class Description:
    """The description of an exported classifier.

    Attributes:
        rule: how its logits become probabilities and decisions.
        images: what it takes.
        facts: everything else, JSON-compatible: model, training data and software, checks, results.
    """

    rule: Rule
    images: Images
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs: logits, [B] or [B, K], and probabilities of the same shape."""
        return ("logit", "probability") if self.rule.task == "binary" else ("logits", "probabilities")

    @property
    def compared(self) -> tuple[str, ...]:
        """The outputs that a predictor of the exported model reads."""
        return self.outputs[:1]

    def shape_of(self, output: str) -> tuple[int, ...]:
        """The shape of an output for one image."""
        return () if self.rule.task == "binary" else (len(self.rule.classes),)

    def plain(self) -> dict[str, Any]:
        """As JSON values; the long, machine-readable rule comes last."""
        rule = self.rule.state() | {"baseline": {}}  # only reports use it
        binary = self.rule.task == "binary"
        own = FORMAT if binary else FORMAT_OF_CLASSES
        return {
            "format": own if self.images.usual else FORMAT_OF_VALUES,
            **self.facts,
            **({} if binary else {"task": self.rule.task}),
            "classes": list(self.rule.classes),
            "input": self.images.plain(),
            "outputs": dict(zip(self.outputs, _outputs(self.rule), strict=True)),
            "rule": _packed(rule),
        }

    def text(self) -> str:
        """As one JSON document."""
        return _text(self.plain())


@dataclass(frozen=True)
class ValueDescription:
    """The description of an exported model of numbers and masks.

    Attributes:
        units: what it predicts: the unit of each number, perhaps empty; of a mask empty.
        masks: which of them are masks.
        images, facts: as of a :class:`Description`.
    """

    units: Mapping[str, str]
    masks: Sequence[str]
    images: Images
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs: numbers [B], and probabilities of masks [B, S, S]."""
        return tuple(self.units)

    @property
    def compared(self) -> tuple[str, ...]:
        """All of them."""
        return self.outputs

    def shape_of(self, output: str) -> tuple[int, ...]:
        """The shape of an output for one image."""
        return (self.images.size, self.images.size) if output in self.masks else ()

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        side = self.images.size
        predicts: dict[str, dict[str, str]] = {}
        outputs = {}
        for name, unit in self.units.items():
            if name in self.masks:
                predicts[name] = {"kind": "mask"}
                outputs[name] = (
                    f"float32 [batch, {side}, {side}], the probability of each pixel from 0 to 1; in the mask from "
                    "0.5 on"
                )
            else:
                predicts[name] = {"kind": "number", "unit": unit}
                outputs[name] = "float32 [batch]" + (f", in {unit}" if unit else "")
        return {
            "format": FORMAT_OF_VALUES,
            **self.facts,
            "predicts": predicts,
            "input": self.images.plain(),
            "outputs": outputs,
        }

    def text(self) -> str:
        """As one JSON document."""
        return _text(self.plain())


AnyDescription: TypeAlias = Description | ValueDescription


def read_plain(plain: Any, where: str) -> AnyDescription:
    """A description from its JSON values.

    Args:
        where: the source that errors name.

    Raises:
        UsageError: another version of the format, or no description of an exported model.
        PneumoError: it is damaged.
    """
    if not isinstance(plain, dict) or "format" not in plain:
        raise UsageError(f"{where} does not describe an exported model")
    if plain["format"] not in _formats(plain):
        raise UsageError(f"{where} was written by another version of pneumo (format {plain['format']!r})")
    facts = {name: value for name, value in plain.items() if name not in _DERIVED}
    try:
        images = Images.from_plain(plain["input"])
        if "predicts" in plain:
            units = {name: _unit(name, one) for name, one in plain["predicts"].items()}
            masks = [name for name, one in plain["predicts"].items() if one["kind"] == "mask"]
            if not units:
                raise ValueError("it predicts nothing")
            return ValueDescription(units, masks, images, facts)
        rule = rule_from_state(_unpacked(plain["rule"]), (), "binary")
    except PneumoError as error:
        raise PneumoError(f"{where} is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PneumoError(f"{where} is damaged: {type(error).__name__}: {error}") from error
    return Description(rule, images, facts)


def _formats(plain: Mapping[str, Any]) -> tuple[int, ...]:
    """The formats that a description with these entries may have."""
    if "predicts" in plain or "channels" in mapping(plain.get("input")):
        return (FORMAT_OF_VALUES,)
    return (FORMAT_OF_CLASSES,) if "task" in plain else _READABLE


def _unit(name: str, predicted: Any) -> str:
    unit = predicted.get("unit", "")
    if not _NAME.fullmatch(name) or predicted["kind"] not in ("number", "mask") or not isinstance(unit, str):
        raise ValueError(f"the prediction {name!r}: {predicted!r}"[:200])
    return unit


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
    prevalence = f"{share(rule.prevalence, 1)} of {rule.classes[1]}"
    return f"for a prevalence of {prevalence}, as in the images of the calibration"


def _packed(value: Any) -> Any:
    """Tensors and arrays as their type, shape and bytes (little-endian, base64); other values as they are."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        data = value.astype(value.dtype.newbyteorder("<")).tobytes()
        encoded = base64.b64encode(data).decode("ascii")
        return {"tensor": str(value.dtype), "shape": list(value.shape), "base64": encoded}
    if isinstance(value, Mapping):
        return {name: _packed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item) for item in value]
    return value


def _unpacked(value: Any) -> Any:
    """The inverse of :func:`_packed`, with arrays. Raises KeyError, TypeError or ValueError for a damaged one."""
    if isinstance(value, dict) and "tensor" in value:
        if value["tensor"] not in _DTYPES:
            raise KeyError(value["tensor"])
        dtype = np.dtype(value["tensor"])
        shape = [int(length) for length in value["shape"]]
        data = base64.b64decode(value["base64"], validate=True)
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for {value['tensor']} {shape}")
        return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    if isinstance(value, dict):
        return {name: _unpacked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return value
