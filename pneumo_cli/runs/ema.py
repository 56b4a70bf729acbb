"""The exponential moving average (EMA) of the weights, with which a run is evaluated.

The decision threshold fluctuates from step to step; averaged weights change slowly and usually generalise better
(Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv 1703.01780).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """An exponential moving average of parameters and buffers: ``average <- d * average + (1 - d) * current``.

    The decay d after n updates is min(decay, (1 + n) / (10 + n)), so that the random initial weights soon lose
    their influence. Integer buffers, which are counts, are copied.

    Args:
        model: copied as the initial average.
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
