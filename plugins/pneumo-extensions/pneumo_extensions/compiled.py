"""Compilation of a training step's forward and backward passes with ``torch.compile``.

What a trainer calls of its model, the whole or parts of it, as a GAN's two networks, becomes one graph each. Only
for the time of a training step, and only for whole batches: evaluation, prediction, export and checkpoints know
nothing of it, and the last, smaller batch of an epoch is computed as without it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pneumo_cli import UsageError
from pneumo_cli.api import hookimpl
from pneumo_cli.data import Batch
from pneumo_cli.installation import pip_install
from pneumo_cli.runs import Run
from pneumo_extensions.settings import CompileSettings

Step: TypeAlias = Callable[[Batch], Mapping[str, Tensor]]
Forward: TypeAlias = Callable[..., Any]

_TORCHS_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch")
_GRAPHS = 64  # that torch makes of one function before it gives up and computes without


class Compile:
    """Compiles each part of the model that a training step calls, in the first step that calls it.

    Attributes:
        backend: of ``torch.compile``.
    """

    backend = "inductor"

    def __init__(self, settings: CompileSettings) -> None:
        self._settings = settings
        self._forwards: dict[nn.Module, Forward] = {}
        self._used: set[nn.Module] = set()

    @hookimpl
    def around_train_step(self, run: Run) -> Callable[[Step, Batch], Mapping[str, Tensor]]:
        """The step, in which the model's modules call their compiled forward.

        Raises:
            UsageError: there is no compiler for the device.
        """
        if problem := missing_compiler(run.device.torch.type):
            raise UsageError(f"--with compile needs {problem}, or leave it out")
        # It says on standard error that a torch for CUDA finds none.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # Modules of one class have one forward, so their graphs count as those of one function.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)
        torch._dynamo.config.accumulated_recompile_limit = max(
            torch._dynamo.config.accumulated_recompile_limit, 4 * _GRAPHS
        )
        whole = whole_batch(run)
        replays = self._settings.mode != "default" and run.device.torch.type == "cuda"

        def compiled(train_step: Step, batch: Batch) -> Mapping[str, Tensor]:
            if len(batch.index) != whole and not self._settings.dynamic:
                return train_step(batch)
            with replaced(self._of(run.model)):
                if not replays:
                    return train_step(batch)
                torch.compiler.cudagraph_mark_step_begin()
                # A replayed graph writes its results to the same place each time; a run keeps those of an epoch.
                return {name: value.clone() for name, value in train_step(batch).items()}

        return compiled

    def _of(self, model: nn.Module) -> Iterable[tuple[nn.Module, Forward]]:
        """The compiled forwards: of all modules before the first step, then of those that it has called."""
        if self._used:
            return [(module, self._forwards[module]) for module in self._used]
        if not self._forwards:
            self._forwards = {module: self._compiled(name, module) for name, module in model.named_modules()}
        return self._forwards.items()

    def _compiled(self, name: str, module: nn.Module) -> Forward:
        own, settings = module.forward, self._settings
        graph = torch.compile(own, mode=settings.mode, dynamic=settings.dynamic, backend=self.backend)

        def forward(*arguments: Any, **named: Any) -> Any:
            if torch.compiler.is_compiling():  # within a module that is compiled as a whole
                return own(*arguments, **named)
            self._used.add(module)
            try:
                return once_differentiable(graph(*arguments, **named))
            except Exception as error:
                if not type(error).__module__.startswith(_TORCHS_COMPILERS):
                    raise
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                raise UsageError(
                    f"torch cannot compile {name or 'the model'}: {reason}; leave out --with compile"
                ) from error

        return forward


def once_differentiable(outputs: Any) -> Any:
    """The outputs of a graph, whose gradients refuse to be differentiated themselves.

    torch raises no error there, if gradients of some parameters alone are asked for: what depends on the gradient,
    such as a penalty on it, would change nothing.
    """
    if isinstance(outputs, Tensor):
        if outputs.requires_grad:
            outputs.register_hook(_refuse_second)
    elif isinstance(outputs, Mapping | tuple | list):
        for output in outputs.values() if isinstance(outputs, Mapping) else outputs:
            once_differentiable(output)
    return outputs


def _refuse_second(gradient: Tensor) -> None:
    if torch.is_grad_enabled():  # within backward: its graph is kept, to differentiate it
        raise UsageError(
            "torch cannot compile this training step: it differentiates a gradient, as a penalty on gradients "
            "(--r1) does; leave out the penalty or --with compile"
        )


def whole_batch(run: Run) -> int:
    """Images of this rank in a whole batch."""
    size = min(run.settings.batch_size, run.images_per_epoch)
    return len(range(run.ranks.rank, size, run.ranks.world))


@contextmanager
def replaced(forwards: Iterable[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Within it modules have another ``forward``. Their hooks, names and copies are as ever."""
    forwards = list(forwards)
    for module, forward in forwards:
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, _ in forwards:
            del module.__dict__["forward"]


def missing_compiler(device_type: str) -> str:
    """What ``torch.compile`` lacks for a kind of device; empty: nothing."""
    if device_type in ("cuda", "xpu") and importlib.util.find_spec("triton") is None:
        return f"the package triton to compile for {device_type} ({pip_install('triton')})"
    variable, usual = ("CXX", "g++") if device_type == "cpu" else ("CC", "gcc")
    if sys.platform == "darwin":
        usual = "clang++" if device_type == "cpu" else "clang"
    name = os.environ.get(variable, usual)
    if device_type != "mps" and shutil.which(name) is None:
        return f"a compiler, and there is no {name} (apt install g++, or name one with {variable}=PATH)"
    return ""
