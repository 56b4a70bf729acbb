"""How good reconstructions are: beside what costs no training, and whether they fail on what was not learnt.

A decibel says little by itself. The mean image shows what is had for nothing; principal components and a bicubic
reduction, each with as many numbers per image as the model's latent, how far one gets without a network. Everything
is judged as a picture: grey, clipped to [0, 1], each image by itself.

Images come in as uint8 [n, S, S] on the CPU. Not here: new images from noise
(:mod:`pneumo_cli.evaluation.generative.fidelity`).
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
"""Makes pictures of pictures: float32 [B, 1, S, S] in [0, 1] to the same shape, on the same device."""

HIGHEST_PSNR = 100.0
"""Decibels of a perfect picture, whose peak signal-to-noise ratio would be infinite."""

_BATCH = 32
_MOST_FITTED = 4096  # images that components are fitted on: a decomposition of seconds
_NOTHING = 1e-7  # of the largest variance: as much as rounding leaves of none
_MOST_VALUES = 2**26  # grey levels of these images, 256 MiB as float32, and as much again for the components


@dataclass(frozen=True)
class Quality:
    """How well each image is reconstructed, three arrays [n].

    Attributes:
        mse: mean squared difference of the pictures, whose levels go from 0 to 1.
        psnr: peak signal-to-noise ratio in dB, at most :data:`HIGHEST_PSNR`.
        ssim: structural similarity (Wang et al. 2004), 1 for equal pictures.
    """

    mse: NDArray[np.float64]
    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64]


def picture_quality(pictures: Tensor, originals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MSE, PSNR and SSIM of a batch, as :class:`Quality` describes them: three float32 [B].

    Args:
        pictures: float [B, C, S, S], clipped and averaged over the channels to become pictures; S at least 11, the
            width of SSIM's window.
        originals: the same shape, in [0, 1].
    """
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    made, real = (one.float().clamp(0, 1).mean(1, keepdim=True) for one in (pictures, originals))
    with torch.autocast(made.device.type, enabled=False):  # its windows would be averaged in 8 bits
        psnr = peak_signal_noise_ratio(made, real, data_range=1.0, reduction="none", dim=(1, 2, 3))
        ssim = structural_similarity_index_measure(made, real, data_range=1.0, reduction="none")
    assert isinstance(ssim, Tensor)
    return (made - real).square().mean((1, 2, 3)), psnr.clamp(max=HIGHEST_PSNR), ssim.view(-1)


class MeanImage:
    """Gives the mean of the training images for every image."""

    def __init__(self, training: Tensor) -> None:
        total = torch.zeros(training.shape[1:], dtype=torch.float64)
        for chunk in training.split(256):
            total += chunk.double().sum(0)
        self._mean = (total / len(training) / 255).float()

    def __call__(self, images: Tensor) -> Tensor:
        return self._mean.to(images.device).expand_as(images)


