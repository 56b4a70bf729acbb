"""A model as a standalone graph: traced, and written as ONNX or ``torch.export`` program.

The graph computes logits and probabilities, or numbers and masks, from levels: normalisation, the network, flip TTA
where the run uses it, calibration; in fp32, for any batch size. :mod:`pneumo_export.verification`
compares it with the run, :mod:`pneumo_export.export` writes it to disk.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from pneumo_cli.data.augmentation import Transform
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.inference.run_predictors import RunPredictor, RunValuePredictor
from pneumo_cli.trainers.targets import positive_logits
from pneumo_export.bundle import DESCRIPTION
from pneumo_export.description import INPUT, KEY, AnyDescription, Description, thresholds

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.multi.rule import Rule

_PLACE = "pneumo.output."
_MAX_BYTES = 2_000_000_000  # of weights: a protobuf message, and so an ONNX file, has at most 2 GiB
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

Exportable: TypeAlias = RunPredictor | RunValuePredictor


class Graph(nn.Module):
    """A classifier from levels to logits and probabilities.

    Args:
        model: maps normalised images to outputs.
        transform: maps stored images to normalised ones.
        flip_tta: whether logits are averaged over an image and its horizontal flip (flip TTA).
        calibration: applied to a logit before it becomes a probability.
        to_logits: maps outputs to logits, [B] or [B, K].
        task: what is decided.
        bits: of the stored images.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        flip_tta: bool,
        calibration: Calibration | ClassCalibration,
        to_logits: Callable[[Tensor], Tensor] = positive_logits,
        task: Task = "binary",
        bits: int = 8,
    ) -> None:
        super().__init__()
        self.bits = bits
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
        """Return logits and probabilities, [B] or [B, K] each, for float32 [B, C, S, S] from 0 to 1."""
        inputs = self.transform(stored(images, self.bits), torch.arange(images.shape[0]), 0)
        logits = self.to_logits(self.model(inputs))
        if self.flip_tta:
            logits = (logits + self.to_logits(self.model(inputs.flip(-1)))) / 2
        calibrated = logits / self.temperature + self.bias
        return logits, calibrated.softmax(1) if self.exclusive else torch.sigmoid(calibrated)


class ValueGraph(nn.Module):
    """A model of numbers and masks, from levels to what it predicts.

    Args:
        model: maps normalised images to outputs.
        transform: maps stored images to normalised ones.
        to_values: maps outputs to predictions by name.
        names: of the predictions, in the order of the graph's outputs.
        bits: of the stored images.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        to_values: Callable[[Any], Mapping[str, Tensor]],
        names: Sequence[str],
        bits: int = 8,
    ) -> None:
        super().__init__()
        self.model = model
        self.transform = transform
        self.to_values = to_values
        self.names = tuple(names)
        self.bits = bits

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return numbers [B] and masks [B, S, S] for float32 [B, C, S, S] from 0 to 1."""
        inputs = self.transform(stored(images, self.bits), torch.arange(images.shape[0]), 0)
        found = self.to_values(self.model(inputs))
        return tuple(found[name].float() for name in self.names)


def stored(images: Tensor, bits: int) -> Tensor:
    """A graph's input as the images that a run stores, which its transform is written for.

    Args:
        images: float32 [B, C, S, S] from 0 to 1.

    Returns:
        uint8 or uint16, [B, S, S] for one channel, else [B, C, S, S].
    """
    white = (1 << bits) - 1
    levels: Tensor = (images * white).round().clamp(0, white)
    levels = levels.to(torch.uint8 if bits == 8 else torch.uint16)
    return levels[:, 0] if images.shape[1] == 1 else levels


def trace(predictor: Exportable) -> torch.export.ExportedProgram:
    """The graph traced by torch.export, for any batch size.

    Raises:
        PneumoError: the model cannot be traced.
    """
    size, channels, bits = predictor.size, predictor.channels, predictor.bits
    model = predictor.trained.model.to(memory_format=torch.contiguous_format)
    graph: nn.Module
    if isinstance(predictor, RunPredictor):
        calibration, task = predictor.rule.calibration, predictor.rule.task
        graph = Graph(
            model, predictor.transform, predictor.flip_tta, calibration, predictor.to_logits, task, bits
        )
    else:
        graph = ValueGraph(model, predictor.transform, predictor.to_values, tuple(predictor.units), bits)
    graph.eval()
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                graph,
                (torch.zeros(2, channels, size, size),),
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
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


def onnx_file(program: torch.export.ExportedProgram, description: AnyDescription) -> bytes:
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
        with quiet():
            exported = torch.onnx.export(
                program,
                input_names=[INPUT],
                # Not the names of the predictions: the exporter may have given these to values inside the graph.
                output_names=[f"{_PLACE}{place}" for place in range(len(description.outputs))],
                dynamo=True,
                verbose=False,
            )
            if exported is None:
                raise RuntimeError("torch.onnx.export returned nothing")
            proto = exported.model_proto
    except Exception as error:
        raise PneumoError(
            f"the model {description.facts.get('model')} cannot be written as ONNX: {_reason(error)}"
        ) from error
    # The exporter's notes on the origin of each operator are longer than the graph, and contain paths.
    graph = proto.graph
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    names = {name: f"{name}.inner" for name in description.outputs}
    names |= {f"{_PLACE}{place}": name for place, name in enumerate(description.outputs)}
    _rename(graph, names)
    content: bytes = proto.SerializeToString()
    return content


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values of an ONNX graph and of those within it (the branches of an If)."""
    for node in graph.node:
        for listed in (node.input, node.output):
            listed[:] = [names.get(name, name) for name in listed]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)
    for item in (*graph.value_info, *graph.initializer, *graph.output):
        item.name = names.get(item.name, item.name)


def program_file(program: torch.export.ExportedProgram, description: AnyDescription) -> bytes:
    """A ``.pt2`` file, with the description among its extra files."""
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file, extra_files={DESCRIPTION: description.text()})
    return file.getvalue()


def described_onnx(content: bytes, description: AnyDescription, notice: str) -> bytes:
    """An ONNX file with the description in its metadata: as a whole, and its main entries separately."""
    import onnx

    model = onnx.load_model_from_string(content)
    plain = description.plain()
    model.producer_name, model.producer_version = "pneumo", str(plain["pneumo"])
    model.doc_string = f"{plain['title']}. {notice}"
    metadata: dict[str, Any] = {"notice": notice}
    if isinstance(description, Description):
        metadata |= _of_rule(description.rule)
    else:
        metadata["predicts"] = plain["predicts"]
    metadata |= {
        "size": description.images.size,
        "preprocessing": plain["input"]["preprocessing"],
        KEY: plain,
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


def _of_rule(rule: Rule) -> dict[str, Any]:
    return {
        **({} if rule.task == "binary" else {"task": rule.task}),
        "classes": rule.classes,
        **rule.calibration.plain(),
        "prevalence": rule.prevalence if rule.is_calibrated else None,
        "operating_point": rule.chosen,
        "operating_points": thresholds(rule),
    }


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
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
