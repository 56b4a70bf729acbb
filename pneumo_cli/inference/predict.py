"""Predictions for images, in batches and in their order.

Files are read and decoded ahead in threads while the network computes. Few are held at once, so that memory does
not grow with their number; an unreadable file does not affect the others. Images in memory are resized when it is
their turn, so whoever yields them may change them afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.decoding import body_part
from pneumo_cli.data.input_paths import read_file
from pneumo_cli.data.level_decoding import decode_levels
from pneumo_cli.data.resizing import gray_in_8_bits, resize
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.evaluation.orientation import Presentation
from pneumo_cli.inference.array_levels import array_of, levels_of
from pneumo_cli.inference.given_images import Given, InMemory, file_bytes
from pneumo_cli.inference.prediction import BatchPrediction, Prediction
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.values import EnsembleValues, ValuePredictor, Values
from pneumo_cli.runtime.threads import ordered_map

if TYPE_CHECKING:
    from pneumo_cli.evaluation.multi.rule import Rule

Gray = NDArray[np.uint8]
AnyPredictor: TypeAlias = Predictor | ValuePredictor

BATCH = 32
"""Images that are predicted at once."""

_PICTURE = 1024  # longer side of the image under an overlay, in pixels
_THUMBNAIL = 96  # pixels


def predict(
    predictor: AnyPredictor,
    files: Iterable[Given],
    *,
    overlays: bool = False,
    thumbnails: bool = False,
    depth: int | None = None,
    carry_out: Callable[[Callable[[], Any]], Any] = lambda work: work(),
) -> Iterator[Prediction]:
    """Yield the prediction for each image, in their order.

    Args:
        files: paths, or images in memory (:func:`~pneumo_cli.inference.given_images.given_images`).
        overlays: draw saliency maps over the images; not of a model that predicts masks.
        thumbnails: keep a small copy of each image.
        depth: the bits of arrays in 16 bits, see :func:`~pneumo_cli.inference.array_levels.levels_of`.
        carry_out: calls the function that computes a batch.

    Raises:
        UsageError: overlays are requested of a model without saliency maps; the values of an image in memory lie
            outside of their range.
    """

    def load(given: Given | _Loaded) -> _Loaded:
        return given if isinstance(given, _Loaded) else _load(given, predictor, overlays, thumbnails, depth)

    def in_turn() -> Iterator[Given | _Loaded]:
        for given in files:
            if isinstance(given, InMemory):
                data = file_bytes(given.content, given.name)
                yield load(given) if data is None else replace(given, content=data)
            else:
                yield given

    with closing(ordered_map(load, in_turn())) as loaded:
        while batch := list(islice(loaded, BATCH)):
            readable = [one for one in batch if not one.error]
            predictions = iter(carry_out(partial(_predictions, predictor, readable, overlays)))
            for one in batch:
                yield Prediction(one.file, one.error) if one.error else next(predictions)


@dataclass(frozen=True)
class _Loaded:
    """An image for the network, [S, S] by S, and to show; or the error."""

    file: Path
    error: str = ""
    images: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    other_part: str = ""
    picture: Gray | None = None
    shape: tuple[int, ...] = ()
    thumbnail: Gray | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Those of a :class:`Prediction` that do not depend on the model."""
        return {"file": self.file, "other_part": self.other_part, "thumbnail": self.thumbnail}


def _load(
    given: Given, predictor: AnyPredictor, overlay: bool, thumbnail: bool, depth: int | None
) -> _Loaded:
    sizes, kind = predictor.sizes, (predictor.channels, predictor.bits)
    file = given if isinstance(given, Path) else given.file
    part, whole, images = "", None, {}
    try:
        data = read_file(given) if isinstance(given, Path) else given.content
        if not isinstance(data, bytes):
            assert isinstance(given, InMemory)
            whole = levels_of(array_of(data), *kind, depth, given.name)
        else:
            part = body_part(data)
            if overlay:
                whole = decode_levels(data, *kind)
            else:
                # Each size is decoded from the file, so that an ensemble's member gets the same input as alone.
                images = {size: resize(decode_levels(data, *kind, size), size) for size in sizes}
        if whole is not None:
            # Copies, because an image of this size already would be the caller's own memory.
            images = {size: np.array(resize(whole, size)) for size in sizes}
        return _Loaded(
            file,
            images=images,
            other_part=part,
            picture=_shown(whole, _PICTURE) if overlay and whole is not None else None,
            shape=whole.shape[-2:] if overlay and whole is not None else (),
            thumbnail=_shown(images[sizes[-1]], _THUMBNAIL) if thumbnail else None,
        )
    except UnreadableImage as error:
        return _Loaded(file, error=str(error))


def _shown(levels: NDArray[Any], longest: int) -> Gray:
    """An image in gray, at most so many pixels a side."""
    picture = Image.fromarray(gray_in_8_bits(levels[None])[0])
    picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _predictions(predictor: AnyPredictor, readable: Sequence[_Loaded], overlays: bool) -> list[Prediction]:
    if not readable:
        return []
    images = {size: np.stack([one.images[size] for one in readable]) for size in predictor.sizes}
    if isinstance(predictor, ValuePredictor):
        return _with_values(predictor, readable, images, overlays)
    return _classified(predictor, readable, images, overlays)


def _classified(
    predictor: Predictor, readable: Sequence[_Loaded], images: Sized, overlays: bool
) -> list[Prediction]:
    results = predictor.predict_batch(images)
    presentations: Sequence[Presentation | None] = predictor.presentations(images) or [None] * len(readable)
    threshold = predictor.ood_threshold
    out_of_distribution = results.ood_scores > (math.inf if threshold is None else threshold)
    decided = predictor.decide(results.logits)
    found = _two_classes if predictor.rule.task == "binary" else _several_classes
    values = found(predictor.rule, results, decided)
    maps = predictor.maps(images, _explained(predictor.rule, results, decided)) if overlays else None
    return [
        Prediction(
            **one.fields,
            **values[place],
            classes=tuple(predictor.rule.classes),
            out_of_distribution=bool(out_of_distribution[place]),
            ood_score=float(results.ood_scores[place]),
            # The orientation of an OOD image is unknown.
            presentation=presentations[place]
            if presentations[place] or not out_of_distribution[place]
            else None,
            **_drawn(one.picture, maps, place),
        )
        for place, one in enumerate(readable)
    ]


def _with_values(
    predictor: ValuePredictor, readable: Sequence[_Loaded], images: Sized, overlays: bool
) -> list[Prediction]:
    of_members: list[Values] = []
    if isinstance(predictor, EnsembleValues):
        of_members = [member.values(images) for member in predictor.members]
        values = predictor.mean(of_members)
    else:
        values = predictor.values(images)
    maps = predictor.maps(images) if overlays and not predictor.masks else None
    return [
        Prediction(
            **one.fields,
            **_drawn(one.picture, maps, place),
            numbers=_numbers(predictor, values, place),
            masks={name: values[name][place].astype(np.float32) for name in predictor.masks},
            units=predictor.units,
            member_numbers=tuple(_numbers(predictor, member, place) for member in of_members),
            shape=one.shape,
        )
        for place, one in enumerate(readable)
    ]


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


def _drawn(picture: Gray | None, maps: NDArray[np.float32] | None, place: int) -> dict[str, Any]:
    """The fields of a :class:`Prediction` about its saliency map."""
    if picture is None or maps is None:
        return {}
    from pneumo_cli.reports.figures.saliency import overlay

    return {"overlay": overlay(picture, maps[place]), "saliency": maps[place].copy()}
