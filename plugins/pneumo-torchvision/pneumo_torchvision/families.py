"""The table of torchvision's classifiers that pneumo offers. Imports neither torch nor torchvision.

Each row is a model; its architecture says where its head is and what comes before it, from which
:mod:`pneumo_torchvision.models` builds it and splits it into stages.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """One torchvision classifier.

    Attributes:
        summary: shown in lists of models.
        builder: torchvision's function that builds it.
        weights: torchvision's name of its ImageNet weights.
    """

    summary: str
    builder: str
    weights: str = "IMAGENET1K_V1"


class Architecture(NamedTuple):
    """The submodules of a torchvision class.

    Attributes:
        head: path of the last linear layer, or of the sequence that ends with it.
        parts: paths of the modules before the head, in the order of the forward pass; a name that is no path stands
            for a function that the forward pass calls (``relu``, ``pool``, ``flatten``).
        dropout: path of a dropout before the head, which the new head's dropout replaces.
    """

    head: str
    parts: tuple[str, ...]
    dropout: str = ""


ARCHITECTURES = {
    "EfficientNet": Architecture("classifier", ("features", "avgpool", "flatten")),
    "ResNet": Architecture(
        "fc",
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "flatten"),
    ),
    "DenseNet": Architecture("classifier", ("features", "relu", "pool", "flatten")),
    "ConvNeXt": Architecture("classifier.2", ("features", "avgpool", "classifier.0", "classifier.1")),
    "MobileNetV3": Architecture(
        "classifier.3", ("features", "avgpool", "flatten", "classifier.0", "classifier.1"), "classifier.2"
    ),
}
"""By the name of torchvision's class."""

_EFFICIENTNETS = ("4.0", "6.5", "7.7", "10.7", "17.6", "28.3", "40.7", "63.8")

FAMILIES = {
    **{
        f"efficientnet-b{n}": Family(
            f"EfficientNet-B{n} (Tan and Le 2019), {millions} million parameters", f"efficientnet_b{n}"
        )
        for n, millions in enumerate(_EFFICIENTNETS)
    },
    "resnet18": Family("ResNet-18 (He et al. 2016), 11.2 million parameters", "resnet18"),
    "resnet50": Family("ResNet-50 (He et al. 2016), 23.5 million parameters", "resnet50", "IMAGENET1K_V2"),
    "densenet121": Family("DenseNet-121 (Huang et al. 2017), 7.0 million parameters", "densenet121"),
    "convnext-tiny": Family("ConvNeXt-T (Liu et al. 2022), 27.8 million parameters", "convnext_tiny"),
    "mobilenet-v3-small": Family(
        "MobileNetV3 small (Howard et al. 2019), 1.5 million parameters", "mobilenet_v3_small"
    ),
    "mobilenet-v3-large": Family(
        "MobileNetV3 large (Howard et al. 2019), 4.2 million parameters",
        "mobilenet_v3_large",
        "IMAGENET1K_V2",
    ),
}
"""By the name in pneumo."""
