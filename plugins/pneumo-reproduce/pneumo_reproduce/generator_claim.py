"""The report's sign of success for a GAN, a falling generator loss, beside what our measures say.

The report takes a falling generator loss together with a rising discriminator loss for success, and names the
epoch with the smallest mean generator loss. Here the losses are followed over the epochs, and the images are
measured: the kernel distance (KID) to real images, and the share of real images that the generated ones cover.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.metric_names import is_known, metric_text
from pneumo_cli.reports.document import Block, Paragraph, Pictures, Table
from pneumo_cli.reports.figures.epochs import gapped
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import share
from pneumo_cli.reports.images import inside
from pneumo_cli.runtime.json_values import mapping, number, sequence
from pneumo_reproduce.figures import losses_and_distance
from pneumo_reproduce.values import NONE, Ours

GAN = "gan"
"""The task."""
_FIGURE = "figures/generator-loss.png"
_FIFTH = 5  # the trend is that from the first to the last fifth of the epochs
_STEADY = 0.02  # relative change of a mean loss that is no trend
_CORRELATED = 10  # epochs with a measured distance from which on its correlation with the loss is given
_COLUMNS = (
    ("Generator loss", "generator_loss"),
    ("Discriminator loss", "discriminator_loss"),
    ("Score of real images", "real_score"),
    ("Score of generated images", "fake_score"),
)
_MEASURED = (
    ("Generated, last epoch", ""),
    ("Real, other patients", "real"),
    ("The mean image", "mean-image"),
    ("Noise", "noise"),
)


@dataclass(frozen=True)
class Training:
    """The epochs of a finished GAN, from the first one after initialization on.

    Attributes:
        rows: of the report's history.
        metrics: of the whole run: distances and coverage of the last epoch's images.
    """

    rows: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]

    @cached_property
    def epochs(self) -> list[int]:
        """Their numbers."""
        return [int(row["epoch"]) for row in self.rows]

    def of(self, name: str) -> NDArray[np.float64]:
        """A training metric by epoch; NaN where it was not measured."""
        return gapped([mapping(row.get("train")).get(name) for row in self.rows])

    @cached_property
    def distance(self) -> NDArray[np.float64]:
        """The kernel distance to validation images by epoch; NaN where it was not measured."""
        return gapped([mapping(row.get("validation")).get("kid") for row in self.rows])

    @cached_property
    def chosen(self) -> int:
        """The place of the epoch that the report would name: the smallest mean generator loss."""
        return int(np.nanargmin(self.of("generator_loss")))

    def trend(self, name: str) -> tuple[float, float]:
        """The mean of a loss in the first and in the last fifth of the epochs."""
        values = self.of(name)
        size = max(1, len(values) // _FIFTH)
        return float(np.nanmean(values[:size])), float(np.nanmean(values[-size:]))


def training_of(mine: Ours) -> Training | None:
    """The epochs of our GAN; None if there are not two with losses."""
    rows = [
        row
        for row in map(mapping, sequence(mine.report.get("history")))
        if number(row.get("epoch")) and number(mapping(row.get("train")).get("generator_loss")) is not None
    ]
    if len(rows) < 2 or any(number(mapping(r.get("train")).get("discriminator_loss")) is None for r in rows):
        return None
    return Training(rows, mapping(mapping(mine.report.get("summary")).get("metrics")))


def claim_blocks(mine: Ours, folder: Path) -> Iterator[Block]:
    """The claim, the losses over the epochs, and the measures of the images; nothing without a finished GAN."""
    training = training_of(mine)
    if training is None:
        return
    yield Paragraph(_claim(training))
    yield Paragraph(
        f"{_choice_sentence(training)} The two losses say how the networks stand against each other: a small "
        "generator loss means that the discriminator was weak then."
    )
    (folder / "figures").mkdir(exist_ok=True)
    save(
        losses_and_distance(
            training.epochs,
            {label: training.of(name) for label, name in _COLUMNS[:2]},
            training.distance,
            training.epochs[training.chosen],
        ),
        folder / _FIGURE,
    )
    yield Pictures(
        (
            (
                _FIGURE,
                "Mean losses by epoch. Dotted: the smallest generator loss, which the report would name.",
            ),
        ),
        alternatives=(_trend_sentence(training),),
    )
    yield from _samples(training, mine, folder)
    yield _epochs_table(training)
    if table := _measures_table(training):
        yield table


def claim_text(mine: Ours) -> str:
    """The claim, how the losses went here, and how good the images are; empty without a finished GAN."""
    training = training_of(mine)
    return "" if training is None else _claim(training)


def _claim(training: Training) -> str:
    return (
        "The report takes a falling generator loss together with a rising discriminator loss for success. "
        f"{_trend_sentence(training)} {_measures_sentence(training)}".rstrip()
    )


def _trend_sentence(training: Training) -> str:
    """How both losses went, and what the report would conclude."""
    changes, words = {}, []
    for name in ("generator_loss", "discriminator_loss"):
        before, after = training.trend(name)
        changes[name] = 0 if abs(after - before) <= _STEADY * abs(before) else 1 if after > before else -1
        verb = {1: "rose", -1: "fell", 0: "stayed"}[changes[name]]
        ends = f"from {before:.3g} to {after:.3g}" if changes[name] else f"at {after:.3g}"
        words.append(f"the {name.replace('_', ' ')} {verb} {ends}")
    both = (changes["generator_loss"], changes["discriminator_loss"])
    judged = {
        (-1, 1): "by that sign, a success",
        (1, -1): "by that sign, the opposite of success",
    }.get(both, "by that sign, neither success nor its opposite")
    return f"Here, between the first and the last fifth of the epochs, {words[0]} and {words[1]}: {judged}."


def _measures_sentence(training: Training) -> str:
    """What the distances of the last epoch's images say; empty if there are none."""
    extractor = _extractor(training.metrics)
    values = {what: number(training.metrics.get(_named("kid", what, extractor))) for _, what in _MEASURED}
    generated, noise = values[""], values["noise"]
    if generated is None:
        return ""
    parts = [f"KID × 1000 of the last epoch's images to real ones is {_kid(generated)}"]
    beside = [
        f"{label} {_kid(values[what])}"
        for label, what in (("real images of other patients have", "real"), ("noise has", "noise"))
        if values[what] is not None
    ]
    parts += beside
    coverage, real = (number(training.metrics.get(name)) for name in ("coverage", "coverage_real"))
    sentences = [f"{', '.join(parts)}."]
    if noise is not None and generated >= noise:
        sentences.append("By this measure they are no better than noise.")
    if coverage is not None:
        beside_real = f" (other real ones: {share(real)})" if real is not None else ""
        sentences.append(f"They cover {share(coverage)} of the real images{beside_real}.")
    return " ".join(sentences)


