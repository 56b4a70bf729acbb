"""A classifier as a graph that stands alone: traced, written as ONNX or ``torch.export`` program, and compared.

The graph leads from grey levels to logit and probability: normalisation, mirror images where the run was judged
with them, the network, calibration; in fp32, for any number of images. Where it goes and what lies beside it is
:mod:`pneumo_export.export`.
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
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data.augmentation import Transform
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.inference.predictors import RunPredictor
from pneumo_cli.trainers.targets import positive_logits
from pneumo_export import bundle
from pneumo_export.bundle import Description
from pneumo_export.predictor import run_session, start_session

TOLERANCE = 1e-4
"""The largest difference of logits that is accepted; of logits beyond 10, in proportion to them."""

_BATCHES = (1, 2, 5)  # sizes of the batches that are compared beside large ones
_AT_ONCE = 32  # images
_MOST = 2_000_000_000  # bytes of weights: a protobuf message, and so an ONNX file, has at most 2 GiB
_CHATTY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

Answer: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Logits of class 1, [B], for uint8 [B, S, S]."""


@dataclass(frozen=True)
class Check:
    """How an exported graph compares with the run's own logits.

    Attributes:
        runtime: what ran it, with its version.
        images: how many were compared.
        difference: the largest difference of two logits.
    """

    runtime: str
    images: int
    difference: float

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "runtime": self.runtime,
            "images": self.images,
            "batches": list(_BATCHES),
            "largest_difference": self.difference,
            "tolerance": TOLERANCE,
        }


class Graph(nn.Module):
    """A classifier from grey levels to what is said of an image.

    Args:
        model: maps normalised images to outputs.
        transform: makes normalised images of grey levels 0 to 255.
        mirrored: whether the logit is the mean of those of an image and its mirror image.
        calibration: what is done to a logit before it becomes a probability.
    """

    def __init__(
        self, model: nn.Module, transform: Transform, mirrored: bool, calibration: Calibration
    ) -> None:
        super().__init__()
        self.model = model
        self.transform = transform
        self.mirrored = mirrored
        self.calibration = calibration

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities of class 1, [B] each, for float32 [B, 1, S, S] from 0 to 1."""
        inputs = self.transform(images[:, 0] * 255, torch.arange(images.shape[0]), 0)
        logits = positive_logits(self.model(inputs))
        if self.mirrored:
            logits = (logits + positive_logits(self.model(inputs.flip(-1)))) / 2
        return logits, torch.sigmoid(logits / self.calibration.temperature + self.calibration.bias)


def probe_images(size: int) -> NDArray[np.uint8]:
    """Images to compare on where no real ones are at hand: uint8 [16, S, S], flat, ramps, noise of every grain."""
    ramp = np.linspace(0, 255, size)
    images = [np.zeros((size, size)), np.full((size, size), 255.0), np.tile(ramp, (size, 1))]
    images.append(np.add.outer(ramp, ramp) / 2)
    drawn = torch.Generator().manual_seed(0)
    for grain in (2, 3, 5, 8, 13, 21, 34, 55, 89, 144, size, size):
        noise = torch.rand((1, 1, min(grain, size), min(grain, size)), generator=drawn)
        smooth = nn.functional.interpolate(noise, (size, size), mode="bilinear", align_corners=False)
        images.append(255 * smooth[0, 0].double().numpy())
    return np.stack(images).round().astype(np.uint8)


def reference_logits(predictor: RunPredictor, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The run's own logits, [N], a few images at a time."""
    parts = [images[at : at + _AT_ONCE] for at in range(0, len(images), _AT_ONCE)]
    return np.concatenate([predictor.logits({predictor.size: part}) for part in parts])


def trace(predictor: RunPredictor) -> torch.export.ExportedProgram:
    """The graph as torch.export sees it, for any number of images.

    Raises:
        PneumoError: the model does something that cannot be traced.
    """
    size = predictor.size
    model = predictor.trained.model.to(memory_format=torch.contiguous_format)
    graph = Graph(model, predictor.transform, predictor.mirrored, predictor.rule.calibration).eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                graph,
                (torch.zeros(2, 1, size, size),),
                dynamic_shapes={bundle.INPUT: {0: torch.export.Dim("batch")}},
            )
    except Exception as error:  # whatever a third party's forward raises, and torch's own many kinds
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PneumoError(
            f"the model {predictor.trained.entry.spec.name} cannot be traced by torch.export: {reason}"
        ) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # names the folders of this machine
    return program


