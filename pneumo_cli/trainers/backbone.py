"""A classifier as a backbone and a head: how its head is replaced, and how it is cut into stages.

Public: plugins that register models of their own use it. Which stages are frozen is decided elsewhere
(:mod:`pneumo_cli.trainers.transfer`), and where weights come from too (:mod:`pneumo_cli.trainers.pretrained`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pneumo_cli.errors import UsageError
from pneumo_cli.specs import ModelSpec, load_reference


def replace_head(model: nn.Module, path: str, outputs: int, dropout: float = 0.2) -> nn.Module:
    """Put a new head, dropout and one linear layer, in place of an old one (SOURCE 5).

    Args:
        path: where the old head is, ``classifier`` or ``classifier.3``: a linear layer, or something that ends
            with one. The new one takes as many features as that layer did.
        outputs: how many the new head gives.
        dropout: probability of a feature to be dropped while training.

    Returns:
        ``model``, changed.

    Raises:
        ValueError: there is no linear layer at ``path``.
    """
    old = model.get_submodule(path)
    linear = [layer for layer in old.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"there is no linear layer at {path!r} to be replaced")
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(linear[-1].in_features, outputs))
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, head)
    return model


def stages_of(spec: ModelSpec, model: nn.Module) -> list[nn.Module]:
    """Cut a model into stages: one after the other they are its forward pass; the last one is the head.

    Returns:
        what the spec's reference ``stages`` says; the children of an ``nn.Sequential``; else nothing.

    Raises:
        UsageError: the reference leads to nothing that works.
    """
    if not spec.stages:
        return list(model.children()) if isinstance(model, nn.Sequential) else []
    try:
        stages = list(load_reference(spec.stages)(model))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"the model {spec.name} cannot be cut into stages by {spec.stages}: {reason}"
        ) from error
    if not all(isinstance(stage, nn.Module) for stage in stages):
        raise UsageError(f"{spec.stages} returned stages of {spec.name} that are no torch.nn.Module")
    return stages


def head_name(model: nn.Module, stages: Sequence[nn.Module]) -> str:
    """The head's name within the model, ``classifier``; empty where it has no stages."""
    for name, module in model.named_modules():
        if stages and module is stages[-1]:
            return str(name)
    return ""
