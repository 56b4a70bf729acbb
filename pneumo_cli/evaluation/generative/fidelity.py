"""Judges synthetic radiographs: how far from real ones, how near to copies, how diverse; each beside its bounds.

No number here stands alone. The reference is one half of the held-out patients; the other half, real images of
other patients, shows what a perfect generator would get, and images that need no network show what is had for
nothing. The patients are divided several times, and means are taken: which few of them are on which side matters.
All sets are cut to equally many images, for the Fréchet distance depends on their number.

Not here: drawing samples, which the tasks do; the measures themselves, which are in the modules beside; and what is
said of the result, which is in :mod:`pneumo_cli.reports.fidelity_tables`.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pneumo_cli.evaluation.generative.baselines import (
    mean_image,
    noise,
    patient_halves,
    pca_gaussian,
    pixel_gaussian,
)
from pneumo_cli.evaluation.generative.distances import Kid, frechet, kid
from pneumo_cli.evaluation.generative.memorization import (
    Manifold,
    Memorization,
    density_and_coverage,
    diversity,
    measure_memorization,
)
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.seeding import derive

if TYPE_CHECKING:
    from pneumo_cli.evaluation.generative.features import Extractor

HALVINGS = 8
"""Divisions of the held-out patients over which means are taken."""
SUBSETS = 20
"""Subsets of images of which KID takes the mean, in each division."""
REAL = "Real, other patients"
"""What the other half of the held-out patients is called."""

_FEWEST = 16  # held-out images; each half of them needs half as many
_MOST = 1000  # images of a set; more hardly make KID more certain, and cost minutes
_COMPARED = {
    "real": REAL,
    "pca-gaussian": "PCA Gaussian",
    "pixel-gaussian": "Pixel Gaussian",
    "mean-image": "Mean image",
    "noise": "Noise",
}
_SILENT = Progress()


@dataclass(frozen=True)
class MeasuredSet:
    """One set of images, measured: a row of both tables.

    Attributes:
        title: what the set is called.
        kid, frechet: its distance to real images, means over the divisions.
        memorization: of all its images.
        diversity, manifold: of as many as the smallest set has, means over the divisions.
    """

    title: str
    kid: Kid
    frechet: float
    memorization: Memorization
    diversity: float
    manifold: Manifold


@dataclass(frozen=True)
class Fidelity:
    """Sets of generated images, measured beside what they are compared with.

    Attributes:
        measured: every set, generated or compared with, by its slug; empty where nothing could be measured.
        samples: the generated images, uint8 [n, S, S], by the slug of their set.
        training: the images that the generator was trained on, uint8 [N, S, S].
        held_out: how many real images of other patients there were.
        extractor: what made the features.
        n: images of each set that distances were measured on.
        lacking: why nothing could be measured; empty where it could.
    """

    measured: Mapping[str, MeasuredSet]
    samples: Mapping[str, Tensor]
    training: Tensor
    held_out: int
    extractor: Extractor
    n: int = 0
    lacking: str = ""

    def metrics(self) -> dict[str, float]:
        """All finite, with E for the extractor's slug.

        ``kid_E``, ``kid_spread_E``, ``frechet_E``, ``near_copies``, ``copies``, ``nearest_ratio``, ``diversity``,
        ``density``, ``coverage``; and for R of ``real``, ``pca-gaussian``, ``pixel-gaussian``, ``mean-image`` and
        ``noise``: ``kid_R_E``, ``kid_spread_R_E``, ``frechet_R_E``, ``diversity_R`` and so on. KID is not
        multiplied by 1000 here. Of several generated sets each one's metrics carry its slug: ``kid_my-gan_E``,
        ``near_copies_my-gan``.
        """
        metrics = {}
        for slug, row in self.measured.items():
            which = "" if slug in self.samples and len(self.samples) == 1 else f"_{slug}"
            metrics[f"kid{which}_{self.extractor.slug}"] = row.kid.mean
            metrics[f"kid_spread{which}_{self.extractor.slug}"] = row.kid.spread
            metrics[f"frechet{which}_{self.extractor.slug}"] = row.frechet
            metrics[f"near_copies{which}"] = row.memorization.near_copies
            metrics[f"copies{which}"] = row.memorization.copies
            metrics[f"nearest_ratio{which}"] = row.memorization.ratio
            metrics[f"diversity{which}"] = row.diversity
            metrics[f"density{which}"] = row.manifold.density
            metrics[f"coverage{which}"] = row.manifold.coverage
        return metrics


def measure_fidelity(
    sets: Mapping[str, Tensor],
    *,
    training: Tensor,
    held_out: Tensor,
    patients: Sequence[str],
    extractor: Extractor,
    seed: int,
    progress: Progress = _SILENT,
) -> Fidelity:
    """Measure one or several sets of generated images against the same real ones.

    Args:
        sets: uint8 [n, S, S] by name. As many of each are looked at as the smallest has, but for copies, for
            which all are.
        training: uint8 [N, S, S], the images that the generator was trained on; copies are looked for in it.
        held_out: uint8 [m, S, S], real images of other patients.
        patients: the patient of each held-out image.
        extractor: makes the features in which sets are compared.
        seed: for everything that is drawn.
        progress: where the progress is shown.

    Returns:
        the measured sets; where there are too few images to say anything, why, and nothing else.

    Raises:
        ValueError: the images are not uint8 [n, S, S] of one size, or not one patient per held-out image; there is
            no set, or two have the same name in lower case, or that of a set which is drawn here.
        PneumoError: the extractor makes features that are not finite.
    """
    slugs = _slugs(sets)
    _check_images({**sets, "training": training, "held-out": held_out}, len(patients))
    lacking = _lacking(sets, training, patients)
    samples = {slug: sets[name] for slug, name in slugs.items()}

    def unmeasured(why: str) -> Fidelity:
        return Fidelity({}, samples, training, len(held_out), extractor, lacking=why)

    if lacking:
        return unmeasured(lacking)
    known = _some(torch.arange(len(held_out)), 2 * _MOST, seed, "held-out")
    halves = [
        tuple(
            torch.from_numpy(half) for half in patient_halves([patients[i] for i in known], derive(seed, one))
        )
        for one in range(HALVINGS)
    ]
    smallest = min(len(half) for pair in halves for half in pair)
    if smallest < _FEWEST // 2:
        return unmeasured(
            "Generated images are not judged: nearly all held-out images are of one patient, and the distance "
            "between real patients is what they would have to be compared with."
        )
    # Whoever calls may be in a context of lower precision, and differences of small numbers follow.
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        n = min(smallest, *(len(images) for images in sets.values()))
        compared = {slug: _some(sets[name], n, seed, "samples") for slug, name in slugs.items()}
        compared |= {
            "real": held_out[known],
            "pca-gaussian": pca_gaussian(training, n, seed),
            "pixel-gaussian": pixel_gaussian(training, n, seed),
            "mean-image": mean_image(training, n),
            "noise": noise(n, training.shape[-1], seed),
        }
        found = extractor(torch.cat(tuple(compared.values())), progress)
        features = dict(
            zip(compared, found.split([len(images) for images in compared.values()]), strict=True)
        )
        real = features["real"]
        references = [real[_some(first, n, seed, "reference")] for first, _ in halves]
        measured: dict[str, MeasuredSet] = {}
        with progress.stage("Comparing sets of images", len(compared), "sets") as advance:
            for slug, images in compared.items():
                name = slugs.get(slug, "")
                rows = (
                    [real[_some(second, n, seed, "real")] for _, second in halves]
                    if slug == "real"
                    else [features[slug]] * len(halves)
                )
                measured[slug] = _measured(
                    name or _COMPARED[slug],
                    list(zip(references, rows, strict=True)),
                    measure_memorization(sets[name] if name else images, training, held_out),
                    seed,
                )
                advance(1)
    return Fidelity(measured, samples, training, len(held_out), extractor, n)


def _measured(
    title: str, pairs: Sequence[tuple[Tensor, Tensor]], copies: Memorization, seed: int
) -> MeasuredSet:
    """Measure a set against the reference of each division, and take the means.

    One division is not enough: patients differ in exposure and size, and a few of them on one side move a distance
    by as much as the floor.

    Args:
        pairs: features of the reference and of the set, by division.
    """
    kids = [kid(real, found, derive(seed, one), SUBSETS) for one, (real, found) in enumerate(pairs)]
    means = [one.mean for one in kids]
    within = statistics.fmean(one.spread**2 for one in kids)
    manifolds = [density_and_coverage(found, real) for real, found in pairs]
    return MeasuredSet(
        title,
        Kid(statistics.fmean(means), (within + statistics.pvariance(means)) ** 0.5, kids[0].subset_size),
        statistics.fmean(frechet(real, found) for real, found in pairs),
        copies,
        statistics.fmean(diversity(found, real) for real, found in pairs),
        Manifold(*(statistics.fmean(values) for values in zip(*manifolds, strict=True))),
    )


def _slugs(sets: Mapping[str, Tensor]) -> dict[str, str]:
    """The sets' names by what they are called in metrics and files."""
    slugs = {re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"): name for name in sets}
    if not sets or len(slugs) < len(sets) or "" in slugs or slugs.keys() & _COMPARED.keys():
        raise ValueError(
            f"sets of generated images need names that differ in letters and digits: {list(sets)}"
        )
    return slugs


def _check_images(sets: Mapping[str, Tensor], patients: int) -> None:
    size = sets["training"].shape[-1]
    for name, images in sets.items():
        if images.dtype != torch.uint8 or images.ndim != 3 or images.shape[1:] != (size, size):
            raise ValueError(
                f"the {name} images are {images.dtype} {list(images.shape)}; wanted is uint8 [n, {size}, {size}]"
            )
    if patients != len(sets["held-out"]):
        raise ValueError(f"there are {len(sets['held-out'])} held-out images and {patients} patients of them")


def _lacking(sets: Mapping[str, Tensor], training: Tensor, patients: Sequence[str]) -> str:
    """What there is too little of for a judgement; empty where nothing is."""
    smallest = min(sets, key=lambda name: len(sets[name]))
    reason = ""
    if len(patients) < _FEWEST:
        reason = f"there are {len(patients)} held-out images to compare them with, and it takes {_FEWEST}"
    elif len(set(patients)) < 2:
        reason = (
            "all held-out images are of one patient, and it takes two to know how far real ones are apart"
        )
    elif len(training) < 2:
        reason = f"there are {len(training)} training images"
    elif len(sets[smallest]) < _FEWEST // 2:
        reason = f"there are {len(sets[smallest])} of {smallest}, and it takes {_FEWEST // 2}"
    return f"Generated images are not judged: {reason}." if reason else ""


def _some(images: Tensor, n: int, seed: int, purpose: str) -> Tensor:
    """Up to n images, chosen at random, in the order that they had."""
    if len(images) <= n:
        return images
    generator = torch.Generator().manual_seed(derive(seed, purpose))
    return images[torch.randperm(len(images), generator=generator)[:n].sort().values]