def _choice_sentence(training: Training) -> str:
    """What the distances over the epochs say about the report's choice."""
    chosen, measured = training.chosen, np.isfinite(training.distance)
    smallest = training.of("generator_loss")[chosen]
    start = f"The smallest generator loss, {smallest:.3g}, is that of epoch {training.epochs[chosen]}"
    if not measured.any():
        return (
            f"{start}; the distance was measured for the last epoch alone (--preset strong measures it after every "
            "epoch)."
        )
    best = int(np.nanargmin(training.distance))
    if measured[chosen]:
        start += f", with KID × 1000 of {_kid(training.distance[chosen])}"
    sentence = (
        f"{start}; the smallest KID × 1000, {_kid(training.distance[best])}, is that of epoch "
        f"{training.epochs[best]}."
    )
    if measured.sum() < _CORRELATED:
        return sentence
    from pneumo_cli.evaluation.saliency_checks import rank_correlation

    rho = rank_correlation(training.of("generator_loss")[measured], training.distance[measured])
    return f"{sentence} Over {measured.sum()} epochs the rank correlation of generator loss and KID is {rho:+.2f}."


def _samples(training: Training, mine: Ours, folder: Path) -> Iterator[Block]:
    """The images after the report's epoch, and after the last one."""
    last = training.epochs[-1]
    captions = {
        training.epochs[training.chosen]: "the smallest generator loss, which the report would name",
        last: "the last one, which is kept",
    }
    items = [
        (file, f"Epoch {epoch}: {words}.")
        for epoch, words in captions.items()
        if inside(folder, file := f"{mine.run}/samples/epoch-{epoch:03}.png") is not None
    ]
    if len(items) > 1:
        yield Pictures(tuple(items), compact=True)


def _epochs_table(training: Training) -> Table:
    """The losses of the first, the report's, and the last epoch, and of the one with the smallest distance."""
    places = {0: "first", training.chosen: "smallest generator loss", len(training.epochs) - 1: "last"}
    measured = np.isfinite(training.distance)
    if measured.any():
        best = int(np.nanargmin(training.distance))
        places[best] = f"{places[best]}, smallest KID" if best in places else "smallest KID"
    columns = [(label, training.of(name)) for label, name in _COLUMNS]
    rows = []
    for place in sorted(places):
        cells = [f"{values[place]:.3f}" if np.isfinite(values[place]) else NONE for _, values in columns]
        if measured.any():
            cells.append(_kid(training.distance[place]) if measured[place] else NONE)
        rows.append((f"{training.epochs[place]} ({places[place]})", *cells))
    head = (
        "Epoch",
        *(label for label, _ in columns),
        *(["KID × 1000, validation"] if measured.any() else []),
    )
    return Table(head, tuple(rows), frozenset(range(1, len(head))), title="Epochs")


def _measures_table(training: Training) -> Table | None:
    """The measures of the last epoch's images, beside those of images that need no training."""
    extractor, metrics = _extractor(training.metrics), training.metrics
    names = ("kid", "coverage", "diversity")
    rows = []
    for label, what in _MEASURED:
        values = [number(metrics.get(_named(name, what, extractor))) for name in names]
        if values[0] is not None:
            own = [_named(name, "", extractor) for name in names]
            rows.append((label, *map(metric_text, own, values)))
    if not rows:
        return None
    return Table(
        ("Images", "KID × 1000", "Coverage", "Diversity"),
        tuple(rows),
        frozenset({1, 2, 3}),
        title="The images, measured",
        note=f"KID: distance to held-out real images in features of {extractor or 'the images'}; lower is better. "
        "Coverage: share of the real images that have a generated one among their neighbors. Diversity: how much "
        "two images differ, as a multiple of two real ones.",
    )


def _extractor(metrics: Mapping[str, Any]) -> str:
    """The extractor in the name of the distance of the generated images, such as ``kid_pixels``."""
    names = (name for name in map(str, metrics) if name.startswith("kid_") and is_known(name))
    return next((name[4:] for name in names if not name.startswith(("kid_spread_", "kid_real_"))), "")


def _named(measure: str, what: str, extractor: str) -> str:
    """The name of a measure of a set of images; of a distance, the extractor follows.

    >>> _named("kid", "real", "pixels"), _named("coverage", "noise", "pixels"), _named("kid", "", "pixels")
    ('kid_real_pixels', 'coverage_noise', 'kid_pixels')
    """
    return "_".join(part for part in (measure, what, extractor if measure == "kid" else "") if part)


def _kid(value: float | None) -> str:
    from pneumo_cli.reports.fidelity_tables import distance_text

    return NONE if value is None else distance_text(1000 * value)
