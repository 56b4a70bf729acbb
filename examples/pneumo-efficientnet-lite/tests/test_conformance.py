"""The models behave as every pneumo model does, and as the package that they come from."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from pneumo_efficientnet_lite.model import build, imagenet, stages

from pneumo_cli.plugins import discover
from pneumo_cli.pretrained import load_pretrained
from pneumo_cli.progress import Progress
from pneumo_cli.testing import ModelConformance

NATIVE = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}


class TestLite0(ModelConformance):
    name = "efficientnet-lite0"


class TestLite2(ModelConformance):
    name = "efficientnet-lite2"


def pretrained(name: str) -> torch.nn.Module:
    model = build(name)
    entry = discover().models.get(name)
    load_pretrained(model, stages(model), entry, "imagenet", Progress())
    return model


@pytest.mark.parametrize("name", NATIVE)
def test_its_features_are_those_of_the_package_at_the_native_size(name: str) -> None:
    original = EfficientNet.from_name(name)
    original.load_state_dict(imagenet(name, Progress()))
    torch.manual_seed(0)
    images = torch.randn(2, 3, NATIVE[name], NATIVE[name])
    values = images
    with torch.no_grad():
        for stage in stages(pretrained(name).eval())[:-3]:
            values = stage(values)
        torch.testing.assert_close(values, original.eval().extract_features(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NATIVE)
def test_the_stages_are_the_forward_pass(name: str, training: bool) -> None:
    model = build(name).train(training)
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)
        whole = model(images)
        torch.manual_seed(1)
        values = images
        for stage in stages(model):
            values = stage.train(training)(values)
    assert torch.equal(values, whole)


@pytest.mark.parametrize("size", [64, 96, 250])
def test_it_takes_images_of_any_size(size: int) -> None:
    assert build("efficientnet-lite0").eval()(torch.zeros(1, 3, size, size)).shape == (1, 1)
