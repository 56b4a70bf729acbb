"""Predicting with an exported model: its ONNX graph in onnxruntime, without the run and its plugins."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.values import ValuePredictor, Values
from pneumo_cli.plugins.requests import PredictorRequest
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runtime.json_values import mapping
from pneumo_cli.runtime.threads import limit_threads, usable_cores
from pneumo_export import bundle
from pneumo_export.bundle import DESCRIPTION, is_bundle
from pneumo_export.description import INPUT, KEY, AnyDescription, Description, ValueDescription, read_plain

_FACTS = ("model", "checkpoint", "epoch", "dataset", "synthetic", "data_fingerprint")
"""Facts of the description that a predictor repeats."""


class OnnxPredictor(Predictor):
    """An exported classifier, run by onnxruntime in fp32.

    Args:
        model: read by :func:`read_onnx`.
        point: the name of an operating point; empty: the model's own.

    Raises:
        UsageError: there is no such operating point.
    """

    def __init__(self, model: OnnxModel, point: str = "") -> None:
        self._model = model
        description = model.description
        assert isinstance(description, Description)
        self.rule = description.rule
        self.point = self.rule.named(point) if point else self.rule.point
        self.sizes = (description.images.size,)
        self.channels, self.bits = description.images.channels, description.images.bits
        self.facts = model.facts

    @property
    def weights(self) -> str:
        """The digest in the description; empty in descriptions of earlier versions."""
        return self._model.weights

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits, [B] or [B, K]: those of the run in fp32, within 1e-4."""
        (logits,) = self._model.outputs(images[self.sizes[0]]).values()
        if not np.isfinite(logits).all():
            raise PneumoError(f"{self._model.path} gives no finite logits")
        return logits

    def maps(self, images: Sized, positive: NDArray[np.bool_ | np.int64]) -> NDArray[np.float32]:
        """Raise UsageError: Grad-CAM needs the network, not an ONNX graph."""
        raise no_maps(self._model.path)


class OnnxValues(ValuePredictor):
    """An exported model of numbers and masks, run by onnxruntime in fp32.

    Args:
        model: read by :func:`read_onnx`.
    """

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        description = model.description
        assert isinstance(description, ValueDescription)
        self.units, self.masks = description.units, tuple(description.masks)
        self.sizes = (description.images.size,)
        self.channels, self.bits = description.images.channels, description.images.bits
        self.facts = model.facts

    @property
    def weights(self) -> str:
        """The digest in the description."""
        return self._model.weights

    def values(self, images: Sized) -> Values:
        """Those of the run in fp32, within 1e-4."""
        found = self._model.outputs(images[self.sizes[0]])
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise PneumoError(f"{self._model.path}: the predicted {name} is not finite")
        return found

    def maps(self, images: Sized) -> NDArray[np.float32]:
        """Raise UsageError: Grad-CAM needs the network, not an ONNX graph."""
        raise no_maps(self._model.path)


