"""Whether Grad-CAM's maps say anything about a model: three checks that a map has to pass before it is believed.

- Other weights, other maps (Adebayo et al. 2018, NeurIPS, "Sanity checks for saliency maps"). A map that stays the
  same when the weights are drawn at random shows edges of the image, not what the model has learned.
- The border. A model that reads the marker in a corner, or the collimator's edge, has its maps on the border or
  decides otherwise when that is covered.
- Occlusion (after Samek et al. 2017). Covering what a map points at has to move the logit more than covering as
  much of the same shape elsewhere.

They are about the maps of a handful of images, at most :data:`MOST`, and about no diagnosis: a model may look at
the right place for the wrong reason.
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

from pneumo_cli.evaluation.grad_cam import GradCam, enlarged
from pneumo_cli.evaluation.result import NamedTable

MOST = 32
BORDER = 0.1
"""Width of the border on each side, as a share of the image's side."""
COVERED = 0.2
"""Share of an image that is covered."""

_UNCHANGED = (
    0.5  # rank correlation, with the maps of random weights, from which on maps do not depend on weights
)
_ON_BORDER = 0.5  # share of the mass on the border from which on a model looks there
_SURE = 2.0  # standard errors
_COPIES = 2  # of the model with all weights drawn


class Occlusion(NamedTuple):
    """How far the logit falls, away from the class that was called, when parts of an image are covered; [N] each.

    Attributes:
        highest: the fifth of the image where the map is highest.
        elsewhere: as much of the same shape, moved and mirrored at random; mean over several draws.
        lowest: the fifth of the image where the map is lowest.
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
        """Whether covering the highest fifth costs surely more than covering another."""
        mean, error = self.gain
        return mean > 0 and mean > _SURE * error


@dataclass(frozen=True)
class SaliencyChecks:
    """What the checks found.

    Attributes:
        images: how many were checked.
        empty: how many of them have no evidence for the class that they were called; they are left out of border
            and occlusion.
        correlation_head: median absolute rank correlation, 0 to 1, of the evidence with that of a copy of the model
            whose last layer is drawn at random.
        correlation_all: the same, with all weights at random; below 0.5 is expected.
        border: share of the maps' mass on the outer tenth of the image, mean over the images called class 0 and
            class 1; NaN for a class without a map. Evenly spread mass has :attr:`border_area`.
        border_area: the border's share of the area, 0.36.
        flipped: share of the images called class 0 and class 1 that are called otherwise when the border is covered
            by the image's mean; NaN for a class without an image.
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
        """Whether the border has less than half of the mass, and turns less than half of the calls, of each class.

        Mass alone lets a reader of markers through whose maps have some evidence everywhere.
        """
        return not any(share >= _ON_BORDER for share in (*self.border, *self.flipped))

    @property
    def passed(self) -> bool:
        """Whether there are maps and all three checks are passed."""
        return self.empty < self.images and self.weights_matter and self.off_border and self.occlusion.passed

    @property
    def verdicts(self) -> tuple[str, str, str]:
        """A sentence each on weights, border and occlusion."""
        if self.empty == self.images:
            return ("There is no map to check.",) * 3
        return (
            "The maps change with the weights, as they should."
            if self.weights_matter
            else "The maps hardly change with the weights: they show the image, not the model.",
            "Most of the evidence lies inside, and the decisions do not hang on the border."
            if self.off_border
            else "The decisions rest on the border: the model may read markers or edges.",
            "Covering what the maps point at moves the decision more than covering another part."
            if self.occlusion.passed
            else "Covering what the maps point at does not move the decision more than covering another part.",
        )

    def metrics(self) -> dict[str, float]:
        """The numbers, by name; those that do not exist (no map) are left out of the last two checks."""
        highest, elsewhere, lowest = (
            float(drops.mean()) if drops.size else np.nan for drops in self.occlusion
        )
        found = {
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
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def table(self, classes: tuple[str, str]) -> NamedTable:
        """The checks for people.

        Args:
            classes: names of class 0 and class 1.
        """
        weights, border, occlusion = self.verdicts
        highest, elsewhere, lowest = (
            _number(drops.mean() if drops.size else np.nan) for drops in self.occlusion
        )
        mean, error = self.occlusion.gain
        sure = f"; difference {mean:.2f} ± {error:.2f} (standard error)" if np.isfinite(error) else ""
        rows = (
            (
                "Other weights, other maps",
                f"rank correlation {_number(self.correlation_all)}; last layer alone "
                f"{_number(self.correlation_head)}",
                f"below {_UNCHANGED} with all weights at random",
                weights,
            ),
            (
                "Evidence on the border",
                f"mass of the maps: {_shares(classes, self.border)}; called otherwise when it is covered: "
                f"{_shares(classes, self.flipped)}",
                f"both below {_ON_BORDER:.0%}; mass spread evenly: {self.border_area:.0%}",
                border,
            ),
            (
                "Covering a fifth of the image",
                f"logit falls by {highest} at the highest, {elsewhere} elsewhere, {lowest} at the lowest{sure}",
                f"highest above elsewhere by {_SURE:g} standard errors",
                occlusion,
            ),
        )
        note = f"On {self.images} images; the border is the outer {BORDER:.0%} on each side."
        if self.empty:
            note += f" {self.empty} of them have no map, for want of evidence for the class that they were called."
        return NamedTable(
            "Can the maps be believed?", ("Check", "Measured", "Expected", "Verdict"), rows, note
        )


def saliency_checks(
    cam: GradCam, images: Tensor, *, seed: int, logit_threshold: float = 0.0, draws: int = 4
) -> SaliencyChecks:
    """Check the maps of a handful of images, each for the class that it is called.

    Costs about ``draws`` + 12 forward passes of the images, under the caller's autocast. The model is copied, not
    changed; the global random generators are not touched.

    Args:
        images: [B, C, H, W], as the model takes them; 2 to :data:`MOST`.
        seed: of the weights that are drawn and of the places that are covered.
        logit_threshold: the logit from which on an image is called class 1.
        draws: random places per image.

    Raises:
        ValueError: there are fewer or more images.
    """
    if not 2 <= len(images) <= MOST:
        raise ValueError(f"the checks of maps take 2 to {MOST} images, not {len(images)}")
    generator = torch.Generator().manual_seed(seed)
    logits = cam.logits(images)
    called = (logits >= logit_threshold).long()
    signs = called.float() * 2 - 1
    evidence = cam.evidence(images)
    maps = enlarged(evidence * signs[:, None, None], images.shape[-2:])
    shown = maps.amax((1, 2)) > 0

    return SaliencyChecks(
        images=len(shown),
        empty=int((~shown).sum()),
        correlation_head=_correlation(cam, images, evidence, generator, whole=False, copies=1),
        correlation_all=_correlation(cam, images, evidence, generator, whole=True, copies=_COPIES),
        border=_of_each_class(border_shares(maps[shown]), called[shown]),
        border_area=border_area(*images.shape[-2:]),
        flipped=_of_each_class(_flipped_without_border(cam, images, called, logit_threshold), called),
        occlusion=occlude(
            cam.logits, images[shown], maps[shown], called[shown], generator=generator, draws=draws
        ),
    )


def border_area(height: int, width: int) -> float:
    """The border's share of an image's area."""
    return float(_on_border(height, width).mean())


def border_shares(maps: Tensor) -> NDArray[np.float64]:
    """The share of each map's mass on the border, [N] of 0 to 1, for maps [N, H, W] none of which is all 0."""
    mass = maps.detach().double().cpu().numpy()
    return np.asarray((mass * _on_border(*mass.shape[1:])).sum((1, 2)) / mass.sum((1, 2)))


def occlude(
    to_logits: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    called: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 4,
) -> Occlusion:
    """Cover a fifth of each image by its own mean, where its map is highest, elsewhere, and where it is lowest.

    Args:
        to_logits: from images to logits of class 1, [N], without gradients.
        images: [N, C, H, W].
        maps: [N, H, W], 0 to 1.
        called: [N] of 0 and 1; a logit falls when it moves away from that class.
        generator: of the random places, on the CPU.
        draws: random places per image.
    """
    if not len(images):
        nothing = np.zeros(0)
        return Occlusion(nothing, nothing, nothing)
    signs = called.float() * 2 - 1
    whole = to_logits(images)

    def fall(mask: Tensor) -> NDArray[np.float64]:
        return np.asarray((signs * (whole - to_logits(_covered(images, mask)))).double().cpu().numpy())

    order = _in_patches(maps.detach().float().cpu(), generator)
    highest, lowest = _largest_part(order), _largest_part(-order)
    elsewhere = [fall(_moved(highest, generator)) for _ in range(draws)]
    return Occlusion(fall(highest), np.mean(elsewhere, axis=0), fall(lowest))


def randomised(model: nn.Module, examples: Tensor, generator: torch.Generator, *, whole: bool) -> nn.Module:
    """A copy of a model whose weights know nothing: each tensor drawn from a normal of its own mean and spread.

    Args:
        model: in eval mode; stays as it is.
        examples: [B, C, H, W], on which the copy's batch statistics are measured anew: with those of the trained
            weights its signals would fade or explode, and the maps would be flat for that reason alone.
        generator: on the CPU.
        whole: all weights; else those of the last layer that has any.
    """
    changed = copy.deepcopy(model).requires_grad_(False)
    layers = [layer for layer in changed.modules() if any(True for _ in layer.parameters(recurse=False))]
    for layer in layers if whole else layers[-1:]:
        for weights in layer.parameters(recurse=False):
            spread, mean = torch.std_mean(weights.float(), correction=0)
            drawn = torch.randn(weights.shape, generator=generator).to(weights.device)
            weights.copy_(drawn * spread + mean)
    if whole:
        _measure_batch_statistics(changed, examples)
    return changed


def rank_correlation(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Spearman's, of two arrays of one size; equal values share their mean rank. 0 where one is constant."""
    ranks = [_ranks(np.asarray(values).ravel()) for values in (first, second)]
    deviations = [values - values.mean() for values in ranks]
    norm = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return float(deviations[0] @ deviations[1] / norm) if norm > 0 else 0.0


def _correlation(
    cam: GradCam, images: Tensor, evidence: Tensor, generator: torch.Generator, *, whole: bool, copies: int
) -> float:
    """Median absolute rank correlation of the evidence with that of randomised copies.

    On all signed values of the layer's own size: what lies between is interpolated, and a copy that finds no
    evidence for the class would be called different for that alone. Absolute, since the sign of a drawn head is
    chance.
    """
    ours = evidence.cpu().numpy()
    found = []
    for _ in range(copies):
        model = randomised(cam.model, images, generator, whole=whole)
        theirs = GradCam(model, cam.to_logits, images[:1]).evidence(images).cpu().numpy()
        found += [abs(rank_correlation(one, other)) for one, other in zip(ours, theirs, strict=True)]
    return float(np.median(found))


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
    """[H, W], the share of each pixel that is on the border: its width need not be whole pixels."""
    rows, columns = (
        np.clip(np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) - BORDER * n, 0, 1)
        for n in (height, width)
    )
    return np.asarray(1 - rows[:, None] * columns)


def _in_patches(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Maps whose equal values, such as the zeros of a map, are told apart in patches: no part may be speckled."""
    patches = torch.rand((len(maps), 1, 4, 4), generator=generator)
    return maps + 1e-4 * F.interpolate(patches, size=maps.shape[1:], mode="bilinear")[:, 0]


def _largest_part(order: Tensor) -> Tensor:
    """bool [N, H, W], true at the :data:`COVERED` share of places where ``order`` is largest."""
    flat = order.flatten(1)
    places = flat.topk(max(1, round(COVERED * flat.shape[1])), dim=1).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True).view_as(order)


def _moved(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Each mask mirrored and moved at random, around the edges: the same shape and area at another place."""
    height, width = masks.shape[1:]
    moved = []
    for mask in masks:
        down, across, *mirrors = (
            int(torch.randint(n, (), generator=generator)) for n in (height, width, 2, 2)
        )
        mirrored = mask.flip([axis for axis in (0, 1) if mirrors[axis]])
        moved.append(mirrored.roll((down, across), (0, 1)))
    return torch.stack(moved)


def _ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()], np.float64)


