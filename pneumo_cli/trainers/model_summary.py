"""A table of a model's layers, as in the report (figure 11): output shapes, parameters, memory.

Computed on the meta device: only shapes, so that the largest network takes milliseconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_FLOATS_PER_MEBIBYTE = 1024**2 / 4
_MOST_RECORDED = 1000


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
        with torch.no_grad():
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
            values = stage.eval()(values)
            count = sum(p.numel() for p in stage.parameters())
            rows.append(
                LayerRow(f"{type(stage).__name__.strip('_')}-{number}", tuple(values.shape[1:]), count)
            )
    return tuple(rows)
