"""What the task hooks and the functions around them have to return."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from pneumo_cli.data.batch_inputs import Sources, Transforms
from pneumo_cli.errors import named_type
from pneumo_cli.evaluation.result import Evaluation


def wrong_result(hook: str, value: Any) -> str:
    """What is wrong with a value that a hook, or a function around it, returned; empty: nothing."""
    right, wanted = _CHECKS[hook]
    if right(value):
        return ""
    kind = "None" if value is None else named_type(value)
    if isinstance(value, torch.Tensor):
        kind = f"a tensor of shape {list(value.shape)}"
    elif isinstance(value, Mapping):
        kind += f" of {', '.join(f'{name!r}: {named_type(one)}' for name, one in value.items()) or 'nothing'}"
    return f"{kind}, not {wanted}"


def _has(*names: str) -> Any:
    return lambda value: all(hasattr(value, name) for name in names)


def _named(value: Any, *methods: str) -> bool:
    has = _has(*methods)
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and has(one) and _steps_alone(one) for name, one in value.items()
    )


def _steps_alone(value: Any) -> bool:
    """Whether ``value.step()`` can be called so: not that of a class, nor one that needs a closure or a metric."""
    try:
        inspect.signature(value.step).bind()
    except TypeError:
        return False
    except ValueError:  # of a function in C, which has no signature
        return True
    return not inspect.isclass(value)


_CHECKS: Mapping[str, tuple[Any, str]] = {
    "build_model": (lambda value: isinstance(value, torch.nn.Module), "a torch.nn.Module"),
    "train_step": (
        lambda value: type(value) is dict or isinstance(value, Mapping),
        "a mapping of tensors by name",
    ),
    "evaluate": (lambda value: isinstance(value, Evaluation), "an Evaluation"),
    "build_optimizers": (
        lambda value: bool(value) and _named(value, "step", "param_groups"),
        "a dictionary of optimizers by name, whose step() needs no argument",
    ),
    "build_schedulers": (
        lambda value: _named(value, "step", "state_dict"),
        "a dictionary of schedulers by the name of their optimizer, whose step() needs no argument",
    ),
    "build_transforms": (_has(*Transforms._fields), "Transforms"),
    "build_sources": (_has(*Sources._fields), "Sources"),
    # The next three are asked in every step: what they mostly are comes first, as it takes the least time.
    "around_train_step": (
        lambda value: type(value) is dict or isinstance(value, Mapping),
        "a mapping of tensors by name",
    ),
    "around_loss": (lambda value: isinstance(value, torch.Tensor) and value.ndim == 0, "a 0-d tensor"),
    "around_optimize": (
        lambda value: value is None or not (inspect.iscoroutine(value) or inspect.isgenerator(value)),
        "the result of a plain function",
    ),
}
