"""What is said of generated images that were measured: two tables, sentences, and figures of those near to copies.

Not for measuring them (:mod:`pneumo_cli.evaluation.generative.fidelity`), nor for how figures are drawn
(:mod:`pneumo_cli.reports.figures.galleries`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from pneumo_cli.evaluation.generative.fidelity import HALVINGS, REAL, SUBSETS, Fidelity, MeasuredSet
from pneumo_cli.evaluation.result import NamedFigure, NamedTable, RunSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.evaluation.generative.distances import Kid
    from pneumo_cli.evaluation.generative.features import Extractor
    from pneumo_cli.evaluation.generative.memorization import Memorization


def fidelity_summary(found: Fidelity) -> RunSummary:
    """Describe generated images beside what they were compared with.

    Returns:
        two tables, the figures ``closest-pairs`` and ``neighbour-distances``, the metrics, and sentences; where
        nothing could be measured, a note that says why and nothing else.
    """
    if found.lacking:
        return RunSummary(notes=(found.lacking,))
    return RunSummary(
        found.metrics(),
        tables=(_distance_table(found), _neighbour_table(found)),
        figures=tuple(_figures(found.measured, found.samples, found.training)),
        notes=tuple(_notes(found.measured, found.samples, found.extractor, found.n)),
    )


def _distance_table(found: Fidelity) -> NamedTable:
    measured, extractor, n = found.measured, found.extractor, found.n
    subset = next(iter(measured.values())).kid.subset_size
    note = (
        f"In features of {extractor.name}, {extractor.dimension:,} an image; less is better. {n} images of each "
        f"row against {n} real ones, means over {HALVINGS} divisions of the held-out patients into halves: one "
        f"half is the reference, the other the row “{REAL}”. KID: mean ± standard deviation over divisions and "
        f"{SUBSETS} subsets of {subset} images in each."
    )
    return NamedTable(
        "Distance to real images of held-out patients",
        ("Images", "KID × 1000", "Fréchet distance"),
        tuple((row.title, _thousandths(row.kid), _number(row.frechet)) for row in measured.values()),
        f"{note} {_warning(extractor, n)}".rstrip(),
    )


def _neighbour_table(found: Fidelity) -> NamedTable:
    measured, held_out, training = found.measured, found.held_out, len(found.training)
    rows = []
    for row in measured.values():
        copies = row.memorization
        rows.append(
            (
                row.title,
                f"{copies.ratio:.2f}",
                f"{copies.near_copies:.1%}",
                f"{copies.copies:.1%}",
                f"{row.diversity:.2f}",
                f"{row.manifold.density:.2f}",
                f"{row.manifold.coverage:.2f}",
            )
        )
    looked_at = ", ".join(
        f"{len(images):,} ({measured[slug].title})" for slug, images in found.samples.items()
    )
    note = (
        f"Nearest: the median distance to the nearest of {training:,} training images, for {looked_at} images, as "
        f"a multiple of that of the {held_out:,} held-out ones. Near: the share that is nearer than 99 % of "
        "held-out images are; smooth images are near to many. Copies: those of them that are also much nearer to "
        "one training image than to the next 50, less than half as far as a held-out image would be; mirrored or "
        "shifted copies are not among them. Diversity: mean distance between two images as a multiple of that of "
        "held-out ones; with density and coverage (Naeem et al. 2020, k = 5) in the features above."
    )
    head = ("Images", "Nearest", "Near", "Copies", "Diversity", "Density", "Coverage")
    return NamedTable("Memorization and diversity", head, tuple(rows), note)


def _notes(
    measured: Mapping[str, MeasuredSet],
    sets: Mapping[str, Tensor],
    extractor: Extractor,
    n: int,
) -> Iterator[str]:
    bounds = ", ".join(
        f"{what} {_number(1000 * measured[slug].kid.mean)}"
        for slug, what in (
            ("real", "other real patients give"),
            ("pca-gaussian", "a PCA Gaussian"),
            ("mean-image", "the mean image"),
            ("noise", "noise"),
        )
    )
    for slug, images in sets.items():
        row = measured[slug]
        whose = f"{row.title}: " if len(sets) > 1 else ""
        yield (
            f"{whose}KID to held-out images is {_thousandths(row.kid)} (× 1000; {extractor.name}); {bounds}."
        )
        yield whose + _about_copies(len(images), row.memorization)
        yield (
            f"{whose}Two of the images differ {row.diversity:.2f} times as much as two real ones, and they "
            f"cover {row.manifold.coverage:.0%} of the real images' neighbourhoods (other real patients: "
            f"{measured['real'].manifold.coverage:.0%})."
        )


def _about_copies(count: int, found: Memorization) -> str:
    near, copies = round(found.near_copies * count), round(found.copies * count)
    seen = (
        f"{near:,} of {count:,} images ({found.near_copies:.1%}) are nearer to a training image than 99 % of "
        "held-out images are, where 1 % is expected"
    )
    if copies:
        return f"{seen}; {copies:,} of these keep to one training image alone and look like copies of it."
    return f"{seen}; none of them keeps to one training image alone, so no copies were found."


def _warning(extractor: Extractor, n: int) -> str:
    if n >= extractor.dimension:
        return ""
    return (
        f"With {n} images, fewer than the {extractor.dimension:,} features, the Fréchet distance is mostly bias: "
        "compare it within this table only, and trust KID, which has none."
    )


def _thousandths(value: Kid) -> str:
    return f"{_number(1000 * value.mean)} ± {_number(1000 * value.spread)}"


def _number(value: float) -> str:
    """About three digits."""
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0 takes the sign from a zero


def _figures(
    measured: Mapping[str, MeasuredSet], sets: Mapping[str, Tensor], training: Tensor
) -> Iterator[NamedFigure]:
    for slug, samples in sets.items():
        row = measured[slug]
        found = row.memorization
        yield NamedFigure(
            "closest-pairs" if len(sets) == 1 else f"closest-pairs-{slug}",
            f"{row.title.capitalize()}: the images that are nearest to a training image, above that image, with "
            f"their distance (0: a copy; 99 % of held-out images are farther away than {found.threshold:.2f}).",
            partial(_draw_pairs, row.title, samples, training, found),
            group="summary",
        )
    yield NamedFigure(
        "neighbour-distances",
        "Distance to the nearest training image, of generated images and of real images of other patients; the "
        "line is the latters' 1 % quantile.",
        partial(_draw_distances, {measured[slug].title: measured[slug].memorization for slug in sets}),
        group="summary",
    )


def _draw_pairs(title: str, samples: Tensor, training: Tensor, found: Memorization) -> Figure:
    from pneumo_cli.reports.figures import galleries

    rows = (
        (title, samples[[pair.sample for pair in found.closest]].numpy()),
        ("nearest in training", training[[pair.training for pair in found.closest]].numpy()),
    )
    figure: Figure = galleries.labelled_rows(rows, below=[f"{pair.distance:.2f}" for pair in found.closest])
    return figure


def _draw_distances(found: Mapping[str, Memorization]) -> Figure:
    from pneumo_cli.reports.figures import galleries

    first = next(iter(found.values()))
    figure: Figure = galleries.distance_histogram(
        {**{name: one.distances for name, one in found.items()}, "held-out": first.held_out},
        threshold=first.threshold,
        label="Distance to the nearest training image",
    )
    return figure
