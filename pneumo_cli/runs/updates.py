"""Weight updates: loss scaling, gradient accumulation, the sum over ranks, clipping, the optimizer's step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from pneumo_cli.runtime.distributed import Ranks

_LOWER = 16.0  # factor by which the scale of a gradient that has overflowed is lowered


class Updates:
    """Makes the updates of one run, for each of its optimizers.

    Gradients are summed over ranks here, in one collective, and not by DistributedDataParallel: alternating
    optimizers need no special case, and the model remains the module that was built.

    Args:
        optimizers: by the name that :meth:`make` is called with.
        device_type: ``cpu``, ``cuda``, ``xpu`` or ``mps``.
        scaler: of the losses; disabled except in fp16.
        ranks: the processes that share each batch.
        accumulate: batches per update.
        clip_norm: maximum norm of the gradient; 0: no clipping.

    Attributes:
        batch_share: this rank's images of the current batch as a share of all images of its update (one batch
            over all ranks, or ``accumulate`` of them).
        rank_share: this rank's images of the current batch as a share of those of all ranks.
        last_step: whether the current step is the last of its epoch, which completes every update.
        running: whether this class computes gradients or updates weights at the moment.
        counts: how often :meth:`backward` was called with each optimizer's name.
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
        self.rank_share = 1.0
        self.last_step = False
        self.running = False
        self.counts: Counter[str] = Counter()
        self._optimizers = optimizers
        self._device_type = device_type
        self._ranks = ranks
        self._accumulate = accumulate
        self._clip_norm = clip_norm
        self._pending: dict[str, int] = {}
        self._losses: list[Tensor] = []

    @property
    def complete(self) -> bool:
        """Whether no accumulated gradient is pending, so that a checkpoint is complete."""
        return not any(self._pending.values())

    def make(self, loss: Tensor, name: str) -> None:
        """Make one update, or add to it; see :meth:`pneumo_cli.runs.run.Run.optimize`."""
        self.backward(loss, name)
        self.update(name)

    def backward(self, loss: Tensor, name: str) -> None:
        """The first half of :meth:`make`: add the gradient of a batch to that of the update."""
        optimizer = self._optimizer(name)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise ValueError(f"run.optimize takes a 0-d loss with a gradient, not {_described(loss)}")
        parameters = _trainable(optimizer)
        pending = self._pending.get(name, 0)
        if pending == 0:
            _drop_gradients(optimizer)
        self.running = True
        with torch.autocast(self._device_type, enabled=False):
            # Batches of one update, and ranks' shares of a batch, may differ in size: weighted by their number of
            # images, the gradients sum to that of the mean over all images of the update.
            weighted = loss if self.batch_share == 1 else loss * self.batch_share
            self.scaler.scale(weighted).backward(inputs=parameters)
        self.running = False
        self._pending[name] = pending + 1
        self.counts[name] += 1
        self._losses.append(loss.detach())

    def update(self, name: str) -> None:
        """The second half of :meth:`make`: update the weights, if all batches of the update are there."""
        pending = self._pending.get(name, 0)
        if not pending or (pending < self._accumulate and not self.last_step):
            return
        optimizer = self._optimizers[name]
        parameters = _trainable(optimizer)
        self._pending[name] = 0
        self._ranks.sum_gradients(parameters)
        if self._clip_norm:
            self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self.running = True
        self.scaler.step(optimizer)
        self.running = False
        self.scaler.update()
        # Autocast keeps the weights it has cast until the step ends: a GAN's generator would be trained against the
        # discriminator as it was before its update.
        torch.clear_autocast_cache()

    def gradients(self, loss: Tensor, name: str) -> dict[Tensor, Tensor]:
        """See :meth:`pneumo_cli.runs.run.Run.gradients`."""
        parameters = _trainable(self._optimizer(name))
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        while True:
            with torch.autocast(self._device_type, enabled=False):
                scaled = loss * (self.rank_share * scale)
                found = torch.autograd.grad(scaled, parameters, retain_graph=True, allow_unused=True)
            values = [
                torch.zeros_like(parameter) if gradient is None else gradient.detach()
                for parameter, gradient in zip(parameters, found, strict=True)
            ]
            self._ranks.sum_tensors(values)
            if not self.scaler.is_enabled():
                return dict(zip(parameters, values, strict=True))
            # fp16: the scaler skips an update whose gradient overflows; here one is needed, at a lower scale.
            if scale <= 1 or all(bool(value.isfinite().all()) for value in values):
                torch._foreach_div_(values, scale)
                return dict(zip(parameters, values, strict=True))
            scale = max(1.0, scale / _LOWER)

    def _optimizer(self, name: str) -> torch.optim.Optimizer:
        if name not in self._optimizers:
            known = ", ".join(map(repr, self._optimizers))
            raise ValueError(f"there is no optimizer {name!r}; build_optimizers returned {known}")
        return self._optimizers[name]

    def losses_are_finite(self) -> bool:
        """Read the losses that were trained since the last call: waits for the device.

        In fp16, where the scaler skips updates that overflow and lowers its scale, one finite loss is enough.
        """
        losses, self._losses = self._losses, []
        if len(losses) < 2:
            return all(math.isfinite(loss.item()) for loss in losses)
        finite = torch.isfinite(torch.stack([loss.float() for loss in losses]))
        return bool(finite.any() if self.scaler.is_enabled() else finite.all())


def _described(loss: object) -> str:
    if not isinstance(loss, Tensor):
        return f"{type(loss).__name__} {loss!r:.40}"
    if loss.numel() != 1:
        return f"a tensor of shape {list(loss.shape)}: take its mean"
    return "a detached tensor, which no weight can be trained by"


def _drop_gradients(optimizer: torch.optim.Optimizer) -> None:
    """What ``zero_grad`` does, unless a class of its own does more, without its entry in the profiler's record."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        optimizer.zero_grad(set_to_none=True)
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _trainable(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
