"""torchvision's classifiers as models of pneumo: their heads, their stages, their sizes."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.trainers.backbone import stages_of
from pneumo_torchvision import plugin
from pneumo_torchvision.families import ARCHITECTURES, FAMILIES
from pneumo_torchvision.models import build, stages

# They repeat the blocks of the smaller ones, and take long to compute.
LARGE = {f"efficientnet-b{n}" for n in (4, 5, 6, 7)}
COMPUTED = [name for name in FAMILIES if name not in LARGE]


@functools.cache
def on_meta(name: str, outputs: int = 1) -> nn.Module:
    """A model without values: only names, shapes and counts. Not to be changed."""
    with torch.device("meta"):
        return build(name, outputs=outputs)


@pytest.mark.parametrize("name", COMPUTED)
def test_the_stages_are_the_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, outputs=2).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        values = images
        for stage in stages(model):
            values = stage(values)
        expected = model(images)
    assert expected.shape == (2, 2)
    torch.testing.assert_close(values, expected)


def test_the_stages_are_the_forward_pass_in_training_mode_too() -> None:
    model = build("efficientnet-b0").train()  # with dropout and stochastic depth
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)
        values = images
        for stage in stages(model):
            values = stage(values)
        torch.manual_seed(1)
        torch.testing.assert_close(values, model(images))
        torch.manual_seed(2)
        assert not torch.allclose(values, model(images))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_parameter_is_in_one_stage_in_the_order_of_the_model(name: str) -> None:
    model = on_meta(name)
    blocks = stages(model)
    parameters = [id(parameter) for stage in blocks for parameter in stage.parameters()]
    assert parameters == [id(parameter) for parameter in model.parameters()]
    assert len(blocks) > 8  # single blocks, so that any share of the model can be a cached prefix
    (spec,) = [spec for spec in plugin.register_models() if spec.name == name]
    assert len(stages_of(spec, model)) == len(blocks)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_is_dropout_and_one_new_layer(name: str) -> None:
    model = on_meta(name)
    head = stages(model)[-1]
    assert head is model.get_submodule(ARCHITECTURES[type(model).__name__].head)
    dropout, linear = head.children()
    assert (type(dropout), dropout.p) == (nn.Dropout, 0.2)
    assert (type(linear), linear.out_features) == (nn.Linear, 1)
    # The head's dropout replaces the network's own one before it: there are not two.
    others = [module for stage in stages(model)[:-1] for module in stage.modules()]
    assert not any(isinstance(module, nn.Dropout) for module in others)


@pytest.mark.parametrize(
    "name", ["efficientnet-b0", "resnet18", "densenet121", "convnext-tiny", "mobilenet-v3-small"]
)
def test_the_head_of_each_architecture_has_the_requested_number_of_outputs(name: str) -> None:
    assert stages(on_meta(name, outputs=5))[-1][-1].out_features == 5


@pytest.mark.parametrize("name", FAMILIES)
def test_its_summary_states_its_size(name: str) -> None:
    millions = sum(parameter.numel() for parameter in on_meta(name).parameters()) / 1e6
    assert f"{millions:.1f} million parameters" in FAMILIES[name].summary


def test_b7_is_the_network_of_the_report() -> None:
    model = on_meta("efficientnet-b7")
    tensors = list(model.parameters())
    assert len(tensors) == 711
    assert sum(tensor.numel() for tensor in tensors) == 63_789_521
    assert sum(tensor.numel() for tensor in stages(model)[-1].parameters()) == 2_561
    assert sum(tensor.numel() for tensor in tensors[int(711 * 0.66) :]) == 52_564_657


def test_hidden_layers_before_the_head_are_kept() -> None:
    model = on_meta("mobilenet-v3-large")
    types = [type(layer) for layer in model.classifier]
    assert types == [nn.Linear, nn.Hardswish, nn.Identity, nn.Sequential]
    assert on_meta("convnext-tiny").classifier[2][1].in_features == 768


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_has_the_weights_of_the_table_for_this_architecture(name: str) -> None:
    family = FAMILIES[name]
    weights = torchvision.models.get_model_weights(family.builder)[family.weights]
    model = on_meta(name)
    _, linear = stages(model)[-1].children()
    # With torchvision's own head of 1,000 classes instead of the new one.
    count = sum(parameter.numel() for parameter in model.parameters())
    assert weights.meta["num_params"] == count + 999 * (linear.in_features + 1)
    assert weights.url.endswith(".pth")


@pytest.mark.parametrize("channels", [0, 1, 4])
def test_another_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(UsageError, match=f"resnet18 takes images of 3 channels, not {channels}$"):
        build("resnet18", channels=channels)


def test_all_are_registered_and_listing_them_imports_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys; from pneumo_torchvision.plugin import register_models; "
        "print(*(spec.name for spec in register_models())); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'numpy', 'pydantic')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == list(FAMILIES)
    registered = {
        entry.spec.name for entry in discover().models.entries() if "torchvision" in entry.spec.factory
    }
    assert registered == set(FAMILIES)
