"""Sanity checks of Grad-CAM maps: three checks of whether they reflect the model.

- Randomisation (Adebayo et al. 2018, NeurIPS, "Sanity checks for saliency maps"). A map that stays the same when
  the weights are randomised shows edges of the image, not what the model has learned.
- Border. A model that reads the marker in a corner, or the collimator's edge, has its maps on the border, or
  changes its predictions when the border is occluded.
- Occlusion (after Samek et al. 2017). Occluding the highest region of a map must change the logit more than
  occluding a region of the same shape elsewhere.

They check the maps of a few images, at most :data:`MOST`, and no diagnosis: a model may use the right region for
the wrong reason.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.compat import former_keywords
from pneumo_cli.evaluation.grad_cam import GradCam, enlarged
from pneumo_cli.evaluation.result import NamedTable
from pneumo_cli.runtime.percentages import share

MOST = 32
BORDER = 0.1
"""Width of the border on each side, as a share of the image's side."""
COVERED = 0.2
"""Share of an image that is occluded."""

_UNCHANGED = (
    0.5  # rank correlation with the maps of random weights, at and above which maps ignore the weights
)
_ON_BORDER = 0.5  # share of mass, or of changed predictions, at and above which the border dominates
_STANDARD_ERRORS = 2.0
_COPIES = 2  # of the model with all weights randomised


class Occlusion(NamedTuple):
    """The drop of the logit, away from the predicted class, when a fifth of an image is occluded; [N] each.

    Attributes:
        highest: where the map is highest.
        elsewhere: a region of the same shape, shifted and flipped at random; mean over several draws.
        lowest: where the map is lowest.
    """

    highest: NDArray[np.float64]
    elsewhere: NDArray[np.float64]
    lowest: NDArray[np.float64]

    @property
    def gain(self) -> tuple[float, float]:
        """Mean of highest - elsewhere, and its standard error (infinite for fewer than two images)."""
        gains = self.highest - self.elsewhere
        if len(gains) < 2:
            return float(gains.sum()), float("inf")
        return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))

    @property
    def passed(self) -> bool:
        """Whether the highest fifth matters significantly more than another region."""
        mean, error = self.gain
        return mean > 0 and mean > _STANDARD_ERRORS * error


@dataclass(frozen=True)
class SaliencyChecks:
    """The results of the checks.

    Attributes:
        images: number of images.
        empty: number of images without evidence for their predicted class, which the checks of border and occlusion
            leave out.
        correlation_head: median absolute rank correlation, 0 to 1, of the evidence with that of a copy of the model
            whose last layer is randomised.
        correlation_all: the same with all weights randomised; below 0.5 is expected.
        border: share of the maps' mass on the outer tenth of the image, mean over the images predicted as class 0
            and as class 1; NaN for a class without a map. Evenly spread mass has :attr:`border_area`.
        border_area: the border's share of the area, 0.36.
        flipped: share of the images predicted as class 0 and as class 1 whose prediction changes when the border is
            occluded by the image's mean; NaN for a class without an image.
        occlusion: of each image with a map.
    """

    images: int
    empty: int
    correlation_head: float
    correlation_all: float
    border: tuple[float, float]
    border_area: float
    flipped: tuple[float, float]
    occlusion: Occlusion

    @property
    def weights_matter(self) -> bool:
        """Whether the maps change with the weights."""
        return self.correlation_all < _UNCHANGED

    @property
    def off_border(self) -> bool:
        """Whether the border has less than half of each class's mass, and flips less than half of its predictions.

        Mass alone would pass a model that reads markers and whose maps have some evidence everywhere.
        """
        return not any(share >= _ON_BORDER for share in (*self.border, *self.flipped))

    @property
    def passed(self) -> bool:
        """Whether there are maps and all three checks are passed."""
        return self.empty < self.images and self.weights_matter and self.off_border and self.occlusion.passed

    @property
    def results(self) -> tuple[str, str, str]:
        """One sentence each on weights, border and occlusion."""
        if self.empty == self.images:
            return ("There is no map to check.",) * 3
        return (
            "The maps change with the weights, as expected."
            if self.weights_matter
            else "The maps hardly change with the weights: they show the image, not the model.",
            "Most of the evidence is inside, and the predictions do not depend on the border."
            if self.off_border
            else "The predictions depend on the border: the model may read markers or edges.",
            f"Occluding the highest region of the maps {'changes' if self.occlusion.passed else 'does not change'} "
            "the logit more than occluding another region.",
        )

    def metrics(self) -> dict[str, float]:
        """The results by name, without those that are undefined because there is no map."""
        highest, elsewhere, lowest = self._mean_drops
        values = {
            "saliency_correlation_head": self.correlation_head,
            "saliency_correlation_all": self.correlation_all,
            "saliency_border_0": self.border[0],
            "saliency_border_1": self.border[1],
            "saliency_flipped_0": self.flipped[0],
            "saliency_flipped_1": self.flipped[1],
            "saliency_drop_highest": highest,
            "saliency_drop_elsewhere": elsewhere,
            "saliency_drop_lowest": lowest,
        }
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def table(self, classes: tuple[str, str]) -> NamedTable:
        """The checks for the report.

        Args:
            classes: names of class 0 and class 1.
        """
        highest, elsewhere, lowest = map(_number, self._mean_drops)
        mean, error = self.occlusion.gain
        gain = f"; difference {mean:.2f} ± {error:.2f} (standard error)" if np.isfinite(error) else ""
        measured = (
            f"rank correlation {_number(self.correlation_all)}; last layer only {_number(self.correlation_head)}",
            f"mass of the maps: {_shares(classes, self.border)}; predictions changed by occluding it: "
            f"{_shares(classes, self.flipped)}",
            f"drop of the logit: {highest} at the highest, {elsewhere} elsewhere, {lowest} at the lowest{gain}",
        )
        expected = (
            f"below {_UNCHANGED} with all weights randomised",
            f"both below {share(_ON_BORDER)}; evenly spread mass: {share(self.border_area)}",
            f"highest above elsewhere by {_STANDARD_ERRORS:g} standard errors",
        )
        checks = ("Randomised weights", "Evidence on the border", "Occlusion of a fifth of the image")
        note = f"On {self.images} images; the border is the outer {share(BORDER)} on each side."
        if self.empty:
            note += f" {self.empty} of them have no map: there is no evidence for the predicted class."
        rows = tuple(zip(checks, measured, expected, self.results, strict=True))
        return NamedTable(
            "Sanity checks of the saliency maps", ("Check", "Measured", "Expected", "Result"), rows, note
        )

    @property
    def _mean_drops(self) -> list[float]:
        return [float(drops.mean()) if drops.size else np.nan for drops in self.occlusion]


