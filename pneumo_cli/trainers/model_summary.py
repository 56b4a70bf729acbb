"""A table of a model's layers, as in the report (figure 11): output shapes, parameters, memory.

Computed on the meta device: only shapes, so that the largest network takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

_FLOATS_PER_MEBIBYTE = 1024**2 / 4


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
