"""The augmentation that simulates other scanners: the effect of each parameter on a synthetic image.

The moments of a Gaussian blob measure scale, stretch and translation; a ramp measures a change of gray levels, a
white field borders, and a single bright pixel a blur.
"""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation
from pneumo_cli.data.scanner_augmentation import ScannerAugmentation, blurred

STILL: dict[str, Any] = {"rotation": 0.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0}
GRAY: dict[str, Any] = {"channels": 1, "mean": (0.0,), "std": (1.0,)}
STRONG: dict[str, Any] = {"zoom": 0.4, "shift": 0.1, "gamma": 0.5, "border": 0.2, "blur": 2.0}
MANY = 400
TRANSFORMS = (EvaluationTransform, ReportAugmentation, ScannerAugmentation)


def textures(count: int = 6, size: int = 40) -> Tensor:
    """Smooth images with some texture, uint8 [count, size, size]."""
    coarse = torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return (fine.squeeze(1) * 255).to(torch.uint8)


def blob(size: int = 64, sigma: float = 5.0) -> Tensor:
    """A round Gaussian in the centre of a black image, uint8 [size, size]."""
    centres = torch.arange(size) - (size - 1) / 2
    profile = torch.exp(-(centres**2) / (2 * sigma**2))
    return (profile[:, None] * profile * 255).round().to(torch.uint8)


def many(picture: Tensor, **strengths: float) -> Tensor:
    """Gray levels of MANY augmented copies of an image with only these ``strengths``: [MANY, S, S]."""
    transform = ScannerAugmentation(seed=4, **{**STILL, **strengths}, **GRAY)
    return transform(picture.expand(MANY, -1, -1), torch.arange(MANY), 0)[:, 0]