class Components:
    """The first principal components of training images: the best linear code of that many numbers.

    Args:
        training: uint8 [n, S, S]; equal ones have no component.
        count: components that are wanted.
        seed: chooses the images where there are more than memory and time allow.

    Attributes:
        count: components that there are; fewer than wanted where there are too few images.
        fitted: images that they come from.
        mean: of these, float32 [S * S], grey levels from 0 to 1.
        axes: the components, orthonormal, float32 [count, S * S], the largest variance first.
        variances: of the images along them, float32 [count].
        rest: variance per pixel that they leave.
    """

    def __init__(self, training: Tensor, count: int, seed: int) -> None:
        pixels = training[0].numel()
        most = min(_MOST_FITTED, max(2, _MOST_VALUES // pixels))
        if len(training) > most:
            training = training[np.sort(np.random.default_rng(seed).permutation(len(training))[:most])]
        values = training.flatten(1).float() / 255
        self.mean = values.mean(0)
        values -= self.mean
        self.fitted = len(values)
        count = max(1, min(count, len(values) - 1, pixels))
        # The images' inner products have the same spectrum as the pixels' covariance and are far fewer.
        with torch.autocast("cpu", enabled=False):
            spectrum, vectors = torch.linalg.eigh(values @ values.T)
            total = float(spectrum.sum())
            spectrum, vectors = spectrum.flip(0)[:count], vectors.flip(1)[:, :count]
            # A direction in which the images do not differ is rounding and no axis.
            real = spectrum > spectrum[0].clamp_min(_NOTHING) * _NOTHING
            spectrum = spectrum[real]
            self.axes = (vectors[:, real] / spectrum.sqrt()).T @ values
        self.count = len(self.axes)
        self.variances = spectrum / len(values)
        self.rest = max(0.0, total - float(spectrum.sum())) / values.numel()

    def __call__(self, images: Tensor) -> Tensor:
        mean, axes = self.mean.to(images.device), self.axes.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            code = (images.flatten(1) - mean) @ axes.T
            made: Tensor = (code @ axes + mean).view_as(images)
        return made


class Bicubic:
    """Reduces images to at most so many numbers, and enlarges them again.

    Args:
        values: that an image may be reduced to.
        size: height and width of the images.

    Attributes:
        side: height and width of the reduced image.
        lossless: whether nothing has to be reduced: the image itself has no more numbers.
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
    """What is judged, and on which images; all images uint8 [n, S, S].

    Attributes:
        reconstruct: the model's, on ``device``.
        latent_values: numbers that it compresses an image to.
        image_values: numbers of an image as it is given to the model, channels counted.
        training: images that it has learnt.
        parts: images to judge it on by name, ``validation`` and ``test``; none of them empty.
        others: images of classes that it has not learnt, by the same names; a name may be missing.
        wanted: the class that it has learnt; empty: all.
        unseen: the classes that it has not, in words.
        device: where it computes.
        seed: of the run.
    """

    reconstruct: Reconstructor
    latent_values: int
    image_values: int
    training: Tensor
    parts: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    wanted: str
    unseen: str
    device: torch.device
    seed: int


def evaluate_reconstruction(task: Reconstruction, progress: Progress) -> RunSummary:
    """PSNR and SSIM beside baselines of the same number of values, and the error as a score of abnormality.

    Returns:
        metrics ``psnr_PART`` and ``ssim_PART`` for each part, ``psnr_PART_mean-image``, ``…_pca``, ``…_bicubic``
        (ssim alike) for the baselines, ``anomaly_auc_PART`` where there are other classes; a table each; notes.
    """
    size = task.training.shape[-1]
    with progress.stage("principal components", 1, "fits") as advance:
        components = Components(task.training, task.latent_values, task.seed)
        advance(1)
    mean, bicubic = MeanImage(task.training), Bicubic(task.latent_values, size)
    methods: dict[str, tuple[str, str, Reconstructor]] = {
        "": ("This model", f"{task.latent_values:,}", task.reconstruct),
        "pca": ("Principal components", f"{components.count:,}", components),
        "bicubic": (
            "Bicubic reduction" + (" (none: no compression)" if bicubic.lossless else ""),
            f"{bicubic.side:,} x {bicubic.side:,}",
            bicubic,
        ),
        "mean-image": ("Mean training image", "0", mean),
    }
    found = {
        name: {
            part: quality(method, images, task.device, progress, f"{title}, {part}")
            for part, images in task.parts.items()
        }
        for name, (title, _, method) in methods.items()
    }
    metrics = {
        "_".join(filter(None, (measure, part, name))): float(getattr(one, measure).mean())
        for name, parts in found.items()
        for part, one in parts.items()
        for measure in ("psnr", "ssim")
    }
    table = NamedTable(
        "Reconstructions beside what costs no training",
        (
            "Method",
            "Values per image",
            *(f"{measure}, {part}" for part in task.parts for measure in ("PSNR (dB)", "SSIM")),
        ),
        tuple(
            (
                title,
                values,
                *(
                    f"{getattr(found[name][part], measure).mean():.{digits}f} ± "
                    f"{getattr(found[name][part], measure).std():.{digits}f}"
                    for part in task.parts
                    for measure, digits in (("psnr", 2), ("ssim", 3))
                ),
            )
            for name, (title, values, _) in methods.items()
        ),
        "Mean ± standard deviation over the images, as grey pictures clipped to black and white. "
        f"The components were fitted on {components.fitted:,} of the {len(task.training):,} training images.",
    )
    judgement = RunSummary(metrics, (table,), (), _words(task, metrics, bicubic.lossless))
    errors = {
        f"Error, {title[0].lower()}{title[1:]}": (found[name], method)
        for name, (title, _, method) in methods.items()
        if name != "bicubic"
    }
    return judgement + _evaluate_anomaly(task, errors, progress)


def quality(
    reconstruct: Reconstructor,
    images: Tensor,
    device: torch.device,
    progress: Progress | None = None,
    name: str = "reconstructions",
) -> Quality:
    """How well ``images``, uint8 [n, S, S], are reconstructed, each by itself."""
    parts = []
    with (progress or Progress()).stage(name, len(images)) as advance:
        for chunk in images.split(_BATCH):
            real = chunk.to(device).unsqueeze(1).float() / 255
            parts.append(picture_quality(reconstruct(real), real))
            advance(len(chunk))
    mse, psnr, ssim = (torch.cat(values).double().cpu().numpy() for values in zip(*parts, strict=True))
    return Quality(mse, psnr, ssim)


def anomaly_auc(learnt: NDArray[np.float64], unseen: NDArray[np.float64]) -> float:
    """How often an image of an unseen class has a higher score than one that was learnt: 0 to 1, 0.5 is chance.

    Args:
        learnt, unseen: a score per image, [n] and [m], neither empty.
    """
    scores = np.concatenate((learnt, unseen))
    return binary_metrics(scores, np.repeat((0, 1), (len(learnt), len(unseen))))["auc"]


def _evaluate_anomaly(
    task: Reconstruction,
    errors: Mapping[str, tuple[Mapping[str, Quality], Reconstructor]],
    progress: Progress,
) -> RunSummary:
    """The first of ``errors`` is the model's; each comes with its quality on the images of the wanted class."""
    parts = [part for part in task.parts if len(task.others.get(part, ()))]
    if not task.wanted or not parts:
        why = "all classes are learnt" if not task.wanted else "there is no image of another class"
        return RunSummary(notes=(f"Whether the error tells classes apart was not judged: {why}.",))
    areas = {
        title: [
            anomaly_auc(
                seen[part].mse,
                quality(method, task.others[part], task.device, progress, f"{task.unseen}, {part}").mse,
            )
            for part in parts
        ]
        for title, (seen, method) in errors.items()
    }
    areas["Contrast of the image"] = [
        anomaly_auc(_contrast(task.parts[part]), _contrast(task.others[part])) for part in parts
    ]
    own = next(iter(areas.values()))
    table = NamedTable(
        f"Does the error tell {task.unseen}, which was not learnt, from {task.wanted}?",
        ("Score of an image", *(f"AUC, {part}" for part in parts)),
        tuple((title, *(f"{area:.3f}" for area in values)) for title, values in areas.items()),
        f"How often an image of {task.unseen} has the higher score; 0.5 is chance. Below it, {task.unseen} is "
        "easier to reconstruct. The contrast is the standard deviation of an image's grey levels.",
    )
    easiest = max(list(areas)[1:], key=lambda title: abs(areas[title][-1] - 0.5))
    note = (
        f"As a score of abnormality the reconstruction error has an AUC of {own[-1]:.3f} on {parts[-1]} images: "
        f"{task.unseen} is {'harder' if own[-1] > 0.5 else 'easier'} to reconstruct than {task.wanted}, which was "
        f"learnt. Without a network the most is {areas[easiest][-1]:.3f} ({easiest[0].lower()}{easiest[1:]})."
    )
    metrics = {f"anomaly_auc_{part}": area for part, area in zip(parts, own, strict=True)}
    return RunSummary(metrics, (table,), (), (note,))


def _contrast(images: Tensor) -> NDArray[np.float64]:
    return images.flatten(1).double().std(1, correction=0).numpy()


def _words(task: Reconstruction, metrics: Mapping[str, float], lossless: bool) -> tuple[str, ...]:
    """What the numbers say, in sentences."""
    part = list(task.parts)[-1]
    own, linear, mean = (metrics[f"psnr_{part}{name}"] for name in ("", "_pca", "_mean-image"))
    notes = [
        f"PSNR on {part} images is {own:.2f} dB; principal components of the training images give {linear:.2f} dB, "
        f"the mean image {mean:.2f} dB."
    ]
    if task.latent_values >= task.image_values:
        notes.append(
            f"The bottleneck is larger than the image ({task.latent_values:,} values against "
            f"{task.image_values:,}), so low error is easy: a copy has none at all."
        )
    elif lossless:
        notes.append(
            f"The bottleneck ({task.latent_values:,} values) holds all of a grey image, so low error is easy."
        )
    return tuple(notes)
