"""Sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412).

Each step is made twice. The first pass finds the gradient g at the weights w; the second takes the gradient at
``w + rho * g / |g|``, where the loss is higher. With that one w is updated, by whatever optimizer the trainer has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from pneumo_cli import UsageError
from pneumo_cli.api import hookimpl

if TYPE_CHECKING:
    from pneumo_cli.data import Batch
    from pneumo_cli.runs import Run
    from pneumo_sam.settings import SamSettings

Step: TypeAlias = "Callable[[Batch], Mapping[str, Tensor]]"
Optimize: TypeAlias = Callable[[Tensor, str], None]


class SharpnessAware:
    """For trainers that make one update per step. A batch that is accumulated has a neighbourhood of its own."""

    def __init__(self, settings: SamSettings) -> None:
        self._rho = settings.rho
        self._first = True  # of the two passes
        self._weights: dict[Tensor, Tensor] = {}  # as they are; the model has others between the passes

    @hookimpl
    def around_train_step(self, run: Run) -> Callable[[Step, Batch], Mapping[str, Tensor]]:
        """The step twice, with the metrics of the first pass."""
        if len(run.optimizers) != 1:
            raise UsageError(
                f"sam needs a trainer with one optimizer, and {run.spec.name} has {len(run.optimizers)}: "
                "leave out --with sam"
            )
        device = run.device.torch
        devices = [device] if device.type == "cuda" else []

        def twice(train_step: Step, batch: Batch) -> Mapping[str, Tensor]:
            self._first = True
            with torch.random.fork_rng(devices):  # the second pass has the same noise and dropout
                metrics = train_step(batch)
            self._first = False
            try:
                with _statistics_kept(run.model):
                    train_step(batch)
            finally:
                self._return()
            return metrics

        return twice

    @hookimpl
    def around_optimize(self, run: Run) -> Callable[[Optimize, Tensor, str], None]:
        """In the first pass climb; in the second take the gradient, return, and update."""

        def sharp(optimize: Optimize, loss: Tensor, name: str) -> None:
            if self._first:
                self._climb(run.gradients(loss, name))
            else:
                run.backward(loss, name)
                self._return()
                run.update(name)

        return sharp

    @torch.no_grad()
    def _climb(self, gradients: Mapping[Tensor, Tensor]) -> None:
        """Move the weights by rho along the gradient, which is that of all ranks."""
        if self._weights:
            raise UsageError("sam needs a trainer that calls run.optimize once per step")
        self._weights = {weight: weight.clone() for weight in gradients}
        length = torch.nn.utils.get_total_norm(list(gradients.values()))
        for weight, gradient in gradients.items():
            weight.add_(gradient * (self._rho / (length + 1e-12)))
        torch.clear_autocast_cache()  # it holds the weights in bf16 as they were

    @torch.no_grad()
    def _return(self) -> None:
        """Put the weights back, to the bit."""
        for weight, value in self._weights.items():
            weight.copy_(value)
        self._weights = {}


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Within this context, batch normalization leaves its running statistics as they are."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
