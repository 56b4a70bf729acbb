"""Grad-CAM follows its formula on all families of networks, and leaves the model unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.trainers.targets import positive_logits


def small(outputs: int = 1, width: int = 6) -> nn.Sequential:
    """Two stages and a linear head: the shape of the report's network."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, width)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))


class Residual(nn.Module):
    """A branch with larger maps parallel to a shortcut; both reach the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 4, 3, stride=4, padding=1)
        self.shortcut = nn.Conv2d(4, 4, 1, stride=4)
        self.head = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        maps = self.down(self.branch(maps).relu()) + self.shortcut(maps)
        return self.head(maps.mean((2, 3)))


@pytest.fixture
def images() -> Tensor:
    return torch.rand((5, 3, 32, 32), generator=torch.Generator().manual_seed(3))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def test_a_network_without_convolution_is_an_error(images: Tensor) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1)).eval()
    with pytest.raises(UsageError, match="Sequential has no convolutional maps"):
        GradCam(flat, positive_logits, images[:1])


def test_a_vision_transformer_is_an_error_although_it_begins_with_a_convolution(images: Tensor) -> None:
    transformer = models.VisionTransformer(32, 4, 1, 2, 16, 16, num_classes=1).eval()
    with pytest.raises(UsageError, match="VisionTransformer has no convolutional maps"):
        GradCam(transformer, positive_logits, images[:1])


def test_maps_follow_the_formula_of_the_paper() -> None:
    """One image, two maps, computed with numpy."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(2, 1)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([0.0, 1.0]))
        network[4].weight.copy_(torch.tensor([[2.0, -0.5]]))
    image = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    maps = np.stack([np.maximum(image, 0), np.maximum(1 - image, 0)])
    weights = np.array([2.0, -0.5]) / 16  # d logit / d map, its mean over the 16 places
    signed = np.einsum("k,khw->hw", weights, maps)
    cam = GradCam(network, positive_logits, torch.from_numpy(image)[None, None])
    batch = torch.from_numpy(image)[None, None]
    np.testing.assert_allclose(cam.evidence(batch)[0], signed, atol=1e-6)
    np.testing.assert_allclose(cam.maps(batch)[0], np.maximum(signed, 0) / signed.max(), atol=1e-6)
    np.testing.assert_allclose(
        cam.maps(batch, towards=0)[0], np.maximum(-signed, 0) / (-signed).max(), atol=1e-6
    )


def test_maps_follow_the_formula_for_a_nonlinear_logit_of_several_outputs(images: Tensor) -> None:
    network = seeded(lambda: small(outputs=3))
    body, head = network[:-3], network[-3:]
    maps = body(images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(positive_logits(head(maps)).sum(), maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).detach()
    cam = GradCam(network, positive_logits, images[:1])
    assert (cam.layer, cam.size) == ("6", (16, 16))
    torch.testing.assert_close(cam.evidence(images), expected)


@pytest.mark.parametrize(
    ("builder", "layer", "large"),
    [
        ("resnet18", "layer3", "layer4"),
        ("resnet50", "layer3", "layer4"),
        ("densenet121", "features.transition3.conv", "features"),
        ("mobilenet_v3_small", "features.9.block.0", "features"),
        ("convnext_tiny", "features.6.0", "features"),
        ("efficientnet_b0", "features.6.0.block.0", "features"),
    ],
)
def test_every_family_has_maps(builder: str, layer: str, large: str) -> None:
    network = seeded(lambda: getattr(models, builder)(weights=None, num_classes=1)).requires_grad_(False)
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        cam = GradCam(network, positive_logits, images[:1])
        # At least one of the classes has evidence.
        both = torch.stack([cam.maps(images, towards=towards) for towards in (0, 1)])
        assert GradCam(network, positive_logits, torch.zeros(1, 3, 128, 128)).layer == large
    # At 64 px the last maps are 2 x 2, which localises nothing.
    assert (cam.layer, cam.size) == (layer, (4, 4))
    assert both.shape == (2, 2, 64, 64)
    assert both.dtype == torch.float32
    assert both.min() >= 0
    assert both.amax((0, 2, 3)).tolist() == [1, 1]


def test_a_branch_parallel_to_a_shortcut_is_not_chosen(images: Tensor) -> None:
    # Branch and stem have 16 x 16, later layers 4 x 4.
    assert GradCam(seeded(Residual), positive_logits, images[:1]).layer == "stem"


def test_smaller_maps_are_chosen_where_there_are_no_others() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Flatten(), nn.Linear(8, 1)).eval()
    assert GradCam(network, positive_logits, torch.zeros(1, 3, 4, 4)).size == (2, 2)


