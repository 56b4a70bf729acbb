"""Quality of reconstructions, compared with baselines, and the reconstruction error as an anomaly score.

The baselines need no network: the mean image, and principal components and bicubic downsampling with as many values
per image as the model's latent. Everything is measured on gray images, clipped to [0, 1], each image by itself.

Images are uint8 [n, S, S] on the CPU. The fidelity of generated images is measured in
``pneumo_cli.evaluation.generative``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.evaluation import NamedTable, RunSummary, binary_metrics
from pneumo_cli.runtime import Progress

Reconstructor = Callable[[Tensor], Tensor]
"""Reconstructs gray images: float32 [B, 1, S, S] in [0, 1] to the same shape, on the same device."""

HIGHEST_PSNR = 100.0
"""PSNR in dB given to a perfect reconstruction, whose ratio is infinite."""

_BATCH = 32
_WINDOW, _SIGMA = 11, 1.5  # of SSIM, in pixels
_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for gray levels from 0 to 1
_MAX_FITTED = 4096  # images that components are fitted on: a decomposition of seconds
_MAX_VALUES = 2**26  # gray levels of these images: 256 MiB as float32, and as much again for the components
_ROUNDING = 1e-7  # share of the largest variance below which a variance is rounding error


@dataclass(frozen=True)
class Quality:
    """How well each image is reconstructed, three arrays [n].

    Attributes:
        mse: mean squared error of gray levels from 0 to 1.
        psnr: peak signal-to-noise ratio in dB, at most :data:`HIGHEST_PSNR`.
        ssim: structural similarity (Wang et al. 2004), 1 for equal images.
    """

    mse: NDArray[np.float64]
    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64]


def image_quality(reconstructions: Tensor, originals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MSE, PSNR and SSIM of a batch, as in :class:`Quality`: three float32 [B].

    Args:
        reconstructions: float [B, C, S, S], clipped to [0, 1] and averaged over the channels; S at least 11, the
            width of SSIM's window.
        originals: the same shape, in [0, 1].
    """
    gray, real = (one.float().clamp(0, 1).mean(1, keepdim=True) for one in (reconstructions, originals))
    mse = (gray - real).square().mean((1, 2, 3))
    return mse, (-10 * mse.log10()).clamp(max=HIGHEST_PSNR), _ssim(gray, real)


