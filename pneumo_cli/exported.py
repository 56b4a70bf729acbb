"""A classifier that was exported: what it says of itself, and how its ONNX graph answers without torch and plugins.

An exported model is an ``.onnx`` file that carries its description in its metadata, or a bundle: a folder with
``model.json`` (the same description, and the SHA-256 of each file), the graph, the weights and a model card.
Writing them is :mod:`pneumo_cli.exporting`. Nothing that is read here can run code: JSON, and a graph for
onnxruntime. A ``torch.export`` program is not read, for torch unpickles parts of it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
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
from pneumo_cli.inference.predictor import Predictor, Sized

FORMAT = 2
_READABLE = (1, FORMAT)  # the first one has no bias, which is 0 there
KEY = "pneumo"
"""The entry of an ONNX file's metadata that holds the description, as JSON."""
DESCRIPTION = "model.json"
GRAPH = "model.onnx"
PROGRAM = "model.pt2"
CARD = "README.md"
INPUT = "images"
OUTPUTS = ("logit", "probability")
INSTALL = "pip install 'pneumo-cli[onnx]'"

_OWN = frozenset(
    (
        *(DESCRIPTION, GRAPH, PROGRAM, CARD, "run.toml", "environment.json"),
        *("checkpoints/best.pt", "checkpoints/manifest.json"),
    )
)
"""Files of every bundle."""
_LARGEST = 4096  # pixels, of an image's side
_TOLD = (
    "model",
    "checkpoint",
    "epoch",
    "dataset",
    "synthetic",
    "data_fingerprint",
)  # to who asks a predictor
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


class OnnxPredictor(Predictor):
    """An exported model, run by onnxruntime in fp32.

    Args:
        path: an ``.onnx`` file or a bundle.
        point: the name of an operating point; empty: the model's own.
        checkpoint: the one that is asked for; ``best`` stands for whatever was exported.
        flags: of ``device``, ``precision`` and ``threads``, what was given.

    Raises:
        UsageError: it is no exported model, onnxruntime is missing or cannot do what is asked for, or there is no
            such operating point.
        PneumoError: it is damaged.
    """

    def __init__(
        self, path: Path, point: str = "", checkpoint: str = "best", flags: Mapping[str, Any] | None = None
    ) -> None:
        self._path = path
        if is_bundle(path):
            described = _read_description(path / DESCRIPTION)
            _check_digest(path / GRAPH, described)
            description: Description | None = Description.from_plain(described, str(path / DESCRIPTION))
            self._session = start_session(_read(path / GRAPH), str(path / GRAPH), flags or {})
        else:
            description = None
            self._session = start_session(_read(path), str(path), flags or {})
        if description is None:
            description = _description_within(self._session, path)
        self._check_signature(description)
        kept = str(description.facts.get("checkpoint", ""))
        if checkpoint not in ("best", kept):
            raise UsageError(f"{path} holds the checkpoint {kept} alone, not {checkpoint}")
        self.rule = description.rule
        self.point = self.rule.named(point) if point else self.rule.point
        self.sizes = (description.size,)
        self.facts = {
            "run": str(path),
            **{name: description.facts.get(name) for name in _TOLD},
        }
        self._weights = str(description.facts.get("weights") or "")

    @property
    def weights(self) -> str:
        """What the description says of them; empty in one of an earlier version."""
        return self._weights

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits of class 1, [B]: those of the run in fp32, to 1e-4."""
        found = run_session(self._session, images[self.sizes[0]])
        if not np.isfinite(found).all():
            raise PneumoError(f"{self._path} gives no finite logits")
        return found

    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Raise UsageError: a graph does not tell what its decisions rest on."""
        raise no_maps(self._path)

    def _check_signature(self, description: Description) -> None:
        size = description.size
        inputs = {one.name: list(one.shape[1:]) for one in self._session.get_inputs()}
        outputs = [one.name for one in self._session.get_outputs()]
        if inputs != {INPUT: [1, size, size]} or OUTPUTS[0] not in outputs:
            raise PneumoError(
                f"{self._path} is damaged: its graph does not take what its description says "
                f"({INPUT} [batch, 1, {size}, {size}])"
            )


def no_maps(path: Path) -> UsageError:
    """The error where maps are wanted of a graph alone."""
    return UsageError(
        f"{path} is an ONNX graph, which cannot tell what a decision rests on: use the run, or a bundle"
    )


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder."""
    return (path / DESCRIPTION).is_file()


def foreign_files(path: Path) -> list[str]:
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


def runtime_installed() -> bool:
    """Whether onnxruntime is there."""
    try:
        return importlib.util.find_spec("onnxruntime") is not None
    except ValueError:  # something has put None into its place
        return False


def start_session(graph: bytes, where: str, flags: Mapping[str, Any]) -> Any:
    """Load a graph into onnxruntime.

    Args:
        graph: a serialised ONNX model.
        where: what errors name.
        flags: of ``device``, ``precision`` and ``threads``, what was given.

    Raises:
        UsageError: onnxruntime is missing or cannot do what is asked for.
        PneumoError: it cannot load the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{where} needs onnxruntime: {INSTALL}") from error
    precision = flags.get("precision", "auto")
    if precision not in ("auto", "fp32"):
        raise UsageError(f"an exported model computes in fp32, not in {precision}")
    device = str(flags.get("device", "cpu"))
    providers = ["CPUExecutionProvider"]
    if (
        device.partition(":")[0] == "cuda"
        and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        providers.insert(0, "CUDAExecutionProvider")
    elif device not in ("cpu", "auto"):
        raise UsageError(f"the installed onnxruntime does not compute on {device}; it does on cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal alone: everything else arrives as an exception
    options.intra_op_num_threads = int(flags.get("threads") or torch.get_num_threads())
    try:
        return onnxruntime.InferenceSession(graph, sess_options=options, providers=providers)
    except Exception as error:  # each kind of damage has a class of its own
        reason = " ".join(str(error).split())[:200]
        raise PneumoError(f"{where} cannot be loaded by onnxruntime: {reason}") from error


def run_session(session: Any, levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logits of class 1, [B], for uint8 [B, S, S].

    Raises:
        PneumoError: the graph fails, or returns another shape.
    """
    try:
        (logits,) = session.run([OUTPUTS[0]], {INPUT: graph_input(levels)})
    except Exception as error:
        raise PneumoError(f"the graph fails: {' '.join(str(error).split())[:200]}") from error
    if logits.shape != (len(levels),):
        raise PneumoError(f"the graph returns {list(logits.shape)} for {len(levels)} images")
    return np.asarray(logits, np.float64)


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


def _description_within(session: Any, path: Path) -> Description:
    content = session.get_modelmeta().custom_metadata_map.get(KEY)
    if content is None:
        raise UsageError(f"{path} was not exported by pneumo: its metadata have no entry {KEY!r}")
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: its metadata are not JSON") from error
    return Description.from_plain(described, str(path))


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