def _flipped_without_border(
    cam: GradCam, images: Tensor, called: Tensor, logit_threshold: float
) -> NDArray[np.float64]:
    """1 for each image that is called otherwise when its border is covered, 0 for the others."""
    border = torch.from_numpy(_on_border(*images.shape[-2:]) > 0.5).to(images.device)
    logits = cam.logits(_covered(images, border.expand(len(images), -1, -1)))
    return np.asarray(((logits >= logit_threshold) != (called == 1)).double().cpu().numpy())


def _covered(images: Tensor, masks: Tensor) -> Tensor:
    """Images [N, C, H, W] with their own mean, channel by channel, where masks [N, H, W] are true."""
    return torch.where(masks[:, None].to(images.device), images.mean((2, 3), keepdim=True), images)


def _of_each_class(values: NDArray[np.float64], called: Tensor) -> tuple[float, float]:
    """Mean over the images called class 0, and over those called class 1; NaN where there are none."""
    first, second = (values[called.cpu().numpy() == label] for label in (0, 1))
    return (
        float(first.mean()) if first.size else float("nan"),
        float(second.mean()) if second.size else float("nan"),
    )


def _shares(classes: tuple[str, str], shares: tuple[float, float]) -> str:
    known = zip(classes, shares, strict=True)
    return ", ".join(f"{name} {share:.0%}" for name, share in known if np.isfinite(share)) or "–"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