@former_keywords(cut="logit_threshold")
def saliency_checks(
    cam: GradCam, images: Tensor, *, seed: int, logit_threshold: float = 0.0, draws: int = 4
) -> SaliencyChecks:
    """Check the maps of a few images, each for its predicted class.

    Costs about ``draws`` + 12 forward passes of the images, under the caller's autocast. The model is copied and
    not changed, and the global random generators are not used.

    Args:
        images: [B, C, H, W], as the model takes them; 2 to :data:`MOST`.
        seed: of the randomised weights and of the occluded regions.
        logit_threshold: the logit at and above which an image is predicted as class 1.
        draws: random regions per image.

    Raises:
        ValueError: there are fewer or more images.
    """
    if not 2 <= len(images) <= MOST:
        raise ValueError(f"the checks of maps take 2 to {MOST} images, not {len(images)}")
    generator = torch.Generator().manual_seed(seed)
    predicted = (cam.logits(images) >= logit_threshold).long()
    evidence = cam.evidence(images)
    maps = enlarged(evidence * (predicted * 2 - 1)[:, None, None], images.shape[-2:])
    filled = maps.amax((1, 2)) > 0
    mapped = (images[filled], maps[filled], predicted[filled])
    return SaliencyChecks(
        images=len(images),
        empty=int((~filled).sum()),
        correlation_head=_correlation(cam, images, evidence, generator, whole=False, copies=1),
        correlation_all=_correlation(cam, images, evidence, generator, whole=True, copies=_COPIES),
        border=_per_class(border_shares(maps[filled]), predicted[filled]),
        border_area=border_area(*images.shape[-2:]),
        flipped=_per_class(_flipped_without_border(cam, images, predicted, logit_threshold), predicted),
        occlusion=occlude(cam.logits, *mapped, generator=generator, draws=draws),
    )


def border_area(height: int, width: int) -> float:
    """The border's share of an image's area."""
    return float(_on_border(height, width).mean())


def border_shares(maps: Tensor) -> NDArray[np.float64]:
    """The share of each map's mass on the border, [N], 0 to 1, for maps [N, H, W], none of them all 0."""
    mass = maps.detach().cpu().double().numpy()  # MPS has no double precision
    return np.asarray((mass * _on_border(*mass.shape[1:])).sum((1, 2)) / mass.sum((1, 2)))


def occlude(
    to_logits: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    predicted: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 4,
) -> Occlusion:
    """Occlude a fifth of each image by its own mean, where its map is highest, elsewhere, and where it is lowest.

    Args:
        to_logits: from images to logits of class 1, [N], without gradients.
        images: [N, C, H, W].
        maps: [N, H, W], 0 to 1.
        predicted: [N] of 0 and 1; a drop is a change of the logit away from that class.
        generator: of the random regions, on the CPU.
        draws: random regions per image.
    """
    if not len(images):
        return Occlusion(*[np.zeros(0)] * 3)
    signs = predicted.float() * 2 - 1
    whole = to_logits(images)

    def drop(mask: Tensor) -> NDArray[np.float64]:
        return np.asarray((signs * (whole - to_logits(_occluded(images, mask)))).cpu().double().numpy())

    order = _in_patches(maps.detach().float().cpu(), generator)
    highest, lowest = _largest_region(order), _largest_region(-order)
    elsewhere = [drop(_moved(highest, generator)) for _ in range(draws)]
    return Occlusion(drop(highest), np.mean(elsewhere, axis=0), drop(lowest))


