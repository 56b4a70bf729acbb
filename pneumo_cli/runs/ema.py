"""A moving average of the weights, with which a run is judged and which its best checkpoint holds.

Single steps of training throw the decision threshold about; their average moves slowly and usually generalises
better (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv 1703.01780).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """An exponential moving average of parameters and buffers: ``average <- d * average + (1 - d) * current``.

    The decay d begins small and rises to its setting, min(decay, (1 + n) / (10 + n)) after n updates, so that the
    random start is soon forgotten. Buffers that are counted and not measured (integers) are copied.

    Args:
        model: whose copy it starts from.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        super().__init__(model, multi_avg_fn=self._blend, use_buffers=True)
        self.module.requires_grad_(False)

    def _blend(self, average: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        weight = 1 - min(self.decay, (1 + count) / (10 + count))
        if average[0].is_floating_point():
            torch._foreach_lerp_(list(average), list(current), weight)
        else:
            for kept, new in zip(average, current, strict=True):
                kept.copy_(new)
