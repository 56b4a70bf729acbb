"""Transforms for training and evaluation, compared with torchvision's and torch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF

from pneumo_cli.data.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EvaluationTransform,
    ReportAugmentation,
    jitter,
    rotate_and_flip,
    warp,
)


def images(count: int = 6, size: int = 33) -> torch.Tensor:
    """Smooth images with some texture, uint8 [count, size, size]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 7, 7, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return (fine.squeeze(1) * 255).to(torch.uint8)


@pytest.mark.parametrize("angle", [-30.0, -7.5, 0.0, 12.0, 30.0, 90.0])
@pytest.mark.parametrize("size", [32, 33])
def test_rotation_equals_torchvisions(angle: float, size: int) -> None:
    picture = images(1, size).unsqueeze(1).float() / 255
    ours = rotate_and_flip(picture, torch.tensor([angle]), torch.tensor([False]))
    theirs = TF.rotate(picture, angle, interpolation=TF.InterpolationMode.BILINEAR)
    assert torch.allclose(ours, theirs, atol=2e-4)


def test_the_flip_comes_after_the_rotation() -> None:
    picture = images(1).unsqueeze(1).float() / 255
    ours = rotate_and_flip(picture, torch.tensor([20.0]), torch.tensor([True]))
    theirs = TF.hflip(TF.rotate(picture, 20.0, interpolation=TF.InterpolationMode.BILINEAR))
    assert torch.allclose(ours, theirs, atol=2e-4)


def test_a_warp_equals_torchs_affine_grid_per_image() -> None:
    pictures = images(3).unsqueeze(1).float() / 255
    rows = np.array([[1.0, 0.7, 1.3], [0.1, -0.4, 0.0], [0.0, 0.5, -0.2], [1.2, 0.8, 1.0]])
    shifts = np.array([[0.0, 0.3, -1.5], [0.2, 0.0, 0.1]])
    for moved in (shifts, None):
        offsets = np.zeros((2, 3)) if moved is None else moved
        maps = torch.tensor(np.concatenate((rows, offsets))[[0, 1, 4, 2, 3, 5]].T.reshape(3, 2, 3))
        grid = F.affine_grid(maps.float(), list(pictures.shape), align_corners=False)
        theirs = F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
        assert torch.allclose(warp(pictures, rows, moved), theirs, atol=2e-4)


@pytest.mark.parametrize("brightness_first", [True, False])
@pytest.mark.parametrize(("brightness", "contrast"), [(0.8, 1.2), (1.2, 0.8), (1.2, 1.2), (1.0, 1.0)])
def test_jitter_equals_torchvisions(brightness: float, contrast: float, brightness_first: bool) -> None:
    picture = images(1).unsqueeze(1).float() / 255
    steps = [(TF.adjust_brightness, brightness), (TF.adjust_contrast, contrast)]
    theirs = picture
    for adjust, factor in steps if brightness_first else steps[::-1]:
        theirs = adjust(theirs, factor)
    ours = jitter(
        picture, torch.tensor([brightness]), torch.tensor([contrast]), torch.tensor([brightness_first])
    )
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_saturation_has_no_effect_on_gray_images() -> None:
    picture = (images(1).unsqueeze(1).float() / 255).expand(1, 3, -1, -1)
    assert torch.allclose(TF.adjust_saturation(picture, 0.5), picture, atol=1e-3)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    transform = ReportAugmentation(seed=3)
    index = torch.tensor([4, 17, 2, 99, 5, 6])
    pictures = images()
    batch_of_all = transform(pictures, index, 2)
    for row in range(6):
        alone = transform(pictures[row : row + 1], index[row : row + 1], 2)
        assert torch.allclose(alone[0], batch_of_all[row], atol=1e-5)
    reversed_batch = transform(pictures.flip(0), index.flip(0), 2)
    assert torch.allclose(reversed_batch.flip(0), batch_of_all, atol=1e-5)


def test_a_sample_depends_on_seed_epoch_and_index_only() -> None:
    picture = images(1)

    def augmented(seed: int, epoch: int, index: int) -> torch.Tensor:
        torch.rand(1)  # the global generator is not used
        return ReportAugmentation(seed=seed)(picture, torch.tensor([index]), epoch)

    first = augmented(1, 2, 3)
    assert torch.equal(first, augmented(1, 2, 3))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.allclose(first, augmented(*other), atol=1e-2)


def test_without_strength_augmentation_is_the_evaluation_transform() -> None:
    still = ReportAugmentation(seed=0, rotation=0, flip=0, brightness=0, contrast=0, saturation=0)
    index = torch.arange(6)
    assert torch.allclose(still(images(), index, 0), EvaluationTransform()(images(), index, 0), atol=1e-4)


def test_normalisation_is_as_in_the_report_and_display_inverts_it() -> None:
    pictures = images()
    transform = EvaluationTransform()
    batch = transform(pictures, torch.arange(6), 0)
    gray = pictures.unsqueeze(1).float() / 255
    assert torch.allclose(
        batch, TF.normalize(gray.expand(-1, 3, -1, -1), IMAGENET_MEAN, IMAGENET_STD), atol=1e-5
    )
    assert torch.allclose(transform.display(batch), gray.squeeze(1), atol=1e-5)
    assert (
        EvaluationTransform(channels=1, mean=(0.5,), std=(0.5,))(pictures, torch.arange(6), 0).shape[1] == 1
    )


@pytest.mark.parametrize(
    "arguments",
    [{"rotation": -1}, {"rotation": 181}, {"flip": 1.1}, {"contrast": -0.1}, {"brightness": float("nan")}],
)
def test_parameters_out_of_range_are_errors(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="has to be between"):
        ReportAugmentation(seed=0, **arguments)


def test_means_that_do_not_fit_the_channels_are_errors() -> None:
    with pytest.raises(ValueError, match="1 channels need as many"):
        EvaluationTransform(channels=1)
    with pytest.raises(ValueError, match="positive"):
        EvaluationTransform(channels=1, mean=(0.5,), std=(0.0,))
