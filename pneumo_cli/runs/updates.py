"""Weight updates: loss scaling, gradient accumulation, the sum over ranks, clipping, the optimizer's step."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pneumo_cli.runtime.distributed import Ranks


class Updates:
    """Makes the updates of one run, for each of its optimizers.

    Gradients are summed over ranks here, in one collective, and not by DistributedDataParallel: alternating
    optimizers need no special case, and the model remains the module that was built.

    Args:
        optimizers: by the name that :meth:`make` is called with.
        device_type: ``cpu``, ``cuda`` or ``mps``.
        scaler: of the losses; disabled except in fp16.
        ranks: the processes that share each batch.
        accumulate: batches per update.
        clip_norm: maximum norm of the gradient; 0: no clipping.

    Attributes:
        batch_share: this rank's images of the current batch as a share of all images of its update (one batch
            over all ranks, or ``accumulate`` of them).
        last_step: whether the current step is the last of its epoch, which completes every update.
    """

    def __init__(
        self,
        optimizers: Mapping[str, torch.optim.Optimizer],
        *,
        device_type: str,
        scaler: torch.amp.GradScaler,
        ranks: Ranks,
        accumulate: int,
        clip_norm: float,
    ) -> None:
        self.scaler = scaler
        self.batch_share = 1.0
        self.last_step = False
        self._optimizers = optimizers
        self._device_type = device_type
        self._ranks = ranks
        self._accumulate = accumulate
        self._clip_norm = clip_norm
        self._pending: dict[str, int] = {}

    @property
    def complete(self) -> bool:
        """Whether no accumulated gradient is pending, so that a checkpoint is complete."""
        return not any(self._pending.values())

    def make(self, loss: torch.Tensor, name: str) -> None:
        """Make one update, or add to it; see :meth:`pneumo_cli.runs.run.Run.optimize`."""
        optimizer = self._optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        pending = self._pending.get(name, 0)
        if pending == 0:
            optimizer.zero_grad(set_to_none=True)
        # Batches of one update, and ranks' shares of a batch, may differ in size: weighted by their number of
        # images, the gradients sum to that of the mean over all images of the update.
        with torch.autocast(self._device_type, enabled=False):
            self.scaler.scale(loss * self.batch_share).backward(inputs=parameters)
        self._pending[name] = pending + 1
        if self._pending[name] < self._accumulate and not self.last_step:
            return
        self._pending[name] = 0
        self._ranks.sum_gradients(parameters)
        if self._clip_norm:
            self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
