"""The evaluation of generated images in a report: two tables, sentences, and figures on memorization.

The measures are :mod:`pneumo_cli.evaluation.generative.fidelity`; :mod:`pneumo_cli.reports.figures.galleries` draws
the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from pneumo_cli.evaluation.generative.collapse import failures
from pneumo_cli.evaluation.generative.fidelity import HALVINGS, SUBSETS, Fidelity, MeasuredSet
from pneumo_cli.evaluation.result import NamedFigure, NamedTable, RunSummary
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.evaluation.generative.distances import Kid
    from pneumo_cli.evaluation.generative.memorization import Memorization

_WORSE_THAN = {
    "noise": "worse than noise",
    "mean-image": "farther from real ones than copies of the mean training image",
    "pca-gaussian": "farther from real ones than a PCA Gaussian, which needs no network",
}
"""What it means to have a larger distance than a baseline, from the worst one on."""


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
        verdict=_verdict(found),
    )


def real_above_generated(real: Tensor, generated: Tensor, of: str, verdict: str = "") -> NamedFigure:
    """The figure that opens the report of a generator: real images above generated ones.

    Args:
        real, generated: uint8 [n, S, S] both.
        of: what the real images are, ``test images of PNEUMONIA``.
        verdict: on the generated images, for those who do not see them; may be empty.
    """
    count = "Eight" if len(real) == 8 else f"{len(real)}"
    caption = f"{count} real {of}, and below them {count.lower()} generated images, not selected."

    def draw() -> Figure:
        from pneumo_cli.reports.figures import galleries

        figure: Figure = galleries.labelled_rows(
            (("Real", real.numpy()), ("Generated", generated.numpy())),
        )
        return figure

    return NamedFigure("real-and-generated", caption, draw, "opening", f"{caption} {verdict}".strip())


def _verdict(found: Fidelity) -> str:
    """How far the generated images are from real ones, in one sentence; of several sets, one for each."""
    kids = {slug: row.kid.mean for slug, row in found.measured.items()}
    real = f"other real patients have {distance_text(1000 * kids['real'])}"
    sentences = []
    for slug in found.samples:
        alone = len(found.samples) == 1
        who = "the generated images" if alone else f"the images of {found.measured[slug].title}"
        worse = next((one for one in _WORSE_THAN if kids[slug] >= kids[one]), "")
        relation = (
            _WORSE_THAN[worse] if worse else "nearer to real ones than every baseline without a network"
        )
        baseline = f" against {distance_text(1000 * kids[worse])}" if worse else ""
        sentences.append(
            f"By KID {who} are {relation}: {distance_text(1000 * kids[slug])}{baseline} (× 1000, lower is better); "
            f"{real}."
        )
    return " ".join(sentences)


def _distance_table(found: Fidelity) -> NamedTable:
    extractor, n = found.extractor, found.n
    subset = next(iter(found.measured.values())).kid.subset_size
    note = (
        f"Lower is better. In {extractor.dimension:,} features ({extractor.name}), {n} images of each row against "
        f"{n} real ones; means over {HALVINGS} divisions of the held-out patients into halves. KID: mean ± "
        f"standard deviation over the divisions and {SUBSETS} subsets of {subset} images in each."
    )
    if n < extractor.dimension:
        note += " With fewer images than features the Fréchet distance is mostly bias: rely on KID."
    return NamedTable(
        "Distance to real images of held-out patients",
        ("Images", "KID × 1000", "Fréchet distance"),
        tuple(
            (row.title, _thousandths(row.kid), distance_text(row.frechet)) for row in found.measured.values()
        ),
        note,
    )


def _memorization_table(found: Fidelity) -> NamedTable:
    rows = tuple(
        (
            row.title,
            f"{row.memorization.ratio:.2f}",
            share(row.memorization.near_copies, 1),
            share(row.memorization.copies, 1),
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
        f"Nearest: median distance to the nearest of {len(found.training):,} training images, of {sizes} images, "
        f"as a multiple of that of {found.held_out:,} held-out images. Near: share nearer to a training image than "
        "99 % of held-out images are. Copies: those much nearer to one training image than to all others; flipped "
        "or shifted copies are not detected. Diversity: mean distance between two images, as a multiple of that of "
        "held-out images. Density and coverage: Naeem et al. 2020, k = 5."
    )
    head = ("Images", "Nearest", "Near", "Copies", "Diversity", "Density", "Coverage")
    return NamedTable("Memorization and diversity", head, rows, note)


def _notes(found: Fidelity) -> Iterator[str]:
    measured, failed = found.measured, failures(found)
    for slug, images in found.samples.items():
        row = measured[slug]
        title = f"{row.title}: " if len(found.samples) > 1 else ""
        yield title + _on_copies(len(images), row.memorization)
        if slug in failed:  # which the warning says
            continue
        yield (
            f"{title}Two generated images differ {row.diversity:.2f} times as much as two real ones, and cover "
            f"{share(row.manifold.coverage)} of the real images' neighborhoods (other real patients: "
            f"{share(measured['real'].manifold.coverage)})."
        )


def _on_copies(count: int, found: Memorization) -> str:
    near, copies = round(found.near_copies * count), round(found.copies * count)
    if copies:
        return f"{copies:,} of {count:,} images look like a copy of a training image."
    return (
        f"No copies of training images were found among {count:,} images; {near:,} ({share(found.near_copies, 1)}) "
        "are nearer to a training image than 99 % of held-out images are."
    )


def _thousandths(value: Kid) -> str:
    return f"{distance_text(1000 * value.mean)} ± {distance_text(1000 * value.spread)}"


def distance_text(value: float) -> str:
    """A distance, such as KID × 1000, with about three digits."""
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0 takes the sign from a zero


def _figures(found: Fidelity) -> Iterator[NamedFigure]:
    rows = {slug: found.measured[slug] for slug in found.samples}
    for slug, row in rows.items():
        on_copies = _on_copies(len(found.samples[slug]), row.memorization)
        yield NamedFigure(
            "closest-pairs" if len(rows) == 1 else f"closest-pairs-{slug}",
            f"{row.title.capitalize()}: the images nearest to a training image, above that training image, "
            "with their distance (0: identical; 99 % of held-out images are farther than "
            f"{row.memorization.threshold:.2f}).",
            partial(_draw_pairs, row, found.samples[slug], found.training),
            group="summary",
            alternative=f"Generated images above their nearest training images. {on_copies}",
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
