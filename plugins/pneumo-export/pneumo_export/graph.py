"""A classifier as a standalone graph: traced, written as ONNX or ``torch.export`` program, and compared.

The graph computes logits and probabilities from gray levels: normalisation, the network, flip TTA where the run
uses it, calibration; in fp32, for any batch size. :mod:`pneumo_export.export` writes it to disk.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data.augmentation import Transform
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.inference.predictors import RunPredictor
from pneumo_cli.trainers.targets import positive_logits
from pneumo_export import bundle
from pneumo_export.bundle import Description
from pneumo_export.predictor import run_session, start_session

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.multi.rule import Rule

TOLERANCE = 1e-4
"""The largest accepted difference of logits; for logits beyond 10, relative to them."""

_BATCHES = (1, 2, 5)  # batch sizes that are compared in addition to _BATCH_SIZE
_BATCH_SIZE = 32
_MAX_BYTES = 2_000_000_000  # of weights: a protobuf message, and so an ONNX file, has at most 2 GiB
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

Answer: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Logits, [B] or [B, K], for uint8 [B, S, S]."""


@dataclass(frozen=True)
class Check:
    """The comparison of an exported graph's logits with the run's own.

    Attributes:
        runtime: the library that ran the graph, with its version.
        images: number of images compared.
        difference: the largest absolute difference.
    """

    runtime: str
    images: int
    difference: float

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "runtime": self.runtime,
            "images": self.images,
            "batches": list(_BATCHES),
            "largest_difference": self.difference,
            "tolerance": TOLERANCE,
        }


class Graph(nn.Module):
    """A classifier from gray levels to logits and probabilities.

    Args:
        model: maps normalised images to outputs.
        transform: maps gray levels from 0 to 255 to normalised images.
        flip_tta: whether logits are averaged over an image and its horizontal flip (flip TTA).
        calibration: applied to a logit before it becomes a probability.
        to_logits: maps outputs to logits, [B] or [B, K].
        task: what is decided.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        flip_tta: bool,
        calibration: Calibration | ClassCalibration,
        to_logits: Callable[[Tensor], Tensor] = positive_logits,
        task: Task = "binary",
    ) -> None:
        super().__init__()
        self.model = model
        self.transform = transform
        self.flip_tta = flip_tta
        self.to_logits = to_logits
        self.exclusive = task == "multiclass"
        self.temperature: float | Tensor
        self.bias: float | Tensor
        if isinstance(calibration, Calibration):
            self.temperature, self.bias = calibration.temperature, calibration.bias
        else:
            temperatures, biases = (torch.from_numpy(one).float() for one in calibration.arrays())
            self.register_buffer("temperature", temperatures, persistent=False)
            self.register_buffer("bias", biases, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, [B] or [B, K] each, for float32 [B, 1, S, S] from 0 to 1."""
        inputs = self.transform(images[:, 0] * 255, torch.arange(images.shape[0]), 0)
        logits = self.to_logits(self.model(inputs))
        if self.flip_tta:
            logits = (logits + self.to_logits(self.model(inputs.flip(-1)))) / 2
        calibrated = logits / self.temperature + self.bias
        return logits, calibrated.softmax(1) if self.exclusive else torch.sigmoid(calibrated)


def probe_images(size: int) -> NDArray[np.uint8]:
    """Generated images to compare logits on: uint8 [16, S, S], flat, ramps, noise of several resolutions."""
    ramp = np.linspace(0, 255, size)
    images = [np.zeros((size, size)), np.full((size, size), 255.0), np.tile(ramp, (size, 1))]
    images.append(np.add.outer(ramp, ramp) / 2)
    generator = torch.Generator().manual_seed(0)
    for cells in (2, 3, 5, 8, 13, 21, 34, 55, 89, 144, size, size):
        noise = torch.rand((1, 1, min(cells, size), min(cells, size)), generator=generator)
        smooth = nn.functional.interpolate(noise, (size, size), mode="bilinear", align_corners=False)
        images.append(255 * smooth[0, 0].double().numpy())
    return np.stack(images).round().astype(np.uint8)


def reference_logits(predictor: RunPredictor, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The run's own logits, [N] or [N, K]."""
    return _batched(lambda batch: predictor.logits({predictor.size: batch}), images)


def trace(predictor: RunPredictor) -> torch.export.ExportedProgram:
    """The graph traced by torch.export, for any batch size.

    Raises:
        PneumoError: the model cannot be traced.
    """
    size = predictor.size
    model = predictor.trained.model.to(memory_format=torch.contiguous_format)
    graph = Graph(
        model,
        predictor.transform,
        predictor.flip_tta,
        predictor.rule.calibration,
        predictor.to_logits,
        predictor.rule.task,
    ).eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                graph,
                (torch.zeros(2, 1, size, size),),
                dynamic_shapes={bundle.INPUT: {0: torch.export.Dim("batch")}},
            )
    except Exception as error:  # a third party's forward may raise anything
        raise PneumoError(
            f"the model {predictor.trained.entry.spec.name} cannot be traced by torch.export: {_reason(error)}"
        ) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # contains paths of this machine
    return program


