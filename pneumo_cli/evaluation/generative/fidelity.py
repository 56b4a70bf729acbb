"""Evaluates synthetic radiographs: distance to real ones, memorization and diversity, each with baselines.

The reference is one half of the held-out patients; the other half, real images of other patients, shows what a
perfect generator would reach, and the other baselines need no network. The results are means over several divisions
of the patients, since few patients make them depend on the division. All sets are reduced to the same number of
images, because the Fréchet distance depends on it.

Not here: sampling, which the tasks do; the measures themselves, which are in the neighbouring modules; and the
presentation of the results (:mod:`pneumo_cli.reports.fidelity_tables`).
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pneumo_cli.evaluation.generative.baselines import (
    mean_image,
    noise,
    patient_halves,
    pca_gaussian,
    pixel_gaussian,
)
from pneumo_cli.evaluation.generative.distances import Kid, frechet, kernel_distance
from pneumo_cli.evaluation.generative.features import Extractor, stored_features
from pneumo_cli.evaluation.generative.memorization import (
    Manifold,
    Memorization,
    NearestTraining,
    density_and_coverage,
    diversity,
)
from pneumo_cli.evaluation.generative.pairs import Compared, pairs
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.seeding import derive

HALVINGS = 8
"""Divisions of the held-out patients over which means are taken."""
SUBSETS = 20
"""Subsets of images of which KID takes the mean, in each division."""
REAL = "Real, other patients"
"""Title of the other half of the held-out patients."""

_FEWEST = 16  # held-out images; each half of them needs half as many
_MOST = 1000  # images of a set; more hardly reduce the error of KID, and cost minutes
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
    """The measures of one set of images: a row of both tables.

    Attributes:
        title: name of the set.
        kid, frechet: its distance to real images, means over the divisions.
        memorization: of all its images.
        diversity, manifold: of as many images as the smallest set has, means over the divisions.
    """

    title: str
    kid: Kid
    frechet: float
    memorization: Memorization
    diversity: float
    manifold: Manifold


@dataclass(frozen=True)
class Fidelity:
    """The measures of sets of generated images and of their baselines.

    Attributes:
        measured: every generated or baseline set by its slug; empty where nothing could be measured.
        samples: the generated images, uint8 [n, S, S], by the slug of their set.
        training: the images that the generator was trained on, uint8 [N, S, S].
        held_out: number of real images of other patients.
        extractor: of the features.
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
        metrics: dict[str, float] = {}
        for slug, row in self.measured.items():
            which = "" if slug in self.samples and len(self.samples) == 1 else f"_{slug}"
            metrics |= {
                f"kid{which}_{self.extractor.slug}": row.kid.mean,
                f"kid_spread{which}_{self.extractor.slug}": row.kid.spread,
                f"frechet{which}_{self.extractor.slug}": row.frechet,
                f"near_copies{which}": row.memorization.near_copies,
                f"copies{which}": row.memorization.copies,
                f"nearest_ratio{which}": row.memorization.ratio,
                f"diversity{which}": row.diversity,
                f"density{which}": row.manifold.density,
                f"coverage{which}": row.manifold.coverage,
            }
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
    cache: Path | None = None,
) -> Fidelity:
    """Measure one or several sets of generated images against the same real ones.

    Args:
        sets: uint8 [n, S, S] by name. Each is reduced to the size of the smallest, except for memorization.
        training: uint8 [N, S, S], the images that the generator was trained on, which are searched for copies.
        held_out: uint8 [m, S, S], real images of other patients.
        patients: the patient of each held-out image.
        extractor: of the features in which sets are compared.
        seed: of all random choices.
        progress: shows the progress.
        cache: folder of all caches, where the features of real images and baselines are kept; None: nowhere.

    Returns:
        the measured sets, or why there are too few images to measure any.

    Raises:
        ValueError: the images are not uint8 [n, S, S] of one size, or not one patient per held-out image; there is
            no set, or two have the same name in lower case, or one has the name of a baseline.
        PneumoError: a feature is not finite.
    """
    slugs = _slugs(sets)
    _check_images({**sets, "training": training, "held-out": held_out}, len(patients))
    lacking = _lacking(sets, training, patients)
    samples = {slug: sets[name] for slug, name in slugs.items()}
    unmeasured = Fidelity({}, samples, training, len(held_out), extractor, lacking=lacking)
    if lacking:
        return unmeasured
    chosen = _some(torch.arange(len(held_out)), 2 * _MOST, seed, "held-out")
    own = [patients[i] for i in chosen]
    halves = [
        tuple(torch.from_numpy(half) for half in patient_halves(own, derive(seed, one)))
        for one in range(HALVINGS)
    ]
    smallest = min(len(half) for pair in halves for half in pair)
    if smallest < _FEWEST // 2:
        lacking = (
            "Generated images are not evaluated: nearly all held-out images are of one patient, so the distance "
            "between real patients, which they are compared with, is unknown."
        )
        return replace(unmeasured, lacking=lacking)
    # Small differences follow, so not in the caller's autocast.
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        n = min(smallest, *(len(images) for images in sets.values()))
        generated = {slug: _some(sets[name], n, seed, "samples") for slug, name in slugs.items()}
        baselines = {
            "real": held_out[chosen],
            "pca-gaussian": pca_gaussian(training, n, seed),
            "pixel-gaussian": pixel_gaussian(training, n, seed),
            "mean-image": mean_image(training, n),
            "noise": noise(n, training.shape[-1], seed),
        }
        features = {slug: extractor(images, progress) for slug, images in generated.items()}
        features |= {
            slug: stored_features(extractor, images, cache, progress) for slug, images in baselines.items()
        }
        nearest = NearestTraining(training, held_out)
        divisions = _Divisions(features["real"], halves, n, seed)
        measured: dict[str, MeasuredSet] = {}
        with progress.stage("Comparing sets of images", len(features), "sets") as advance:
            for slug, values in features.items():
                measured[slug] = _measured(
                    slugs.get(slug) or _COMPARED[slug],
                    divisions.of_real() if slug == "real" else divisions.of(values),
                    nearest.memorization(samples[slug] if slug in samples else baselines[slug]),
                    seed,
                )
                advance(1)
    return replace(unmeasured, measured=measured, n=n)