def test_the_model_is_not_changed_and_no_hook_is_left(images: Tensor) -> None:
    network = seeded(small)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    GradCam(network, positive_logits, images[:1]).maps(images)
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_no_hook_is_left_when_the_model_fails(images: Tensor) -> None:
    network = seeded(small)
    cam = GradCam(network, positive_logits, images[:1])
    with pytest.raises(RuntimeError):
        cam.maps(images[:, :1])
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_are_the_same_without_gradients_frozen_and_in_any_batch(images: Tensor) -> None:
    network = seeded(small)
    cam = GradCam(network, positive_logits, images[:1])
    expected = cam.maps(images)
    with torch.no_grad():
        assert torch.equal(cam.maps(images), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        torch.testing.assert_close(cam.maps(images.clone()), expected)
    network.requires_grad_(False)
    torch.testing.assert_close(cam.maps(images), expected)
    many = images.repeat(8, 1, 1, 1)
    torch.testing.assert_close(cam.maps(many)[35:], expected)
    assert cam.maps(images[:0]).shape == (0, 32, 32)


def test_a_backbone_under_no_grad_has_the_same_maps(images: Tensor) -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = seeded(small)
            self.body, self.head = whole[:-3], whole[-3:]

        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                maps = self.body(images)
            return self.head(maps)

    cam = GradCam(Frozen().eval(), positive_logits, images[:1])
    expected = GradCam(seeded(small), positive_logits, images[:1]).maps(images)
    torch.testing.assert_close(cam.maps(images), expected)


def test_maps_under_autocast_are_float32_and_close_to_those_in_full_precision(images: Tensor) -> None:
    network = seeded(small)
    cam = GradCam(network, positive_logits, images[:1])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = cam.maps(images, towards=0)
    exact = cam.maps(images, towards=0)
    assert rough.dtype == torch.float32
    assert exact.amax() == 1
    assert (rough - exact).abs().mean() < 0.02  # bfloat16 has 8 bits


def test_each_image_is_explained_for_its_own_class(images: Tensor) -> None:
    cam = GradCam(seeded(small), positive_logits, images[:1])
    classes = torch.tensor([0, 1, 0, 1, 1])
    each = cam.evidence(images, classes)
    for image, label in enumerate(classes):
        torch.testing.assert_close(each[image], cam.evidence(images, int(label))[image])


def test_a_diverged_model_gives_maps_without_evidence(images: Tensor) -> None:
    network = seeded(small)
    cam = GradCam(network, positive_logits, images[:1])
    with torch.no_grad():
        network[0].weight.fill_(float("nan"))
    assert cam.maps(images).abs().sum() == 0


def test_a_model_in_training_mode_is_an_error(images: Tensor) -> None:
    network = seeded(small)
    cam = GradCam(network, positive_logits, images[:1])
    network[1].train()
    with pytest.raises(ValueError, match="eval mode"):
        cam.maps(images)
    with pytest.raises(ValueError, match="eval mode"):
        GradCam(network, positive_logits, images[:1])


def test_invalid_images_and_logits_are_an_error(images: Tensor) -> None:
    cam = GradCam(seeded(small), positive_logits, images[:1])
    with pytest.raises(ValueError, match=r"takes images \[B, C, H, W\], not torch.uint8"):
        cam.maps((images * 255).byte())
    with pytest.raises(ValueError, match=r"the logits of 5 images have the shape \[5, 1\]"):
        GradCam(seeded(small), lambda outputs: outputs, images[:1]).maps(images)