def onnx_file(program: torch.export.ExportedProgram, predictor: RunPredictor) -> bytes:
    """An ONNX file without its description.

    Raises:
        UsageError: the model is too large.
        PneumoError: it cannot be expressed with ONNX operators.
    """
    size = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if size > _MAX_BYTES:
        raise UsageError(
            f"the model has {size / 1e9:.1f} GB of weights, and an ONNX file at most 2 GB: use --format torch"
        )
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                input_names=[bundle.INPUT],
                output_names=list(bundle.output_names(predictor.rule.task)),
                dynamo=True,
                verbose=False,
            )
            if exported is None:
                raise RuntimeError("torch.onnx.export returned nothing")
            proto = exported.model_proto
    except Exception as error:
        raise PneumoError(
            f"the model {predictor.trained.entry.spec.name} cannot be written as ONNX: {_reason(error)}"
        ) from error
    # The exporter's notes on the origin of each operator are longer than the graph, and contain paths.
    graph = proto.graph
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    content: bytes = proto.SerializeToString()
    return content


def program_file(program: torch.export.ExportedProgram, description: Description) -> bytes:
    """A ``.pt2`` file, with the description among its extra files."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={bundle.DESCRIPTION: description.text()})
    return file.getvalue()


def described_onnx(content: bytes, description: Description, notice: str) -> bytes:
    """An ONNX file with the description in its metadata: as a whole, and its main entries separately."""
    import onnx

    model = onnx.load_model_from_string(content)
    plain = description.plain()
    model.producer_name, model.producer_version = "pneumo", str(plain["pneumo"])
    model.doc_string = f"{plain['title']}. {notice}"
    rule = description.rule
    metadata = {
        "notice": notice,
        **({} if rule.task == "binary" else {"task": rule.task}),
        "classes": rule.classes,
        "size": description.size,
        "preprocessing": plain["input"]["preprocessing"],
        **rule.calibration.plain(),
        "prevalence": rule.prevalence if rule.is_calibrated else None,
        "operating_point": rule.chosen,
        "operating_points": bundle.thresholds(rule),
        bundle.KEY: plain,
    }
    onnx.helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
            for key, value in metadata.items()
        },
    )
    onnx.checker.check_model(model)
    described: bytes = model.SerializeToString()
    return described


def onnx_answer(content: bytes, rule: Rule) -> tuple[str, Answer]:
    """The runtime of an ONNX file, with its version, and a function that computes logits with it."""
    session = start_session(content, "the ONNX graph", {"threads": torch.get_num_threads()})
    return f"onnxruntime {version('onnxruntime')}", lambda images: run_session(session, images, rule)


def program_answer(content: bytes) -> tuple[str, Answer]:
    """Like :func:`onnx_answer`, for a ``.pt2`` file, which has to be our own: torch unpickles parts of it."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        with torch.no_grad():
            logits, _ = module(torch.from_numpy(bundle.graph_input(images)))
        return np.asarray(logits.double().numpy())

    return f"torch {torch.__version__}", answer


def compare(
    answer: tuple[str, Answer], step: str, images: NDArray[np.uint8], expected: NDArray[np.float64]
) -> Check:
    """Compare the logits of all images, in batches of several sizes.

    Raises:
        PneumoError: some logit differs by more than :data:`TOLERANCE`.
    """
    runtime, logits_of = answer
    pairs = [(_batched(logits_of, images), expected)]
    pairs += [(logits_of(images[-size:]), expected[-size:]) for size in _BATCHES]
    largest = 0.0
    for logits, reference in pairs:
        difference = np.abs(logits - reference)
        # An untrained or diverged network has logits of thousands, which fp32 does not represent to 1e-4.
        allowed = TOLERANCE * np.maximum(1.0, np.abs(reference) / 10)
        if not (difference <= allowed).all():
            raise PneumoError(
                f"the exported {step} graph, run by {runtime}, gives other logits than the run (by "
                f"{difference.max():.2g}, where {TOLERANCE:g} is allowed): nothing was written"
            )
        largest = max(largest, float(difference.max()))
    return Check(runtime, len(images), largest)


def _batched(logits_of: Answer, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([logits_of(images[start : start + _BATCH_SIZE]) for start in starts])


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress messages and warnings off stderr."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