class _Divisions:
    """Sets of images beside the reference of each division. Each pair of images is computed once for all divisions.

    Args:
        real: features of the held-out images, float32 [m, D].
        halves: of each division, the positions of the reference and of the other half.
        n: images of each set.
        seed: of the choice of n images of each half.
    """

    def __init__(self, real: Tensor, halves: Sequence[tuple[Tensor, ...]], n: int, seed: int) -> None:
        self._real, self._n = real, n
        self._within = pairs(real, real)
        self._references = [_some(first, n, seed, "reference") for first, _ in halves]
        self._others = [_some(second, n, seed, "real") for _, second in halves]

    def of_real(self) -> Iterator[Compared]:
        """Of each division, the reference beside images of the other half."""
        within = self._within
        for one, other in zip(self._references, self._others, strict=True):
            yield Compared(within.part(one, one), within.part(other, other), within.part(one, other))

    def of(self, features: Tensor) -> Iterator[Compared]:
        """Of each division, the reference beside a set of n images.

        Args:
            features: float32 [n, D].
        """
        fake, between, every = pairs(features, features), pairs(self._real, features), torch.arange(self._n)
        for one in self._references:
            yield Compared(self._within.part(one, one), fake, between.part(one, every))


def _measured(
    title: str, divisions: Iterable[Compared], memorization: Memorization, seed: int
) -> MeasuredSet:
    """Measure a set against the reference of each division; means over the divisions.

    One division is not enough: patients differ in exposure and size, and moving a few of them to the other half
    changes a distance by as much as its lower bound.
    """
    kids, manifolds, distances, diversities = [], [], [], []
    for one, sets in enumerate(divisions):  # in memory one at a time: of 1,000 images 50 MB
        kids.append(kernel_distance(sets, derive(seed, one), SUBSETS))
        manifolds.append(density_and_coverage(sets))
        distances.append(frechet(sets))
        diversities.append(diversity(sets))
    means = [one.mean for one in kids]
    within = statistics.fmean(one.spread**2 for one in kids)
    return MeasuredSet(
        title,
        Kid(statistics.fmean(means), (within + statistics.pvariance(means)) ** 0.5, kids[0].subset_size),
        statistics.fmean(distances),
        memorization,
        statistics.fmean(diversities),
        Manifold(*(statistics.fmean(values) for values in zip(*manifolds, strict=True))),
    )


def _slugs(sets: Mapping[str, Tensor]) -> dict[str, str]:
    """The sets' names by their slugs for metrics and files."""
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
                f"the {name} images are {images.dtype} {list(images.shape)}, not uint8 [n, {size}, {size}]"
            )
    if patients != len(sets["held-out"]):
        raise ValueError(f"there are {len(sets['held-out'])} held-out images and {patients} patients of them")


def _lacking(sets: Mapping[str, Tensor], training: Tensor, patients: Sequence[str]) -> str:
    """Why there are too few images for an evaluation; empty where there are enough."""
    smallest = min(sets, key=lambda name: len(sets[name]))
    reason = ""
    if len(patients) < _FEWEST:
        reason = (
            f"there are {len(patients)} held-out images to compare with, and at least {_FEWEST} are needed"
        )
    elif len(set(patients)) < 2:
        reason = "all held-out images are of one patient, so the distance between real patients is unknown"
    elif len(training) < 2:
        reason = f"the number of training images is {len(training)}, and at least 2 are needed"
    elif len(sets[smallest]) < _FEWEST // 2:
        reason = f"there are {len(sets[smallest])} of {smallest}, and at least {_FEWEST // 2} are needed"
    return f"Generated images are not evaluated: {reason}." if reason else ""


def _some(images: Tensor, n: int, seed: int, purpose: str) -> Tensor:
    """Up to n images, chosen at random, in their original order."""
    if len(images) <= n:
        return images
    generator = torch.Generator().manual_seed(derive(seed, purpose))
    return images[torch.randperm(len(images), generator=generator)[:n].sort().values]