def randomised(model: nn.Module, examples: Tensor, generator: torch.Generator, *, whole: bool) -> nn.Module:
    """A copy of a model with random weights: each tensor sampled from a normal with its own mean and deviation.

    Args:
        model: in eval mode; is not changed.
        examples: [B, C, H, W], for new batch statistics of the copy: with those of the trained weights its
            activations would vanish or explode, and its maps would be flat for that reason alone.
        generator: on the CPU.
        whole: all weights; else those of the last layer that has any.
    """
    changed = copy.deepcopy(model).requires_grad_(False)
    layers = [layer for layer in changed.modules() if any(True for _ in layer.parameters(recurse=False))]
    for layer in layers if whole else layers[-1:]:
        for weights in layer.parameters(recurse=False):
            deviation, mean = torch.std_mean(weights.float(), correction=0)
            samples = torch.randn(weights.shape, generator=generator).to(weights.device)
            weights.copy_(samples * deviation + mean)
    if whole:
        _measure_batch_statistics(changed, examples)
    return changed


def rank_correlation(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Spearman's correlation of two arrays of one size; ties get their mean rank. 0 where one is constant."""
    ranks = [_ranks(np.asarray(values).ravel()) for values in (first, second)]
    deviations = [values - values.mean() for values in ranks]
    norm = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return float(deviations[0] @ deviations[1] / norm) if norm > 0 else 0.0


def _correlation(
    cam: GradCam, images: Tensor, evidence: Tensor, generator: torch.Generator, *, whole: bool, copies: int
) -> float:
    """Median absolute rank correlation of the evidence with that of randomised copies.

    Uses the signed evidence at the layer's own resolution: enlarged maps are interpolated, and clipped ones would
    differ merely because a copy has no evidence for the class. Absolute, because the sign of a random head is
    arbitrary.
    """
    ours = evidence.cpu().numpy()
    correlations = []
    for _ in range(copies):
        model = randomised(cam.model, images, generator, whole=whole)
        theirs = GradCam(model, cam.to_logits, images[:1]).evidence(images).cpu().numpy()
        correlations += [abs(rank_correlation(one, other)) for one, other in zip(ours, theirs, strict=True)]
    return float(np.median(correlations))


def _measure_batch_statistics(model: nn.Module, examples: Tensor) -> None:
    norms = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            model(examples)
    for norm in norms:
        norm.eval()


def _on_border(height: int, width: int) -> NDArray[np.float64]:
    """[H, W], the share of each pixel on the border, whose width need not be a whole number of pixels."""
    rows, columns = (
        np.clip(np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) - BORDER * n, 0, 1)
        for n in (height, width)
    )
    return np.asarray(1 - rows[:, None] * columns)


def _in_patches(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Maps whose ties, such as zeros, are broken in patches, so that no region is speckled."""
    patches = torch.rand((len(maps), 1, 4, 4), generator=generator)
    return maps + 1e-4 * F.interpolate(patches, size=maps.shape[1:], mode="bilinear")[:, 0]


def _largest_region(order: Tensor) -> Tensor:
    """bool [N, H, W], true at the :data:`COVERED` share of pixels where ``order`` is largest."""
    flat = order.flatten(1)
    places = flat.topk(max(1, round(COVERED * flat.shape[1])), dim=1).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True).view_as(order)


def _moved(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Each mask flipped and shifted at random, around the edges: the same shape and area at another place."""
    moved = []
    for mask in masks:
        down, across, *flips = (int(torch.randint(n, (), generator=generator)) for n in (*mask.shape, 2, 2))
        flipped = mask.flip([axis for axis in (0, 1) if flips[axis]])
        moved.append(flipped.roll((down, across), (0, 1)))
    return torch.stack(moved)


def _ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()], np.float64)


def _flipped_without_border(
    cam: GradCam, images: Tensor, predicted: Tensor, logit_threshold: float
) -> NDArray[np.float64]:
    """1 for each image whose prediction changes when its border is occluded, 0 for the others."""
    border = torch.from_numpy(_on_border(*images.shape[-2:]) > 0.5).to(images.device)
    logits = cam.logits(_occluded(images, border.expand(len(images), -1, -1)))
    return np.asarray(((logits >= logit_threshold) != (predicted == 1)).cpu().double().numpy())


def _occluded(images: Tensor, masks: Tensor) -> Tensor:
    """Images [N, C, H, W] with their own mean, channel by channel, where masks [N, H, W] are true."""
    return torch.where(masks[:, None].to(images.device), images.mean((2, 3), keepdim=True), images)


def _per_class(values: NDArray[np.float64], predicted: Tensor) -> tuple[float, float]:
    """Means over the images predicted as class 0 and as class 1; NaN where there are none."""
    members = (values[predicted.cpu().numpy() == label] for label in (0, 1))
    first, second = (float(of.mean()) if of.size else np.nan for of in members)
    return first, second


def _shares(classes: tuple[str, str], shares: tuple[float, float]) -> str:
    pairs = zip(classes, shares, strict=True)
    return ", ".join(f"{name} {share(value)}" for name, value in pairs if np.isfinite(value)) or "–"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
