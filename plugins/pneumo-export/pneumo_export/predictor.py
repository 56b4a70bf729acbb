"""Predicting with what was exported: an ONNX graph in onnxruntime, without torch and without the plugins of the
run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.predictors import RunPredictor
from pneumo_cli.plugins.requests import PredictorRequest
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.trainers.loading import load_trained
from pneumo_export.bundle import (
    DESCRIPTION,
    GRAPH,
    INPUT,
    INSTALL,
    KEY,
    OUTPUTS,
    Description,
    _check_digest,
    _read,
    _read_description,
    graph_input,
    is_bundle,
    is_exported,
)

_TOLD = (
    "model",
    "checkpoint",
    "epoch",
    "dataset",
    "synthetic",
    "data_fingerprint",
)  # to who asks a predictor


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


def _description_within(session: Any, path: Path) -> Description:
    content = session.get_modelmeta().custom_metadata_map.get(KEY)
    if content is None:
        raise UsageError(f"{path} was not exported by pneumo: its metadata have no entry {KEY!r}")
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: its metadata are not JSON") from error
    return Description.from_plain(described, str(path))


def open_exported(path: Path, request: PredictorRequest) -> Predictor | None:
    """Take a bundle or an ``.onnx`` file; None for everything else.

    A bundle is a run's folder too: its network draws overlays, and answers where onnxruntime is missing.

    Raises:
        UsageError: it is an exported model that is not read, or cannot do what is asked for.
        PneumoError: it is damaged.
    """
    if not is_exported(path):
        return None
    if is_bundle(path) and (request.overlays or not runtime_installed()):
        trained = load_trained(request.registries, RunFolder.open(path), request.checkpoint, request.flags)
        predictor = RunPredictor(trained, request.operating_point)
        synthetic = read_json(path / DESCRIPTION).get("synthetic")
        if isinstance(synthetic, bool):
            predictor.facts = {**predictor.facts, "synthetic": synthetic}
        return predictor
    if request.overlays:
        raise no_maps(path)
    return OnnxPredictor(path, request.operating_point, request.checkpoint, request.flags)
