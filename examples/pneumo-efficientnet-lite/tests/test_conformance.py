"""The models pass the conformance suite, and compute what the package does that they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from pneumo_efficientnet_lite.model import build, imagenet, stages

from pneumo_cli.plugins import discover
from pneumo_cli.runtime import Progress
from pneumo_cli.testing import ModelConformance
from pneumo_cli.trainers import load_pretrained

NATIVE = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}


class TestLite0(ModelConformance):
    name = "efficientnet-lite0"


class TestLite2(ModelConformance):
    name = "efficientnet-lite2"


def pretrained(name: str) -> torch.nn.Module:
    model = build(name)
    entry = discover().models.get(name)
    summary = load_pretrained(model, stages(model), entry, "imagenet", Progress())
    assert summary.endswith("; its head is new)")
    return model.eval()


@pytest.mark.parametrize("name", NATIVE)
def test_its_features_equal_those_of_the_package(name: str) -> None:
    model = pretrained(name)
    weights = imagenet(name, Progress())
    torch.manual_seed(0)
    for size in (NATIVE[name], 128, 97):
        # Other sizes than the native one: without image_size, as build() does.
        options = {} if size == NATIVE[name] else {"image_size": None}
        original = EfficientNet.from_name(name, **options).eval()
        original.load_state_dict(weights)
        images = torch.randn(2, 3, size, size)
        values = images
        with torch.no_grad():
            for stage in stages(model)[:-3]:
                values = stage(values)
            torch.testing.assert_close(values, original.extract_features(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NATIVE)
def test_it_recognises_a_palace_with_the_normalisation_of_its_spec(name: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings the photograph")
    photograph = torch.from_numpy(datasets.load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None] / 255
    size = (NATIVE[name], NATIVE[name])
    square = photograph[..., 106:-107]  # 427 of 640 columns
    images = F.interpolate(square, size, mode="bilinear", antialias=True)
    spec = discover().models.get(name).spec
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))

    model = build(name, outputs=1000)
    weights = imagenet(name, Progress())
    weights = {key.replace("_fc.", "_fc.1."): value for key, value in weights.items()}
    model.load_state_dict(weights)
    with torch.no_grad():
        logits = model.eval()((images - mean) / std)
    assert int(logits.argmax()) == 698  # ImageNet's "palace"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NATIVE)
def test_the_stages_are_the_forward_pass(name: str, training: bool) -> None:
    model = build(name).train(training)
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = model(images)
        torch.manual_seed(1)
        values = images
        for stage in stages(model):
            values = stage.train(training)(values)
    assert torch.equal(values, expected)


@pytest.mark.parametrize("size", [64, 96, 250])
def test_it_takes_images_of_any_size(size: int) -> None:
    assert build("efficientnet-lite0").eval()(torch.zeros(1, 3, size, size)).shape == (1, 1)
