"""A table of a model's layers, as in the report (figure 11): output shapes, parameters, memory.

Computed on the meta device: only shapes, so that the largest network takes milliseconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_FLOATS_PER_MEBIBYTE = 1024**2 / 4
_MOST_RECORDED = 1000
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ELEMENTWISE = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid),
)


@dataclass(frozen=True)
class LayerRow:
    """A layer without children, or a stage, in the order of the forward pass.

    Attributes:
        name: type and number, ``Conv2d-1``.
        shape: of the output, without the batch.
        parameters: their number; of a layer those of its own.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class LayerTable:
    """All layers, and the totals.

    Attributes:
        rows: one per call of a layer without children.
        parameters, trainable: counts over the whole module.
        input_mb: one input, in MiB of fp32.
        forward_backward_mb: all outputs of one image and their gradients, in MiB.
        parameters_mb: all parameters, in MiB.
    """

    rows: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    input_mb: float
    forward_backward_mb: float
    parameters_mb: float

    @property
    def total_mb(self) -> float:
        """The report's estimate: input, outputs with gradients, parameters."""
        return self.input_mb + self.forward_backward_mb + self.parameters_mb

    def megabytes(self) -> dict[str, float]:
        """The four sizes by name, in MiB, to two decimals."""
        names = ("input_mb", "forward_backward_mb", "parameters_mb", "total_mb")
        return {name: round(getattr(self, name), 2) for name in names}


def layer_table(model: nn.Module, input_shape: tuple[int, ...]) -> LayerTable:
    """Pass one input of ``input_shape`` (without the batch) through a module on the meta device.

    Args:
        model: on the meta device; left in eval mode.
    """
    rows: list[LayerRow] = []

    def record(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            own = sum(p.numel() for p in module.parameters(recurse=False))
            rows.append(LayerRow(f"{type(module).__name__}-{len(rows) + 1}", tuple(output.shape[1:]), own))

    leaves = [module for module in model.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(record) for leaf in leaves]
    model.eval()
    try:
        with torch.no_grad(), _shapes_alone(model):
            model(torch.empty(1, *input_shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    parameters = sum(p.numel() for p in model.parameters())
    return LayerTable(
        rows=tuple(rows),
        parameters=parameters,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        input_mb=math.prod(input_shape) / _FLOATS_PER_MEBIBYTE,
        forward_backward_mb=2 * sum(math.prod(row.shape) for row in rows) / _FLOATS_PER_MEBIBYTE,
        parameters_mb=parameters / _FLOATS_PER_MEBIBYTE,
    )


@contextmanager
def _shapes_alone(model: nn.Module) -> Iterator[None]:
    """Within it, the common layers of a model on the meta device compute the shape of their output by themselves.

    torch's own rules for some of them import its compiler: a second for the whole program.
    """
    rules: dict[type[nn.Module], Any] = {
        **dict.fromkeys(_CONVOLUTIONS, _convolved),
        **dict.fromkeys(_ELEMENTWISE, _unchanged),
        nn.Linear: _projected,
        nn.MaxPool2d: _pooled,
        nn.AdaptiveAvgPool2d: _averaged,
    }
    changed: list[Any] = [
        module for module in model.modules() if type(module) in rules and "forward" not in vars(module)
    ]
    for module in changed:
        module.forward = partial(rules[type(module)], module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _unchanged(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    return values


def _projected(module: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    """An output of a linear layer's shape; of an input that it refuses, its own error."""
    if not values.ndim or values.shape[-1] != module.in_features:
        return nn.Linear.forward(module, values)
    return values.new_empty(*values.shape[:-1], module.out_features)


def _averaged(module: nn.AdaptiveAvgPool2d, values: torch.Tensor) -> torch.Tensor:
    if module.output_size not in (1, (1, 1)) or values.ndim != 4:
        return nn.AdaptiveAvgPool2d.forward(module, values)
    found: torch.Tensor = values.new_empty(*values.shape[:2], 1, 1)
    return found


def _pooled(module: nn.MaxPool2d, values: torch.Tensor) -> torch.Tensor:
    numbers = (module.kernel_size, module.stride, module.padding, module.dilation)
    kernel, stride, padding, dilation = ((n, n) if isinstance(n, int) else tuple(n) for n in numbers)
    sides = [
        (side + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis, side in enumerate(values.shape[2:])
    ]
    plain = values.ndim == 4 and not module.ceil_mode and not module.return_indices and min(sides) > 0
    found: torch.Tensor
    found = values.new_empty(*values.shape[:2], *sides) if plain else type(module).forward(module, values)
    return found


def _convolved(module: nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
    """An output of a convolution's shape; of an input that it refuses, its own error."""
    sides = len(module.kernel_size)
    if values.ndim != sides + 2 or values.shape[1] != module.in_channels:
        return type(module).forward(module, values)
    shape = []
    for axis, side in enumerate(values.shape[2:]):
        reach = module.dilation[axis] * (module.kernel_size[axis] - 1)
        if isinstance(module.padding, str):
            padding = reach if module.padding == "same" else 0
        else:
            padding = 2 * int(module.padding[axis])
        if side + padding <= reach:
            return type(module).forward(module, values)
        shape.append((side + padding - reach - 1) // module.stride[axis] + 1)
    return values.new_empty(len(values), module.out_channels, *shape)


def recorded_layers(run: Run) -> dict[str, Any]:
    """The layers of a run's model as ``report["model"]["layers"]``; where it cannot be traced, why.

    The model itself stays as it is: its structure is copied, with tensors on the meta device.
    """
    try:
        shape = getattr(run.model, "input_shape", None)
        if shape is None:
            image = run.image_inputs(run.transforms.evaluation)(np.zeros(1, np.int64), 0)
            shape = image.shape[1:]
        table = layer_table(_on_meta(run.model), tuple(map(int, shape)))
    except Exception as error:  # a model may do anything in its forward pass
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return {"rows": [], "lacking": f"it cannot be traced without data: {reason}"}
    return {
        "rows": [{**asdict(row), "shape": list(row.shape)} for row in table.rows[:_MOST_RECORDED]],
        "calls": len(table.rows),
        "input_shape": list(map(int, shape)),
        **table.megabytes(),
    }


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of a model without its numbers."""
    tensors = (*model.parameters(), *model.buffers())
    memo: dict[int, Any] = {
        id(one): nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=one.requires_grad)
        if isinstance(one, nn.Parameter)
        else torch.empty_like(one, device="meta")
        for one in tensors
    }
    return copy.deepcopy(model, memo)


def stage_rows(stages: Sequence[nn.Module], input_shape: tuple[int, ...]) -> tuple[LayerRow, ...]:
    """One row per stage (:func:`pneumo_cli.trainers.backbone.stages_of`), for models with too many layers to list.

    Args:
        stages: on the meta device; left in eval mode.
    """
    rows: list[LayerRow] = []
    values = torch.empty(1, *input_shape, device="meta")
    with torch.no_grad():
        for number, stage in enumerate(stages, 1):
            with _shapes_alone(stage):
                values = stage.eval()(values)
            count = sum(p.numel() for p in stage.parameters())
            rows.append(
                LayerRow(f"{type(stage).__name__.strip('_')}-{number}", tuple(values.shape[1:]), count)
            )
    return tuple(rows)