@dataclass(frozen=True)
class OnnxModel:
    """A graph with its description, loaded into onnxruntime."""

    path: Path
    session: Any
    description: AnyDescription

    @property
    def facts(self) -> dict[str, Any]:
        """Those of a predictor."""
        return {"run": str(self.path), **{name: self.description.facts.get(name) for name in _FACTS}}

    @property
    def weights(self) -> str:
        """The digest of the weights; empty if it is not known."""
        return str(self.description.facts.get("weights") or "")

    def outputs(self, levels: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """See :func:`run_session`."""
        return run_session(self.session, levels, self.description)


def read_onnx(path: Path, checkpoint: str = "best", flags: Mapping[str, Any] | None = None) -> OnnxModel:
    """Read an exported model.

    Args:
        path: an ``.onnx`` file or a bundle.
        checkpoint: the one that is requested; ``best`` accepts any that was exported.
        flags: those of ``device``, ``precision`` and ``threads`` that were given.

    Raises:
        UsageError: no exported model, onnxruntime is missing or does not support a flag, or no such checkpoint.
        PneumoError: the model is damaged.
    """
    if is_bundle(path):
        graph = path / bundle.GRAPH
        described = bundle.read_description(path / DESCRIPTION)
        bundle.check_digest(graph, described)
        description = read_plain(described, str(path / DESCRIPTION))
        session = start_session(bundle.read_file(graph), str(graph), flags or {})
    else:
        session = start_session(bundle.read_file(path), str(path), flags or {})
        description = _embedded_description(session, path)
    _check_signature(session, description, path)
    exported = str(description.facts.get("checkpoint", ""))
    if checkpoint not in ("best", exported):
        raise UsageError(f"{path} holds only the checkpoint {exported}, not {checkpoint}")
    return OnnxModel(path, session, description)


def _check_signature(session: Any, description: AnyDescription, path: Path) -> None:
    inputs = {node.name: list(node.shape[1:]) for node in session.get_inputs()}
    outputs = [node.name for node in session.get_outputs()]
    shape = [*description.images.shape]
    if inputs != {INPUT: shape} or not set(description.compared) <= set(outputs):
        raise PneumoError(
            f"{path} is damaged: its graph does not take the input of its description "
            f"({INPUT} [batch, {', '.join(map(str, shape))}]), or has no output {', '.join(description.compared)}"
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
        raise UsageError(f"{where} needs onnxruntime: {bundle.install_command()}") from error
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
    options.enable_mem_pattern = False  # it keeps a plan of memory for each size of a batch, and is no faster
    options.log_severity_level = 4  # only fatal: everything else is raised
    options.intra_op_num_threads = _threads(int(flags.get("threads") or 0))
    try:
        return onnxruntime.InferenceSession(graph, sess_options=options, providers=providers)
    except Exception as error:  # its class depends on the kind of damage
        reason = " ".join(str(error).split())[:200]
        raise PneumoError(f"{where} cannot be loaded by onnxruntime: {reason}") from error


def _threads(wanted: int) -> int:
    """Limit the threads that decode to a number, and return how many compute.

    Args:
        wanted: 0: the first number of ``OMP_NUM_THREADS``, as torch reads it, else one per usable core.
    """
    limit_threads(wanted)
    stated = re.match(r"\s*0*([1-9]\d{0,3})\s*(,|$)", os.environ.get("OMP_NUM_THREADS", ""), re.ASCII)
    return wanted or (int(stated[1]) if stated else usable_cores())


def run_session(
    session: Any, levels: NDArray[Any], description: AnyDescription
) -> dict[str, NDArray[np.float64]]:
    """What predictors read of a graph's outputs: logits, or numbers and masks.

    Args:
        levels: uint8 or uint16, [B, S, S] or [B, C, S, S].

    Raises:
        PneumoError: the graph fails, or returns another shape.
    """
    names = list(description.compared)
    try:
        found = session.run(names, {INPUT: description.images.graph_input(levels)})
    except Exception as error:
        raise PneumoError(f"the graph fails: {' '.join(str(error).split())[:200]}") from error
    for name, values in zip(names, found, strict=True):
        if values.shape != (len(levels), *description.shape_of(name)):
            raise PneumoError(f"the graph returns {name} {list(values.shape)} for {len(levels)} images")
    return {name: np.asarray(values, np.float64) for name, values in zip(names, found, strict=True)}


def _embedded_description(session: Any, path: Path) -> AnyDescription:
    content = session.get_modelmeta().custom_metadata_map.get(KEY)
    if content is None:
        raise UsageError(f"{path} was not exported by pneumo: its metadata have no entry {KEY!r}")
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{path} is damaged: its metadata are not JSON") from error
    return read_plain(described, str(path))


def open_exported(path: Path, request: PredictorRequest) -> Predictor | ValuePredictor | None:
    """Open a bundle or an ``.onnx`` file; None for everything else.

    A bundle is also a run folder: its PyTorch network is used for overlays, and where onnxruntime is missing.

    Raises:
        UsageError: a torch.export program, or a model that does not support what is requested.
        PneumoError: the model is damaged.
    """
    if not bundle.is_exported(path):
        return None
    if is_bundle(path) and (_needs_network(path, request) or not runtime_installed()):
        from pneumo_cli.inference.run_predictors import run_predictor
        from pneumo_cli.trainers.loading import load_trained

        trained = load_trained(request.registries, RunFolder.open(path), request.checkpoint, request.flags)
        predictor = run_predictor(trained, request.operating_point)
        synthetic = read_json(path / DESCRIPTION).get("synthetic")
        if isinstance(synthetic, bool):
            predictor.facts = {**predictor.facts, "synthetic": synthetic}
        return predictor
    model = read_onnx(path, request.checkpoint, request.flags)
    if isinstance(model.description, ValueDescription):
        if request.overlays and not model.description.masks:
            raise no_maps(path)
        return OnnxValues(model)
    if request.overlays:
        raise no_maps(path)
    return OnnxPredictor(model, request.operating_point)


def _needs_network(path: Path, request: PredictorRequest) -> bool:
    """Whether saliency maps are requested of a bundle. Instead of those, masks are drawn, if it predicts some."""
    predicts = mapping(read_json(path / DESCRIPTION).get("predicts"))
    return request.overlays and not any(mapping(one).get("kind") == "mask" for one in predicts.values())
