"""Predictions for image files, in batches and in the order of the files.

Files are read and decoded ahead in threads while the network computes. Few are held at once, so that memory does
not grow with their number; an unreadable file does not affect the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.decoding import body_part
from pneumo_cli.data.input_paths import read_file
from pneumo_cli.data.level_decoding import decode_levels
from pneumo_cli.data.resizing import gray_in_8_bits, resize
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.evaluation.orientation import Presentation
from pneumo_cli.inference.predictor import BatchPrediction, Prediction, Predictor
from pneumo_cli.inference.values import EnsembleValues, ValuePredictor, Values
from pneumo_cli.runtime.threads import ordered_map

if TYPE_CHECKING:
    from pneumo_cli.evaluation.multi.rule import Rule

Gray = NDArray[np.uint8]

_BATCH = 32
_PICTURE = 1024  # longer side of the image under an overlay, in pixels


def predict(
    predictor: Predictor | ValuePredictor, files: Iterable[Path], *, overlays: bool = False
) -> Iterator[Prediction]:
    """Yield the prediction for each file, in their order.

    Args:
        overlays: draw saliency maps over the images; not of a model that predicts masks.

    Raises:
        UsageError: overlays are requested of a model without saliency maps.
    """

    def load(file: Path) -> _Loaded:
        return _load(file, predictor, overlays)

    with closing(ordered_map(load, files)) as loaded:
        while batch := list(islice(loaded, _BATCH)):
            if isinstance(predictor, ValuePredictor):
                yield from _with_values(predictor, batch, overlays)
            else:
                yield from _predicted(predictor, batch, overlays)


@dataclass(frozen=True)
class _Loaded:
    """A file's image for the network, [S, S] by S, and to show; or the error."""

    file: Path
    error: str = ""
    images: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    other_part: str = ""
    picture: Gray | None = None
    shape: tuple[int, ...] = ()


def _load(file: Path, predictor: Predictor | ValuePredictor, with_picture: bool) -> _Loaded:
    sizes, kind = predictor.sizes, (predictor.channels, predictor.bits)
    try:
        data = read_file(file)
        part = body_part(data)
        if not with_picture:
            # Each size is decoded from the file, so that an ensemble's member gets the same input as alone.
            return _Loaded(file, "", {s: resize(decode_levels(data, *kind, s), s) for s in sizes}, part)
        whole = decode_levels(data, *kind)
        picture = Image.fromarray(gray_in_8_bits(whole[None])[0])
        picture.thumbnail((_PICTURE, _PICTURE), Image.Resampling.BILINEAR)
        images = {size: resize(whole, size) for size in sizes}
        return _Loaded(file, "", images, part, np.asarray(picture), whole.shape[-2:])
    except UnreadableImage as error:
        return _Loaded(file, error=str(error))


def _predicted(predictor: Predictor, batch: list[_Loaded], overlays: bool) -> Iterator[Prediction]:
    readable = [one.images for one in batch if not one.error]
    if not readable:
        yield from (Prediction(one.file, one.error) for one in batch)
        return
    images = {size: np.stack([by_size[size] for by_size in readable]) for size in predictor.sizes}
    results = predictor.predict_batch(images)
    presentations: Sequence[Presentation | None] = predictor.presentations(images) or [None] * len(readable)
    threshold = predictor.ood_threshold
    out_of_distribution = results.ood_scores > (math.inf if threshold is None else threshold)
    decided = predictor.decide(results.logits)
    found = _two_classes if predictor.rule.task == "binary" else _several_classes
    values = found(predictor.rule, results, decided)
    maps = predictor.maps(images, _explained(predictor.rule, results, decided)) if overlays else None
    places = iter(range(len(readable)))
    for one in batch:
        if one.error:
            yield Prediction(one.file, one.error)
            continue
        place = next(places)
        presentation = presentations[place]
        yield Prediction(
            one.file,
            **values[place],
            out_of_distribution=bool(out_of_distribution[place]),
            ood_score=float(results.ood_scores[place]),
            other_part=one.other_part,
            # The orientation of an OOD image is unknown.
            presentation=presentation if presentation or not out_of_distribution[place] else None,
            overlay=None if maps is None else _overlay(one.picture, maps[place]),
        )


def _with_values(predictor: ValuePredictor, batch: list[_Loaded], overlays: bool) -> Iterator[Prediction]:
    readable = [one.images for one in batch if not one.error]
    if not readable:
        yield from (Prediction(one.file, one.error) for one in batch)
        return
    images = {size: np.stack([by_size[size] for by_size in readable]) for size in predictor.sizes}
    of_members: list[Values] = []
    if isinstance(predictor, EnsembleValues):
        of_members = [member.values(images) for member in predictor.members]
        values = predictor.mean(of_members)
    else:
        values = predictor.values(images)
    maps = predictor.maps(images) if overlays and not predictor.masks else None
    places = iter(range(len(readable)))
    for one in batch:
        if one.error:
            yield Prediction(one.file, one.error)
            continue
        place = next(places)
        yield Prediction(
            one.file,
            other_part=one.other_part,
            overlay=None if maps is None else _overlay(one.picture, maps[place]),
            numbers=_numbers(predictor, values, place),
            masks={name: values[name][place].astype(np.float32) for name in predictor.masks},
            member_numbers=tuple(_numbers(predictor, member, place) for member in of_members),
            shape=one.shape,
        )


def _numbers(predictor: ValuePredictor, values: Values, place: int) -> dict[str, float]:
    return {name: float(values[name][place]) for name in predictor.numbers}


def _two_classes(rule: Rule, results: BatchPrediction, decided: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The fields of each image's :class:`Prediction` that depend on the task."""
    probabilities = rule.probabilities(results.logits)
    return [
        {
            "logit": float(results.logits[place]),
            "probability": float(probabilities[place]),
            "positive": bool(decided[place]),
            "members": tuple(float(member[place]) for member in results.member_probabilities),
            "probabilities": (1 - float(probabilities[place]), float(probabilities[place])),
            "predicted": (rule.classes[int(decided[place])],),
        }
        for place in range(len(decided))
    ]


def _several_classes(
    rule: Rule, results: BatchPrediction, decided: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """As :func:`_two_classes`, of exclusive classes or of labels."""
    names = rule.classes
    rows = decided.tolist()
    if rule.task == "multilabel":
        predicted = [tuple(name for name, one in zip(names, row, strict=True) if one) for row in rows]
    else:
        predicted = [(names[row],) for row in rows]
    columns = [rule.probabilities(results.logits), results.logits, *results.member_probabilities]
    return [
        {
            "task": rule.task,
            "probabilities": probabilities,
            "logits": logits,
            "predicted": those,
            "member_probabilities": tuple(members),
        }
        for those, (probabilities, logits, *members) in zip(
            predicted, zip(*(map(tuple, column.tolist()) for column in columns), strict=True), strict=True
        )
    ]


def _explained(
    rule: Rule, results: BatchPrediction, decided: NDArray[np.int64]
) -> NDArray[np.bool_ | np.int64]:
    """The class of each image that its saliency map is of: the predicted one, or the most probable label."""
    if rule.task == "binary":
        return decided.astype(np.bool_)
    return decided if rule.task == "multiclass" else rule.probabilities(results.logits).argmax(axis=1)


def _overlay(picture: Gray | None, saliency: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    from pneumo_cli.reports.figures.saliency import overlay

    return None if picture is None else overlay(picture, saliency)