def moments(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Centroid relative to the centre and standard deviation of the intensity, each [B, 2]: x and y, in pixels."""
    positions = torch.arange(gray.shape[-1], dtype=torch.float64) - (gray.shape[-1] - 1) / 2
    gray = gray.double()
    profiles = torch.stack((gray.sum(1), gray.sum(2)), dim=1)
    profiles = profiles / profiles.sum(2, keepdim=True)
    centre = (profiles * positions).sum(2)
    variance = (profiles * positions**2).sum(2) - centre**2
    return centre, variance.clamp_min(0).sqrt()


def assert_uniform(values: Tensor, low: float, high: float, slack: float) -> None:
    """No value outside [low, high], but for ``slack``, and each fifth of the range about equally often."""
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    counts = np.histogram(values.clamp(low, high).numpy(), bins=5, range=(low, high))[0]
    expected = len(values) / 5
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi square, 4 degrees, p = 0.001


# --- all at once ------------------------------------------------------------------------------------------------


def test_without_strength_it_equals_the_evaluation_transform_exactly() -> None:
    for size in (33, 64, 224):
        pictures, index = textures(3, size), torch.arange(3)
        still = ScannerAugmentation(seed=1, **STILL)(pictures, index, 5)
        assert torch.equal(still, EvaluationTransform()(pictures, index, 5))


def test_without_its_own_parameters_it_equals_the_reports_augmentation() -> None:
    pictures, index = textures(), torch.arange(6)
    ours = ScannerAugmentation(seed=2)(pictures, index, 3)
    assert torch.allclose(ours, ReportAugmentation(seed=2)(pictures, index, 3), atol=1e-4)


def test_a_sample_depends_neither_on_its_batch_nor_on_the_global_generator() -> None:
    transform = ScannerAugmentation(seed=3, **STRONG)
    pictures, index = textures(), torch.tensor([4, 17, 2, 99, 5, 6])
    batch_of_all = transform(pictures, index, 2)
    torch.manual_seed(5)
    for row in range(6):
        alone = transform(pictures[row : row + 1], index[row : row + 1], 2)
        assert torch.allclose(alone[0], batch_of_all[row], atol=1e-5)
    assert torch.allclose(transform(pictures.flip(0), index.flip(0), 2).flip(0), batch_of_all, atol=1e-5)
    assert torch.equal(transform(pictures, index, 2), batch_of_all)


def test_seed_epoch_and_index_each_change_a_sample() -> None:
    picture = textures(1)

    def augmented(seed: int, epoch: int, index: int) -> Tensor:
        return ScannerAugmentation(seed=seed, **STRONG)(picture, torch.tensor([index]), epoch)

    first = augmented(1, 2, 3)
    assert torch.equal(first, augmented(1, 2, 3))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.allclose(first, augmented(*other), atol=1e-2)


def test_the_input_is_unchanged_and_the_output_is_a_normalised_batch() -> None:
    pictures = textures()
    before = pictures.clone()
    transform = ScannerAugmentation(seed=1, **STRONG)
    batch = transform(pictures, torch.arange(6), 0)
    assert torch.equal(pictures, before)
    assert batch.shape == (6, 3, 40, 40)
    assert batch.dtype == torch.float32
    assert batch.isfinite().all()
    shown = transform.display(batch)
    plain = ScannerAugmentation(seed=1, **STRONG, **GRAY)(pictures, torch.arange(6), 0)[:, 0]
    assert torch.allclose(shown, plain, atol=1e-5)
    assert plain.min() >= 0
    assert plain.max() <= 1


# --- one at a time ----------------------------------------------------------------------------------------------


def test_zoom_scales_about_the_centre_uniformly_in_the_logarithm() -> None:
    centre, spread = moments(many(blob(), zoom=0.4))
    _, original = moments(blob()[None])
    scale = (spread / original).log()
    widest = -np.log(1 - 0.4)
    assert centre.abs().max() < 0.05
    assert_uniform(scale.mean(1), -widest, widest, slack=0.02)


def test_zoom_stretches_by_a_quarter_of_its_range_and_independently_of_the_scale() -> None:
    _, spread = moments(many(blob(), zoom=0.4))
    _, original = moments(blob()[None])
    scale = (spread / original).log()
    stretch = (scale[:, 0] - scale[:, 1]) / 2
    quarter = -np.log(1 - 0.4) / 4
    assert_uniform(stretch, -quarter, quarter, slack=0.01)
    assert abs(np.corrcoef(stretch, scale.mean(1))[0, 1]) < 0.15


def test_a_scale_above_one_crops_and_below_one_pads_with_black() -> None:
    gray = many(torch.full((32, 32), 255, dtype=torch.uint8), zoom=0.3)
    corner_is_black = gray[:, 0, 0] < 0.01
    assert 0.3 < corner_is_black.float().mean() < 0.7
    assert (gray[:, 16, 16] > 0.999).all()


def test_shift_moves_along_both_axes_independently_and_changes_nothing_else() -> None:
    centre, spread = moments(many(blob(), shift=0.2))
    for axis in range(2):
        assert_uniform(centre[:, axis], -0.2 * 64, 0.2 * 64, slack=0.05)
    assert abs(np.corrcoef(centre[:, 0], centre[:, 1])[0, 1]) < 0.15
    # Interpolation between pixels widens a blob of 5 pixels by at most a few hundredths.
    assert (spread - moments(blob()[None])[1]).abs().max() < 0.06


def test_all_geometric_changes_are_one_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    sample = torch.nn.functional.grid_sample

    def counted(*arguments: Any, **keywords: Any) -> Tensor:
        calls.append(keywords)
        return sample(*arguments, **keywords)

    monkeypatch.setattr(torch.nn.functional, "grid_sample", counted)
    ScannerAugmentation(seed=1, **STRONG)(textures(), torch.arange(6), 0)
    assert len(calls) == 1


def test_the_stretch_is_along_the_image_axes_at_any_rotation() -> None:
    """A round blob that is rotated, then stretched along the axes, has no correlation between x and y."""
    gray = many(blob(), zoom=0.5, rotation=180.0).double()
    positions = torch.arange(64, dtype=torch.float64) - 31.5
    _, spread = moments(gray)
    covariance = (gray * positions * positions[:, None]).sum((1, 2)) / gray.sum((1, 2))
    assert (spread[:, 0] / spread[:, 1]).log().abs().max() > 0.25
    assert (covariance / spread.prod(1)).abs().max() < 0.02


def test_gamma_raises_gray_levels_to_a_power_and_keeps_black_and_white() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(16, 16)
    for strength in (0.5, 2.0):
        gray = many(ramp, gamma=strength).flatten(1)
        assert (gray[:, 0] == 0).all()
        assert (gray[:, 255] == 1).all()
        levels = (torch.arange(1, 255) / 255).log()
        power = gray[:, 1:255].log() / levels
        assert torch.allclose(power, power[:, :1].expand_as(power), rtol=1e-3)
        assert_uniform(power[:, 100].log(), -strength, strength, slack=1e-3)


def borders(size: int, share: float) -> tuple[Tensor, Tensor]:
    """The uncovered area of a white field [MANY, S, S], and the widths [4, MANY] of left, right, top and bottom."""
    is_open = many(torch.full((size, size), 255, dtype=torch.uint8), border=share) == 1
    columns, rows = is_open.any(1), is_open.any(2)
    sides = (columns, columns.flip(1), rows, rows.flip(1))
    return is_open, torch.stack([side.int().argmax(1) for side in sides])


def test_each_side_has_a_border_with_probability_one_half_up_to_the_given_width() -> None:
    is_open, widths = borders(size=100, share=0.3)
    # The uncovered area is one rectangle.
    assert torch.equal(is_open, is_open.any(2)[:, :, None] & is_open.any(1)[:, None, :])
    for width in widths:
        assert 0.4 < (width > 0).float().mean() < 0.6
        assert_uniform(width[width > 0].double(), 0, 30, slack=0)
    apart = np.triu_indices(4, 1)
    assert np.abs(np.corrcoef(widths > 0)[apart]).max() < 0.15
    for first, second in zip(*apart, strict=True):
        both = widths[[first, second]][:, (widths[first] > 0) & (widths[second] > 0)]
        assert abs(np.corrcoef(both)[0, 1]) < 0.3


def test_the_largest_border_is_equally_wide_on_all_sides() -> None:
    _, widths = borders(size=10, share=0.2)
    assert widths.amax(1).tolist() == [2, 2, 2, 2]


def test_the_borders_of_an_image_have_one_gray_level_that_is_mostly_black() -> None:
    gray = many(torch.full((50, 50), 255, dtype=torch.uint8), border=0.3).flatten(1)
    levels = [row[row < 1].unique() for row in gray]
    assert all(len(level) <= 1 for level in levels)
    found = torch.cat(levels)
    black = found == 0
    assert 0.62 < black.float().mean() < 0.78
    assert_uniform(found[~black].double(), 0, 1, slack=0)


def test_borders_are_not_changed_by_brightness_and_gamma() -> None:
    """A collimator is in front of the film: exposure does not lighten it."""
    white = torch.full((50, 50), 255, dtype=torch.uint8)
    plain = many(white, border=0.3)
    exposed = many(white, border=0.3, brightness=0.5, contrast=0.5, gamma=0.5, blur=2.0)
    assert torch.equal(exposed[plain < 1], plain[plain < 1])


def test_blur_spreads_a_point_by_a_uniform_sigma_and_keeps_its_sum() -> None:
    point = torch.zeros(65, 65, dtype=torch.uint8)
    point[32, 32] = 255
    blur = 3.0 * 224 / 65  # three pixels of this image
    gray = many(point, blur=blur)
    assert torch.allclose(gray.sum((1, 2)), torch.ones(MANY), atol=1e-4)
    centre, spread = moments(gray)
    assert centre.abs().max() < 1e-4
    assert torch.allclose(spread[:, 0], spread[:, 1], atol=1e-4)
    # Kernels end at 2.5 times the largest sigma, which reduces the largest spreads by up to a twentieth, and
    # a Gaussian much narrower than a pixel has no effect.
    assert_uniform(spread.mean(1), 0, 3, slack=0)
    assert spread.max() > 2.75


def test_sigma_is_given_for_224_pixels_and_scales_with_the_image() -> None:
    transform = ScannerAugmentation(seed=4, **STILL, **GRAY, blur=4.0)
    index = torch.arange(20)
    spreads = []
    for size in (113, 225):
        points = torch.zeros(20, size, size, dtype=torch.uint8)
        points[:, size // 2, size // 2] = 255
        spreads.append(moments(transform(points, index, 0)[:, 0])[1][:, 0])
    small, large = spreads
    assert large.max() <= 4.05
    wide = small > 0.7
    assert wide.sum() >= 10
    assert torch.allclose(large[wide] / small[wide], torch.tensor(225 / 113).double(), rtol=0.03)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_equals_torchvisions_gaussian_with_a_radius_of_two_and_a_half_sigma(sigma: float) -> None:
    pictures = textures().unsqueeze(1).float() / 255
    ours = blurred(pictures, np.full(6, sigma), sigma)
    radius = int(np.ceil(2.5 * sigma))
    theirs = TF.gaussian_blur(pictures, [2 * radius + 1] * 2, [sigma, sigma])
    inner = slice(radius, -radius)  # torchvision reflects the image at its edges
    assert torch.allclose(ours[..., inner, inner], theirs[..., inner, inner], atol=1e-5)


def test_blur_does_not_darken_the_edges() -> None:
    level = torch.full((2, 1, 20, 20), 0.7)
    assert torch.allclose(blurred(level, np.array([1.0, 3.0]), 3.0), level, atol=1e-6)


def test_a_blur_wider_than_the_image_is_possible() -> None:
    gray = many(textures(1, 12)[0], blur=500.0)
    assert gray.isfinite().all()


# --- standardization --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_standardized_images_have_the_same_mean_and_standard_deviation_after_augmentation(
    kind: type[Any],
) -> None:
    arguments: dict[str, Any] = {**GRAY, "standardize": True}
    if kind is not EvaluationTransform:
        arguments["seed"] = 1
    if kind is ScannerAugmentation:
        arguments |= STRONG
    batch = kind(**arguments)(textures(), torch.arange(6), 0)
    spread, centre = torch.std_mean(batch, dim=(1, 2, 3))
    assert torch.allclose(centre, torch.full((6,), 0.5), atol=1e-3)
    assert torch.allclose(spread, torch.full((6,), 0.25), atol=1e-3)


def test_standardized_images_do_not_depend_on_exposure_and_window() -> None:
    transform = EvaluationTransform(standardize=True)
    pictures = textures()
    dull = (pictures.float() * 0.4 + 60).round().to(torch.uint8)
    index = torch.arange(6)
    assert torch.allclose(transform(pictures, index, 0), transform(dull, index, 0), atol=0.05)
    plain = EvaluationTransform()
    assert not torch.allclose(plain(pictures, index, 0), plain(dull, index, 0), atol=0.5)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_image_is_standardized_to_the_mean(level: int) -> None:
    flat = torch.full((1, 16, 16), level, dtype=torch.uint8)
    batch = EvaluationTransform(**GRAY, standardize=True)(flat, torch.tensor([0]), 0)
    assert torch.allclose(batch, torch.full_like(batch, 0.5), atol=1e-4)


# --- the key of a cache -----------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "channels": (1, {"mean": (0.485,), "std": (0.229,)}),
    "mean": ((0.485, 0.456, 0.4), {}),
    "std": ((0.229, 0.224, 0.2), {}),
    "standardize": (True, {}),
    "gray": (True, {}),
    "seed": (8, {}),
    "rotation": (10.0, {}),
    "flip": (0.25, {}),
    "brightness": (0.1, {}),
    "contrast": (0.1, {}),
    "saturation": (0.1, {}),
    "zoom": (0.2, {}),
    "shift": (0.05, {}),
    "gamma": (0.3, {}),
    "border": (0.1, {}),
    "blur": (1.0, {}),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_every_parameter_is_part_of_the_identity(kind: type[Any]) -> None:
    names = list(inspect.signature(kind).parameters)
    if kind is ScannerAugmentation:  # which passes the report's on
        names = [*dict.fromkeys([*inspect.signature(ReportAugmentation).parameters, *names[:-1]])]
    base: dict[str, Any] = {} if kind is EvaluationTransform else {"seed": 7}
    identities = [kind(**base).identity]
    for name in names:
        value, along = OTHER[name]
        identities.append(kind(**{**base, name: value, **along}).identity)
    assert len(set(identities)) == len(names) + 1
    assert kind(**base).identity == identities[0]


def test_identities_name_the_transform_and_differ() -> None:
    transforms = [EvaluationTransform(), ReportAugmentation(seed=0), ScannerAugmentation(seed=0)]
    assert len({transform.identity for transform in transforms}) == 3
    for transform in transforms:
        assert type(transform).__name__ in transform.identity


def test_a_list_of_means_has_the_same_identity_as_a_tuple() -> None:
    listed = EvaluationTransform(mean=[0.5, 0.5, 0.5], std=[1, 1, 1])
    assert listed.identity == EvaluationTransform(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)).identity


# --- ranges -----------------------------------------------------------------------------------------------------

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "arguments",
    [
        *({"zoom": value} for value in (-0.1, 0.9, NAN)),
        *({"shift": value} for value in (-0.1, 0.51, NAN)),
        *({"border": value} for value in (-0.1, 0.51, NAN)),
        *({"gamma": value} for value in (-0.1, NAN, INFINITE)),
        *({"blur": value} for value in (-0.1, NAN, INFINITE)),
        *({"rotation": value} for value in (-1.0, 181.0)),
        {"flip": 1.1},
        {"brightness": -0.1},
        {"contrast": 1.5},
    ],
)
def test_parameters_out_of_range_are_errors_that_name_them(arguments: dict[str, float]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"^{name} has to be"):
        ScannerAugmentation(seed=0, **arguments)


def test_means_that_do_not_fit_the_channels_are_errors() -> None:
    with pytest.raises(ValueError, match="1 channels need as many"):
        ScannerAugmentation(seed=0, channels=1)