def _ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity of gray images in [0, 1], float32 [B, 1, S, S]: float32 [B].

    The mean over windows around all pixels, weighted by a Gaussian (Wang et al. 2004). Beyond its borders an
    image is mirrored, as in torchmetrics.
    """
    size, border = images.shape[-1], _WINDOW // 2
    weights = [math.exp(-((offset / _SIGMA) ** 2) / 2) for offset in range(-border, border + 1)]
    # A matrix product from both sides is the fastest of the ways to average here.
    average = torch.zeros(size, size + 2 * border, device=images.device)
    for offset, weight in enumerate(weights):
        average.diagonal(offset).fill_(weight / sum(weights))
    images, others = (F.pad(one, [border] * 4, mode="reflect") for one in (images, others))
    moments = torch.cat((images, others, images.square(), others.square(), images * others))
    # bf16 has 8 significant bits: too few for means whose small differences follow.
    with torch.autocast(images.device.type, enabled=False):
        means = average @ moments @ average.T
    mean, other_mean, square, other_square, product = means.chunk(5)
    variances = (square - mean.square()).clamp(min=0) + (other_square - other_mean.square()).clamp(min=0)
    covariance = product - mean * other_mean
    luminance = (2 * mean * other_mean + _C1) / (mean.square() + other_mean.square() + _C1)
    return (luminance * (2 * covariance + _C2) / (variances + _C2)).mean((1, 2, 3))


class MeanImage:
    """Reconstructs every image as the mean of the training images."""

    def __init__(self, training: Tensor) -> None:
        total = torch.zeros(training.shape[1:], dtype=torch.float64)
        for chunk in training.split(256):
            total += chunk.double().sum(0)
        self._mean = (total / len(training) / 255).float()

    def __call__(self, images: Tensor) -> Tensor:
        return self._mean.to(images.device).expand_as(images)


class Components:
    """The first principal components of training images: the best linear code of a given dimension.

    Args:
        training: uint8 [n, S, S]; images that are all equal have no component.
        count: number of components.
        seed: selects the images if there are more than memory and time allow.

    Attributes:
        count: number of components; fewer than asked for if there are too few images.
        fitted: number of images that they were fitted on.
        mean: of these images, float32 [S * S], gray levels from 0 to 1.
        axes: the components, orthonormal, float32 [count, S * S], the largest variance first.
        variances: of the images along the axes, float32 [count].
        rest: residual variance per pixel.
    """

    def __init__(self, training: Tensor, count: int, seed: int) -> None:
        pixels = training[0].numel()
        limit = min(_MAX_FITTED, max(2, _MAX_VALUES // pixels))
        if len(training) > limit:
            training = training[np.sort(np.random.default_rng(seed).permutation(len(training))[:limit])]
        values = training.flatten(1).float() / 255
        self.mean = values.mean(0)
        values -= self.mean
        self.fitted = len(values)
        count = max(1, min(count, len(values) - 1, pixels))
        # The Gram matrix of the images has the spectrum of the pixels' covariance and is far smaller.
        with torch.autocast("cpu", enabled=False):
            spectrum, vectors = torch.linalg.eigh(values @ values.T)
            total = float(spectrum.sum())
            spectrum, vectors = spectrum.flip(0)[:count], vectors.flip(1)[:, :count]
            nonzero = spectrum > spectrum[0].clamp_min(_ROUNDING) * _ROUNDING
            spectrum = spectrum[nonzero]
            self.axes = (vectors[:, nonzero] / spectrum.sqrt()).T @ values
        self.count = len(self.axes)
        self.variances = spectrum / len(values)
        self.rest = max(0.0, total - float(spectrum.sum())) / values.numel()

    def __call__(self, images: Tensor) -> Tensor:
        mean, axes = self.mean.to(images.device), self.axes.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            code = (images.flatten(1) - mean) @ axes.T
            reconstructions: Tensor = (code @ axes + mean).view_as(images)
        return reconstructions


class Bicubic:
    """Downsamples images to at most a given number of pixels, and upsamples them again.

    Args:
        values: maximum number of pixels.
        size: height and width of the images.

    Attributes:
        side: height and width of the downsampled image.
        lossless: whether the image has no more pixels than that, and is left as it is.
    """

    def __init__(self, values: int, size: int) -> None:
        self.side = min(size, math.isqrt(values))
        self.lossless = self.side == size

    def __call__(self, images: Tensor) -> Tensor:
        if self.lossless:
            return images
        small = F.interpolate(images, (self.side, self.side), mode="bicubic", antialias=True)
        return F.interpolate(small, images.shape[-2:], mode="bicubic")


@dataclass(frozen=True)
class Reconstruction:
    """What is evaluated, and on which images; all images uint8 [n, S, S].

    Attributes:
        reconstruct: the model's, on ``device``.
        latent_values: number of values in the latent of an image.
        image_values: number of values of an image as the model's input, channels included.
        training: training images.
        splits: images to evaluate on by split, ``validation`` and ``test``; none of them empty.
        others: images of classes that were not trained on, by split; a split may be missing.
        only_class: the class that was trained on; empty: all.
        other_classes: the others, in words.
        device: where it computes.
        seed: of the run.
    """

    reconstruct: Reconstructor
    latent_values: int
    image_values: int
    training: Tensor
    splits: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    only_class: str
    other_classes: str
    device: torch.device
    seed: int


def evaluate_reconstruction(task: Reconstruction, progress: Progress) -> RunSummary:
    """PSNR and SSIM compared with baselines of as many values, and the error as an anomaly score.

    Returns:
        metrics ``psnr_SPLIT`` and ``ssim_SPLIT``, ``psnr_SPLIT_mean-image``, ``…_pca``, ``…_bicubic`` (likewise for
        SSIM) for the baselines, ``anomaly_auc_SPLIT`` if there are other classes; a table for each; notes.
    """
    size = task.training.shape[-1]
    with progress.stage("principal components", 1, "fits") as advance:
        components = Components(task.training, task.latent_values, task.seed)
        advance(1)
    mean, bicubic = MeanImage(task.training), Bicubic(task.latent_values, size)
    methods: dict[str, tuple[str, str, Reconstructor]] = {
        "": ("This model", f"{task.latent_values:,}", task.reconstruct),
        "pca": ("Principal components", f"{components.count:,}", components),
        "bicubic": ("Bicubic downsampling", f"{bicubic.side:,} x {bicubic.side:,}", bicubic),
        "mean-image": ("Mean training image", "0", mean),
    }
    qualities = {
        name: {
            split: quality(method, images, task.device, progress, f"{title}, {split}")
            for split, images in task.splits.items()
        }
        for name, (title, _, method) in methods.items()
    }
    metrics = {
        "_".join(filter(None, (measure, split, name))): float(getattr(values, measure).mean())
        for name, by_split in qualities.items()
        for split, values in by_split.items()
        for measure in ("psnr", "ssim")
    }
    table = NamedTable(
        "Reconstructions compared with baselines",
        (
            "Method",
            "Values per image",
            *(f"{measure}, {split}" for split in task.splits for measure in ("PSNR (dB)", "SSIM")),
        ),
        tuple(
            (
                title,
                values,
                *(
                    f"{getattr(qualities[name][split], measure).mean():.{digits}f} ± "
                    f"{getattr(qualities[name][split], measure).std():.{digits}f}"
                    for split in task.splits
                    for measure, digits in (("psnr", 2), ("ssim", 3))
                ),
            )
            for name, (title, values, _) in methods.items()
            # An image of no more pixels than the latent has values is not compressed: that is no baseline.
            if not (name == "bicubic" and bicubic.lossless)
        ),
        "Mean ± standard deviation over the gray images, clipped to [0, 1]. "
        f"The components were fitted on {components.fitted:,} of the {len(task.training):,} training images.",
    )
    errors = {
        f"Error, {title[0].lower()}{title[1:]}": (qualities[name], method)
        for name, (title, _, method) in methods.items()
        if name != "bicubic"
    }
    summary = RunSummary(
        metrics,
        (table,),
        (),
        _notes(task, bicubic.lossless),
        verdict=_verdict(task, metrics, components.count),
    )
    return summary + _evaluate_anomaly(task, errors, progress)


def quality(
    reconstruct: Reconstructor,
    images: Tensor,
    device: torch.device,
    progress: Progress | None = None,
    name: str = "reconstructions",
) -> Quality:
    """How well ``images``, uint8 [n, S, S], are reconstructed, each by itself."""
    batches = []
    with (progress or Progress()).stage(name, len(images)) as advance:
        for chunk in images.split(_BATCH):
            real = chunk.to(device).unsqueeze(1).float() / 255
            batches.append(image_quality(reconstruct(real), real))
            advance(len(chunk))
    mse, psnr, ssim = (torch.cat(values).double().cpu().numpy() for values in zip(*batches, strict=True))
    return Quality(mse, psnr, ssim)


def anomaly_auc(trained: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """AUC of a score for images of other classes against those of the class trained on; 0.5 is chance.

    Args:
        trained, others: a score per image, [n] and [m], neither empty.
    """
    scores = np.concatenate((trained, others))
    return binary_metrics(scores, np.repeat((0, 1), (len(trained), len(others))))["auc"]


def _evaluate_anomaly(
    task: Reconstruction,
    errors: Mapping[str, tuple[Mapping[str, Quality], Reconstructor]],
    progress: Progress,
) -> RunSummary:
    """Compare the errors, the model's first, each with its quality by split, and the contrast as anomaly scores."""
    splits = [split for split in task.splits if len(task.others.get(split, ()))]
    if not task.only_class or not splits:
        why = "there is no image of another class" if task.only_class else "all classes are trained on"
        return RunSummary(notes=(f"The error was not evaluated as an anomaly score: {why}.",))
    aucs = {
        title: [
            anomaly_auc(
                trained[split].mse,
                quality(
                    method, task.others[split], task.device, progress, f"{task.other_classes}, {split}"
                ).mse,
            )
            for split in splits
        ]
        for title, (trained, method) in errors.items()
    }
    aucs["Contrast of the image"] = [
        anomaly_auc(_contrast(task.splits[split]), _contrast(task.others[split])) for split in splits
    ]
    own = next(iter(aucs.values()))
    table = NamedTable(
        f"Reconstruction error as an anomaly score: {task.other_classes} against {task.only_class}",
        ("Score of an image", *(f"AUC, {split}" for split in splits)),
        tuple((title, *(f"{auc:.3f}" for auc in values)) for title, values in aucs.items()),
        f"Only {task.only_class} was trained on. 0.5 is chance; below it, {task.other_classes} is easier to "
        "reconstruct. The contrast is the standard deviation of an image's gray levels.",
    )
    best = max(list(aucs)[1:], key=lambda title: abs(aucs[title][-1] - 0.5))
    note = (
        f"As an anomaly score the reconstruction error has an AUC of {own[-1]:.3f} on {splits[-1]} images: "
        f"{task.other_classes} is {'harder' if own[-1] > 0.5 else 'easier'} to reconstruct than {task.only_class}. "
        f"The best score without a network has {aucs[best][-1]:.3f} ({best[0].lower()}{best[1:]})."
    )
    metrics = {f"anomaly_auc_{split}": auc for split, auc in zip(splits, own, strict=True)}
    return RunSummary(metrics, (table,), (), (note,))


def _contrast(images: Tensor) -> NDArray[np.float64]:
    return images.flatten(1).double().std(1, correction=0).numpy()


def _verdict(task: Reconstruction, metrics: Mapping[str, float], components: int) -> str:
    """PSNR compared with that of principal components, in one sentence."""
    split = list(task.splits)[-1]
    own, linear = metrics[f"psnr_{split}"], metrics[f"psnr_{split}_pca"]
    relation = "higher than" if own > linear else "not higher than"
    return (
        f"Reconstructions of {split} images have a PSNR of {own:.2f} dB, {relation} those from {components:,} "
        f"principal components of the training images, which need no network ({linear:.2f} dB)."
    )


def _notes(task: Reconstruction, lossless: bool) -> tuple[str, ...]:
    """Whether there is any compression."""
    if task.latent_values >= task.image_values:
        return (
            f"The bottleneck is larger than the image ({task.latent_values:,} values against "
            f"{task.image_values:,}), so a low error is easy: the identity has none.",
        )
    if lossless:
        return (
            f"The bottleneck ({task.latent_values:,} values) holds all of a gray image, so a low error is easy.",
        )
    return ()
