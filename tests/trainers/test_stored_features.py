"""Features that several runs need are computed once, and again if anything that they depend on has changed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pneumo_cli.data.augmentation import EvaluationTransform
from pneumo_cli.evaluation.generative.features import Extractor, stored_features
from pneumo_cli.evaluation.generative.fidelity import measure_fidelity
from pneumo_cli.runtime.devices import Device
from pneumo_cli.trainers.feature_extractors import _Backbone

CPU = Device(torch.device("cpu"), "fp32", "CPU")


def pictures(n: int, seed: int) -> Tensor:
    return torch.randint(
        0, 256, (n, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


class Counted(nn.Module):
    """Counts the images that it computes features of."""

    def __init__(self, backbone: _Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        features: Tensor = self.backbone(images)
        return features


def extractor(bias: float = 0.0) -> tuple[Extractor, Counted]:
    convolution = nn.Conv2d(3, 8, 3, stride=2)
    with torch.no_grad():
        convolution.weight.copy_(torch.linspace(-1, 1, 216).view(8, 3, 3, 3))
        convolution.bias.fill_(bias)  # type: ignore[union-attr]
    stages = [convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    backbone = _Backbone(stages, EvaluationTransform(mean=[0.5] * 3, std=[0.2] * 3), 32, CPU)
    counted = Counted(backbone)
    return Extractor("conv at 32 px", "conv", backbone.num_features, counted, backbone.identity), counted


def test_features_are_computed_once_and_are_the_same_bits_from_the_cache(tmp_path: Path) -> None:
    own, counted = extractor()
    images = pictures(100, 1)
    first = stored_features(own, images, tmp_path)
    assert counted.images == 100
    again, recounted = extractor()
    assert torch.equal(stored_features(again, images, tmp_path), first)
    assert recounted.images == 0
    assert torch.equal(first, own(images))


def test_other_images_weights_or_settings_are_computed_anew(tmp_path: Path) -> None:
    own, _ = extractor()
    images = pictures(40, 1)
    stored_features(own, images, tmp_path)
    changed = images.clone()
    changed[7, 3, 3] ^= 1
    for images_then, (other, counted) in (
        (changed, extractor()),
        (images[:39], extractor()),
        (images, extractor(bias=1e-6)),
    ):
        assert torch.equal(stored_features(other, images_then, tmp_path), other(images_then))
        assert counted.images == 2 * len(images_then)


def test_without_a_cache_or_a_known_identity_nothing_is_written(tmp_path: Path) -> None:
    own, _ = extractor()
    stored_features(own, pictures(20, 1), None)
    stored_features(replace(own, identity={}), pictures(20, 1), tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_features_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own, _ = extractor()
    images = pictures(20, 1)
    first = stored_features(own, images, tmp_path)
    (file,) = tmp_path.glob("features/*.bin")
    file.write_bytes(bytes(len(file.read_bytes())))
    with caplog.at_level(logging.WARNING, "pneumo"):
        assert torch.equal(stored_features(own, images, tmp_path), first)
    assert "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_does_not_fail_an_evaluation(tmp_path: Path) -> None:
    own, _ = extractor()
    (tmp_path / "features").write_text("a file, where the folder would be")
    images = pictures(20, 1)
    assert torch.equal(stored_features(own, images, tmp_path), own(images))


def test_a_second_evaluation_computes_features_of_the_generated_images_alone(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "training": pictures(100, 1),
        "held_out": pictures(60, 2),
        "patients": [str(number // 2) for number in range(60)],
        "seed": 1,
        "cache": tmp_path,
    }
    own, counted = extractor()
    first = measure_fidelity({"generated": pictures(30, 3)}, extractor=own, **given)
    others, counted_again = extractor()
    second = measure_fidelity({"generated": pictures(30, 3)}, extractor=others, **given)
    assert counted.images > 5 * 25
    assert counted_again.images == first.n
    assert second.metrics() == first.metrics()
