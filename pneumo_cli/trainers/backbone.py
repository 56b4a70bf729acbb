"""A classifier as a backbone and a head: replacing its head, and splitting it into stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.specs import ModelSpec, load_reference


def replace_head(model: nn.Module, path: str, outputs: int, dropout: float = 0.2) -> nn.Module:
    """Replace a model's head by dropout and one linear layer (SOURCE 5).

    Args:
        path: of the old head, such as ``classifier`` or ``classifier.3``: a linear layer, or a module that ends
            with one. The new head has the same number of input features.
        outputs: of the new head.
        dropout: probability, in training mode.

    Returns:
        ``model``, changed.

    Raises:
        ValueError: there is no linear layer at ``path``.
    """
    linear = [layer for layer in model.get_submodule(path).modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"there is no linear layer at {path!r} to replace")
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(linear[-1].in_features, outputs))
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, head)
    return model


def stages_of(spec: ModelSpec, model: nn.Module) -> list[nn.Module]:
    """Split a model into stages: in sequence they are its forward pass; the last one is the head.

    Returns:
        the result of the spec's reference ``stages``; else the children of an ``nn.Sequential``; else nothing.

    Raises:
        UsageError: the reference cannot be imported, fails, or returns something else.
    """
    if not spec.stages:
        return list(model.children()) if isinstance(model, nn.Sequential) else []
    with plugin_errors(f"the model {spec.name} cannot be split into stages by {spec.stages}"):
        stages = list(load_reference(spec.stages)(model))
    if not all(isinstance(stage, nn.Module) for stage in stages):
        raise UsageError(f"{spec.stages} returned stages of {spec.name} that are no torch.nn.Module")
    return stages


def head_name(model: nn.Module, stages: Sequence[nn.Module]) -> str:
    """The head's name within the model, such as ``classifier``; empty without stages."""
    heads = (name for name, module in model.named_modules() if stages and module is stages[-1])
    return next(heads, "")
