"""The report's networks, with their parameters and layers, and the convolutional pair."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pneumo_cli.errors import UsageError
from pneumo_gan.model import MinibatchStd, build_dcgan, build_gan


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_reports_networks_have_its_layers_and_parameters() -> None:
    model = build_gan()
    assert parameters(model.generator) == 1_732_352
    assert parameters(model.discriminator) == 1_705_985

    def sizes(module: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]

    assert sizes(model.generator) == [(100, 256), (256, 512), (512, 1024), (1024, 1024)]
    assert sizes(model.discriminator) == [(1024, 1024), (1024, 512), (512, 256), (256, 1)]
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    rates = [m.p for m in model.discriminator.modules() if isinstance(m, nn.Dropout)]
    assert (slopes, rates) == ({0.2}, [0.3, 0.3, 0.3])
    assert not any(isinstance(m, nn.Dropout) for m in model.generator.modules())


@pytest.mark.parametrize(("build", "size"), [(build_gan, 20), (build_dcgan, 16), (build_dcgan, 64)])
def test_images_are_in_the_range_of_tanh_and_each_has_a_logit(build: object, size: int) -> None:
    model = build(size=size, z_dim=7, width=4)  # type: ignore[operator]
    images = model.generator(torch.randn(3, 7))
    assert images.shape == (3, 1, size, size)
    assert images.abs().max() <= 1
    assert model.discriminator(images).shape == (3,)


@pytest.mark.parametrize("size", [8, 48, 512])
def test_dcgan_refuses_sizes_that_are_no_power_of_two_within_bounds(size: int) -> None:
    with pytest.raises(UsageError, match="16, 32, 64, 128 or 256 px"):
        build_dcgan(size=size)


def test_the_discriminator_sees_the_standard_deviation_of_the_batch() -> None:
    """That exposes a generator with mode collapse."""
    model = build_dcgan(size=16, width=4)
    images = torch.rand(4, 1, 16, 16)
    layer = MinibatchStd()
    diverse, same = layer(images), layer(images[:1].expand(4, -1, -1, -1))
    assert torch.equal(diverse[:, :1], images)
    assert diverse[:, 1].unique().numel() == 1
    assert diverse[0, 1, 0, 0] > 0.1 > 0.001 > same[0, 1, 0, 0]
    assert any(isinstance(module, MinibatchStd) for module in model.discriminator)
