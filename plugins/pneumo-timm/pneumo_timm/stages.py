"""timm's classifiers as stages: modules whose composition is the forward pass, the head last.

timm's convention makes two of nearly every classifier, its features and its head. Families whose features are a
plain sequence are split into single blocks, so that trainers can freeze a share of them, compute the outputs of the
frozen part once, and lower the learning rate by depth.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import timm
from torch import Tensor, nn

_Timm = Any  # an nn.Module with the methods that timm gives to all models
_SEQUENCES = {
    "ConvNeXt": ("stem", "stages", "norm_pre"),
    "DenseNet": ("features",),
    "EfficientNet": ("conv_stem", "bn1", "blocks", "conv_head", "bn2"),
    "MobileNetV3": ("conv_stem", "bn1", "blocks"),
    "RegNet": ("stem", "s1", "s2", "s3", "s4", "final_conv"),
    "ResNet": ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    "SwinTransformer": ("patch_embed", "layers", "norm"),
    "VisionTransformer": ("blocks", "norm"),
}
"""By the name of timm's class: the modules that ``forward_features`` calls one after the other."""

_OTHERWISE = ("VOLO",)  # it adds scores of single patches to those of its head
_EMBEDDED = (
    "patch_embed",
    "pos_drop",
    "patch_drop",
    "norm_pre",
)  # what a vision transformer calls before its blocks


def stages(model: nn.Module) -> list[nn.Module]:
    """Split a model into stages; empty if its forward pass is not its features and then one head."""
    head = _head(model)
    if head is None:
        return []
    names = _SEQUENCES.get(type(model).__name__)
    if names is None:
        return [_Part(model, _features, _rest(model, {head})), head]
    blocks: list[nn.Module] = []
    own: list[nn.Module | nn.Parameter] = []
    if type(model).__name__ == "VisionTransformer":
        own = [*model.parameters(recurse=False), *map(model.get_submodule, _EMBEDDED)]
        blocks.append(_Part(model, _embedding, own))
    for name in names:
        blocks += _blocks(model.get_submodule(name))
    used: set[nn.Module | nn.Parameter] = {head}
    for block in blocks:
        used |= {*block.modules(), *block.parameters()}
    return [*blocks, _Part(model, _pooling, _rest(model, used)), head]


def _head(model: _Timm) -> nn.Module | None:
    """The module that alone follows ``forward_head(..., pre_logits=True)``; None where timm does not say."""
    if type(model).__name__ in _OTHERWISE:
        return None
    if set(type(model).forward.__code__.co_names) != {"forward_features", "forward_head"}:
        return None
    if not _pools_apart(model.forward_head):
        return None
    classifier = model.get_classifier()
    head: nn.Module = getattr(classifier, "fc", classifier)
    name = next((name for name, module in model.named_modules() if module is head), "")
    around = model.get_submodule(name.rpartition(".")[0])
    if (
        not name
        or isinstance(head, nn.ModuleList)
        or not (around is model or type(around) is nn.Sequential or _pools_apart(around.forward))
    ):
        return None
    return head


def _pools_apart(forward: Callable[..., object]) -> bool:
    """Whether a method can be asked to leave out the head."""
    return "pre_logits" in inspect.signature(forward).parameters


def _features(model: _Timm, values: Tensor) -> Tensor:
    return _pooling(model, model.forward_features(values))


def _pooling(model: _Timm, values: Tensor) -> Tensor:
    pooled: Tensor = model.forward_head(values, pre_logits=True)
    return pooled


def _embedding(model: _Timm, values: Tensor) -> Tensor:
    tokens: Tensor = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(values))))
    return tokens


class _Part(nn.Module):
    """A part of a model's forward pass.

    Args:
        model: called, and not a submodule: it has more parameters than the part uses.
        compute: the part, of the model and the values before it.
        own: modules and parameters that it uses.
    """

    def __init__(
        self,
        model: _Timm,
        compute: Callable[[_Timm, Tensor], Tensor],
        own: list[nn.Module | nn.Parameter],
    ) -> None:
        super().__init__()
        self._model = (model,)
        self._compute = compute
        self.own_parameters = nn.ParameterList(one for one in own if isinstance(one, nn.Parameter))
        self.own_modules = nn.ModuleList(one for one in own if isinstance(one, nn.Module))

    def forward(self, values: Tensor) -> Tensor:
        return self._compute(self._model[0], values)

    def extra_repr(self) -> str:
        """What distinguishes parts of the same modules: cached outputs are found by it."""
        model = self._model[0]
        return f"{model.default_cfg['architecture']}, {self._compute.__name__}, timm {timm.__version__}"


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    # Only nn.Sequential itself: timm's subclasses may have more parts than their children.
    if type(module) is nn.Sequential:
        for child in module:
            yield from _blocks(child)
    else:
        yield module


def _rest(module: nn.Module, used: set[nn.Module | nn.Parameter]) -> list[nn.Module | nn.Parameter]:
    """The modules and parameters of a model without those that are used elsewhere."""
    rest: list[nn.Module | nn.Parameter] = [
        parameter for parameter in module.parameters(recurse=False) if parameter not in used
    ]
    for child in module.children():
        if used.isdisjoint(child.modules()):
            rest.append(child)
        elif child not in used:
            rest += _rest(child, used)
    return rest
