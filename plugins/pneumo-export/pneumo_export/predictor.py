"""Predicting with an exported model: its ONNX graph in onnxruntime, without the run and its plugins."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.predictors import RunPredictor
from pneumo_cli.plugins.requests import PredictorRequest
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.trainers.loading import load_trained
from pneumo_export import bundle
from pneumo_export.bundle import DESCRIPTION, INPUT, Description, is_bundle, output_names

if TYPE_CHECKING:
    from pneumo_cli.evaluation.multi.rule import Rule

_FACTS = ("model", "checkpoint", "epoch", "dataset", "synthetic", "data_fingerprint")
"""Facts of the description that a predictor repeats."""


class OnnxPredictor(Predictor):
    """An exported model, run by onnxruntime in fp32.

    Args:
        path: an ``.onnx`` file or a bundle.
        point: the name of an operating point; empty: the model's own.
        checkpoint: the one that is requested; ``best`` accepts any that was exported.
        flags: those of ``device``, ``precision`` and ``threads`` that were given.

    Raises:
        UsageError: no exported model, onnxruntime is missing or does not support a flag, or no such checkpoint or
            operating point.
        PneumoError: the model is damaged.
    """

    def __init__(
        self, path: Path, point: str = "", checkpoint: str = "best", flags: Mapping[str, Any] | None = None
    ) -> None:
        self._path = path
        if is_bundle(path):
            graph = path / bundle.GRAPH
            described = bundle.read_description(path / DESCRIPTION)
            bundle.check_digest(graph, described)
            description = Description.from_plain(described, str(path / DESCRIPTION))
            self._session = start_session(bundle.read_file(graph), str(graph), flags or {})
        else:
            self._session = start_session(bundle.read_file(path), str(path), flags or {})
            description = _embedded_description(self._session, path)
        self._check_signature(description)
        exported = str(description.facts.get("checkpoint", ""))
        if checkpoint not in ("best", exported):
            raise UsageError(f"{path} holds only the checkpoint {exported}, not {checkpoint}")
        self.rule = description.rule
        self.point = self.rule.named(point) if point else self.rule.point
        self.sizes = (description.size,)
        self.facts = {"run": str(path), **{name: description.facts.get(name) for name in _FACTS}}
        self._weights = str(description.facts.get("weights") or "")

    @property
    def weights(self) -> str:
        """The digest in the description; empty in descriptions of earlier versions."""
        return self._weights

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits, [B] or [B, K]: those of the run in fp32, within 1e-4."""
        logits = run_session(self._session, images[self.sizes[0]], self.rule)
        if not np.isfinite(logits).all():
            raise PneumoError(f"{self._path} gives no finite logits")
        return logits

    def maps(self, images: Sized, positive: NDArray[np.bool_ | np.int64]) -> NDArray[np.float32]:
        """Raise UsageError: Grad-CAM needs the network, not an ONNX graph."""
        raise no_maps(self._path)

    def _check_signature(self, description: Description) -> None:
        size = description.size
        inputs = {node.name: list(node.shape[1:]) for node in self._session.get_inputs()}
        outputs = [node.name for node in self._session.get_outputs()]
        logits, _ = output_names(description.rule.task)
        if inputs != {INPUT: [1, size, size]} or logits not in outputs:
            raise PneumoError(
                f"{self._path} is damaged: its graph does not take the input of its description "
                f"({INPUT} [batch, 1, {size}, {size}]), or has no output {logits}"
            )


def no_maps(path: Path) -> UsageError:
    """The error for Grad-CAM of an ONNX graph."""
    return UsageError(
        f"{path} is an ONNX graph, from which Grad-CAM cannot be computed: use the run, or a bundle"
    )


def runtime_installed() -> bool:
    """Whether onnxruntime is installed."""
    try:
        return importlib.util.find_spec("onnxruntime") is not None
    except ValueError:  # sys.modules holds None for it
        return False


def start_session(graph: bytes, where: str, flags: Mapping[str, Any]) -> Any:
    """Load a graph into onnxruntime.

    Args:
        graph: a serialised ONNX model.
        where: the source that errors name.
        flags: those of ``device``, ``precision`` and ``threads`` that were given.

    Raises:
        UsageError: onnxruntime is missing or does not support a flag.
        PneumoError: it cannot load the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{where} needs onnxruntime: {bundle.INSTALL}") from error
    precision = flags.get("precision", "auto")
    if precision not in ("auto", "fp32"):
        raise UsageError(f"an exported model computes in fp32, not in {precision}")
    device = str(flags.get("device", "cpu"))
    providers = ["CPUExecutionProvider"]
    cuda = "CUDAExecutionProvider"
    if device.partition(":")[0] == "cuda" and cuda in onnxruntime.get_available_providers():
        providers.insert(0, cuda)
    elif device not in ("cpu", "auto"):
        raise UsageError(f"the installed onnxruntime does not run on {device}; use cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # only fatal: everything else is raised
    options.intra_op_num_threads = int(flags.get("threads") or torch.get_num_threads())
    try:
        return onnxruntime.InferenceSession(graph, sess_options=options, providers=providers)
    except Exception as error:  # its class depends on the kind of damage
        reason = " ".join(str(error).split())[:200]
        raise PneumoError(f"{where} cannot be loaded by onnxruntime: {reason}") from error


def run_session(session: Any, images: NDArray[np.uint8], rule: Rule) -> NDArray[np.float64]:
    """Logits, [B] or [B, K], for uint8 [B, S, S].

    Args:
        rule: of the exported model.

    Raises:
        PneumoError: the graph fails, or returns another shape.
    """
    try:
        (logits,) = session.run([output_names(rule.task)[0]], {INPUT: bundle.graph_input(images)})
    except Exception as error:
        raise PneumoError(f"the graph fails: {' '.join(str(error).split())[:200]}") from error
    if logits.shape != (len(images), *(() if rule.task == "binary" else (len(rule.classes),))):
        raise PneumoError(f"the graph returns {list(logits.shape)} for {len(images)} images")
    return np.asarray(logits, np.float64)


def _embedded_description(session: Any, path: Path) -> Description:
    content = session.get_modelmeta().custom_metadata_map.get(bundle.KEY)
    if content is None:
        raise UsageError(f"{path} was not exported by pneumo: its metadata have no entry {bundle.KEY!r}")
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: its metadata are not JSON") from error
    return Description.from_plain(described, str(path))


def open_exported(path: Path, request: PredictorRequest) -> Predictor | None:
    """Open a bundle or an ``.onnx`` file; None for everything else.

    A bundle is also a run folder: its PyTorch network is used for overlays, and where onnxruntime is missing.

    Raises:
        UsageError: a torch.export program, or a model that does not support what is requested.
        PneumoError: the model is damaged.
    """
    if not bundle.is_exported(path):
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