def onnx_file(program: torch.export.ExportedProgram, predictor: RunPredictor) -> bytes:
    """An ONNX file without its description.

    Raises:
        UsageError: the model is too large.
        PneumoError: it does something that ONNX has no operator for.
    """
    size = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if size > _MOST:
        raise UsageError(
            f"the model has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2 at most: --format torch"
        )
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                input_names=[bundle.INPUT],
                output_names=list(bundle.OUTPUTS),
                dynamo=True,
                verbose=False,
            )
            if made is None:
                raise RuntimeError("torch.onnx.export returned nothing")
            proto = made.model_proto
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PneumoError(
            f"the model {predictor.trained.entry.spec.name} cannot be written as ONNX: {reason}"
        ) from error
    # What the exporter notes of how each operator came about: longer than the graph, and of this machine.
    graph = proto.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    content: bytes = proto.SerializeToString()
    return content


def program_file(program: torch.export.ExportedProgram, description: Description) -> bytes:
    """A ``.pt2`` file, with what the model says of itself among its extra files."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={bundle.DESCRIPTION: description.text()})
    return file.getvalue()


def described_onnx(content: bytes, description: Description, notice: str) -> bytes:
    """An ONNX file with what the model says of itself in its metadata, once whole and once in pieces for people."""
    import onnx

    model = onnx.load_model_from_string(content)
    plain = description.plain()
    model.producer_name, model.producer_version = "pneumo", str(plain["pneumo"])
    model.doc_string = f"{plain['title']}. {notice}"
    rule = description.rule
    readable = {
        "notice": notice,
        "classes": rule.classes,
        "size": description.size,
        "preprocessing": plain["input"]["preprocessing"],
        **rule.calibration.plain(),
        "prevalence": rule.prevalence if rule.is_calibrated else None,
        "operating_point": rule.chosen,
        "operating_points": {point.name: point.logit_threshold for point in rule.points},
        bundle.KEY: plain,
    }
    onnx.helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
            for key, value in readable.items()
        },
    )
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def onnx_answer(content: bytes) -> tuple[str, Answer]:
    """What runs an ONNX file, with its version, and how it answers."""
    session = start_session(content, "the ONNX graph", {"threads": torch.get_num_threads()})
    return f"onnxruntime {version('onnxruntime')}", lambda levels: run_session(session, levels)


def program_answer(content: bytes) -> tuple[str, Answer]:
    """What runs a ``.pt2`` file of our own making, with its version, and how it answers."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def answer(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
        with torch.no_grad():
            logits, _ = module(torch.from_numpy(bundle.graph_input(levels)))
        return np.asarray(logits.double().numpy())

    return f"torch {torch.__version__}", answer


def compare(
    answer: tuple[str, Answer], step: str, images: NDArray[np.uint8], wanted: NDArray[np.float64]
) -> Check:
    """Ask for all images, in batches of several sizes.

    Raises:
        PneumoError: some logit is another one.
    """
    runtime, ask = answer
    found = np.concatenate([ask(images[at : at + _AT_ONCE]) for at in range(0, len(images), _AT_ONCE)])
    pairs = [(found, wanted)]
    pairs += [(ask(images[-size:]), wanted[-size:]) for size in _BATCHES]
    difference = 0.0
    for ours, theirs in pairs:
        apart = np.abs(ours - theirs)
        # An untrained or exploding network has logits of thousands, which fp32 cannot hold to 1e-4.
        allowed = TOLERANCE * np.maximum(1.0, np.abs(theirs) / 10)
        if not (apart <= allowed).all():
            raise PneumoError(
                f"the exported {step} graph, run by {runtime}, gives other logits than the run (by "
                f"{apart.max():.2g}, where {TOLERANCE:g} is allowed): nothing was written"
            )
        difference = max(difference, float(apart.max()))
    return Check(runtime, len(images), difference)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own progress off stderr."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
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
