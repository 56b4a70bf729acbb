"""The evaluation of generated images in a report: two tables, sentences, and figures on memorization.

The measures are :mod:`pneumo_cli.evaluation.generative.fidelity`; :mod:`pneumo_cli.reports.figures.galleries` draws
the figures.
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
    from pneumo_cli.evaluation.generative.memorization import Memorization


def fidelity_summary(found: Fidelity) -> RunSummary:
    """Describe generated images and their baselines.

    Returns:
        two tables, the figures ``closest-pairs`` and ``neighbour-distances``, the metrics, and sentences; where
        nothing could be measured, only a note that says why.
    """
    if found.lacking:
        return RunSummary(notes=(found.lacking,))
    return RunSummary(
        found.metrics(),
        tables=(_distance_table(found), _memorization_table(found)),
        figures=tuple(_figures(found)),
        notes=tuple(_notes(found)),
    )


def _distance_table(found: Fidelity) -> NamedTable:
    extractor, n = found.extractor, found.n
    subset = next(iter(found.measured.values())).kid.subset_size
    note = (
        f"In features of {extractor.name}, {extractor.dimension:,} an image; lower is better. {n} images of "
        f"each row against {n} real ones, means over {HALVINGS} divisions of the held-out patients into "
        f"halves: one half is the reference, the other the row “{REAL}”. KID: mean ± standard deviation over "
        f"the divisions and {SUBSETS} subsets of {subset} images in each."
    )
    if n < extractor.dimension:
        note += (
            f" With {n} images, fewer than the {extractor.dimension:,} features, the Fréchet distance is mostly "
            "bias: compare it within this table only, and rely on KID, which is unbiased."
        )
    return NamedTable(
        "Distance to real images of held-out patients",
        ("Images", "KID × 1000", "Fréchet distance"),
        tuple((row.title, _thousandths(row.kid), _number(row.frechet)) for row in found.measured.values()),
        note,
    )


def _memorization_table(found: Fidelity) -> NamedTable:
    rows = tuple(
        (
            row.title,
            f"{row.memorization.ratio:.2f}",
            f"{row.memorization.near_copies:.1%}",
            f"{row.memorization.copies:.1%}",
            f"{row.diversity:.2f}",
            f"{row.manifold.density:.2f}",
            f"{row.manifold.coverage:.2f}",
        )
        for row in found.measured.values()
    )
    sizes = ", ".join(
        f"{len(images):,} ({found.measured[slug].title})" for slug, images in found.samples.items()
    )
    note = (
        f"Nearest: median distance to the nearest of {len(found.training):,} training images, for {sizes} "
        f"images, as a multiple of that of {found.held_out:,} held-out images. Near: share of images nearer "
        "to a training image than 99 % of held-out images are; smooth images are near to many. Copies: those "
        "of them that are also much nearer to one training image than to the next 50, less than half as far "
        "as a held-out image would be; flipped or shifted copies are not detected. Diversity: mean distance "
        "between two images, as a multiple of that of held-out images. Density and coverage (Naeem et al. "
        "2020, k = 5) use the features above."
    )
    head = ("Images", "Nearest", "Near", "Copies", "Diversity", "Density", "Coverage")
    return NamedTable("Memorization and diversity", head, rows, note)


def _notes(found: Fidelity) -> Iterator[str]:
    measured = found.measured
    bounds = ", ".join(
        f"{name} {_number(1000 * measured[slug].kid.mean)}"
        for slug, name in (
            ("real", "other real patients have"),
            ("pca-gaussian", "a PCA Gaussian"),
            ("mean-image", "the mean image"),
            ("noise", "noise"),
        )
    )
    for slug, images in found.samples.items():
        row = measured[slug]
        title = f"{row.title}: " if len(found.samples) > 1 else ""
        yield (
            f"{title}KID to held-out images is {_thousandths(row.kid)} (× 1000; {found.extractor.name}); {bounds}."
        )
        yield title + _on_copies(len(images), row.memorization)
        yield (
            f"{title}Two generated images differ {row.diversity:.2f} times as much as two real ones, and the "
            f"generated images cover {row.manifold.coverage:.0%} of the real images' neighbourhoods (other real "
            f"patients: {measured['real'].manifold.coverage:.0%})."
        )


def _on_copies(count: int, found: Memorization) -> str:
    near, copies = round(found.near_copies * count), round(found.copies * count)
    sentence = (
        f"{near:,} of {count:,} images ({found.near_copies:.1%}) are nearer to a training image than 99 % of "
        "held-out images are (1 % is expected)"
    )
    if copies:
        return (
            f"{sentence}; {copies:,} of these are near to a single training image and look like copies of it."
        )
    return f"{sentence}; none of these is near to a single training image only, so no copies were found."


def _thousandths(value: Kid) -> str:
    return f"{_number(1000 * value.mean)} ± {_number(1000 * value.spread)}"


def _number(value: float) -> str:
    """About three digits."""
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0 takes the sign from a zero


def _figures(found: Fidelity) -> Iterator[NamedFigure]:
    rows = {slug: found.measured[slug] for slug in found.samples}
    for slug, row in rows.items():
        yield NamedFigure(
            "closest-pairs" if len(rows) == 1 else f"closest-pairs-{slug}",
            f"{row.title.capitalize()}: the images nearest to a training image, above that training image, "
            "with their distance (0: identical; 99 % of held-out images are farther than "
            f"{row.memorization.threshold:.2f}).",
            partial(_draw_pairs, row, found.samples[slug], found.training),
            group="summary",
        )
    yield NamedFigure(
        "neighbour-distances",
        "Distance to the nearest training image, for generated images and for real images of other patients. "
        "Dashed line: 1 % quantile of the latter.",
        partial(_draw_distances, {row.title: row.memorization for row in rows.values()}),
        group="summary",
    )


def _draw_pairs(row: MeasuredSet, samples: Tensor, training: Tensor) -> Figure:
    from pneumo_cli.reports.figures import galleries

    pairs = row.memorization.closest
    rows = (
        (row.title, samples[[pair.sample for pair in pairs]].numpy()),
        ("nearest training image", training[[pair.training for pair in pairs]].numpy()),
    )
    figure: Figure = galleries.labelled_rows(rows, below=[f"{pair.distance:.2f}" for pair in pairs])
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
