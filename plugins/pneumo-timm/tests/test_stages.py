"""The stages of timm's classifiers are their forward pass, whatever the family."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from pneumo_timm.models import build
from pneumo_timm.stages import stages

FEATURES_AND_HEAD = {
    "test_byobnet": 64,
    "test_nfnet": 64,
    "test_mambaout": 64,
    "test_coatnet": 160,
    "beit_base_patch16_224": 224,
    "vit_tiny_patch16_dinov3_qkvb": 64,
    "ghostnet_050": 64,
    "rexnet_100": 64,
    "hgnetv2_b0": 64,
    "pvt_v2_b0": 64,
    "xcit_nano_12_p8_224": 64,
    "edgenext_xx_small": 64,
    "repvit_m1": 64,
    "caformer_s18": 64,
    "levit_256d": 224,
    "resnetv2_18": 64,  # its head is a convolution
    "dla46x_c": 64,
    "maxvit_rmlp_pico_rw_256": 256,
}
"""Names and sizes of images."""

BLOCKS = {
    "test_resnet": 64,
    "resnet18d": 64,
    "test_convnext": 64,
    "convnextv2_atto": 64,
    "test_vit": 64,
    "vit_tiny_patch16_224": 64,
    "deit_tiny_patch16_224": 64,
    "deit3_small_patch16_224": 64,
    "vit_small_patch14_dinov2": 56,
    "vit_small_patch14_reg4_dinov2": 60,  # not of whole patches
    "swin_tiny_patch4_window7_224": 64,
    "test_efficientnet": 64,
    "densenet121": 64,
    "regnetx_002": 64,
    "regnety_002": 64,
    "lcnet_035": 64,
    "mobilenetv3_small_050": 64,
}

WHOLE = [
    "deit_tiny_distilled_patch16_224",
    "crossvit_tiny_240",
    "levit_128s",
    "efficientvit_m0",
    "fastvit_t8",
]
"""Models that are not their features and one head."""


def random_model(name: str) -> nn.Module:
    """With statistics and scales that differ from one another."""
    torch.manual_seed(0)
    model = build(f"timm/{name}", outputs=3)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.ndim == 1 and value.is_floating_point():
                value += 0.1 * torch.randn_like(value)
    return model


def in_sequence(parts: list[nn.Module], images: Tensor) -> Tensor:
    values = images
    for part in parts:
        values = part(values)
    return values


@pytest.mark.parametrize(("name", "size"), (FEATURES_AND_HEAD | BLOCKS).items())
def test_the_stages_are_the_forward_pass(name: str, size: int) -> None:
    model = random_model(name).eval()
    images = torch.randn(2, 3, size, size)
    parts = stages(model)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(in_sequence(parts, images), expected)
        features = in_sequence(parts[:-1], images)
    assert expected.shape == (2, 3)
    assert features.flatten(1).shape == features.shape, "pooled"
    assert parts[-1] in list(model.modules())
    assert len(parts) == 2 if name in FEATURES_AND_HEAD else len(parts) > 6
    # Each parameter is in one stage.
    ids = [id(parameter) for part in parts for parameter in part.parameters()]
    assert sorted(ids) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("name", BLOCKS)
def test_single_blocks_are_in_the_order_of_the_model(name: str) -> None:
    with torch.device("meta"):
        model = build(f"timm/{name}")
    order = {id(parameter): place for place, parameter in enumerate(model.parameters())}
    places = [[order[id(p)] for p in part.parameters()] for part in stages(model)]
    with_parameters = [part for part in places if part]
    for earlier, later in pairwise(with_parameters):
        assert max(earlier) < min(later)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "swin_tiny_patch4_window7_224"])
def test_the_stages_are_the_forward_pass_in_training_mode_too(name: str) -> None:
    model = random_model(name).train()  # with dropout and stochastic depth where the model has it
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)
        values = in_sequence(stages(model), images)
        torch.manual_seed(1)
        torch.testing.assert_close(values, model(images))


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_with_several_heads_has_no_stages(name: str) -> None:
    with torch.device("meta"):
        assert stages(build(f"timm/{name}")) == []


def test_stages_that_compute_something_else_are_written_differently() -> None:
    """Cached outputs of frozen stages are found by this text and the weights."""
    with torch.device("meta"):
        parts = [stages(build(f"timm/{name}"))[0] for name in ("ghostnet_050", "ghostnet_100", "test_vit")]
    assert len({str(part) for part in parts}) == 3
    assert "ghostnet_050, _features, timm " in str(parts[0])
