"""Files through a predictor, in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.decoding import Grey, body_part, decode_image, resize
from pneumo_cli.data.input_paths import read_file
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.evaluation.orientation import Presentation
from pneumo_cli.inference.predictor import Prediction, Predictor
from pneumo_cli.runtime.threads import ordered_map

_BATCH = 32

_PICTURE = 1024  # longer side, in pixels, of what an overlay is drawn on


def predict(predictor: Predictor, files: Iterable[Path], *, overlays: bool = False) -> Iterator[Prediction]:
    """Yield what is said of each file, in their order.

    Args:
        overlays: draw what each decision rests on over its picture.

    Raises:
        UsageError: overlays are wanted of a model that cannot tell what its decisions rest on.
    """

    def load(file: Path) -> _Loaded:
        return _load(file, predictor.sizes, overlays)

    with closing(ordered_map(load, files)) as loaded:
        while batch := list(islice(loaded, _BATCH)):
            yield from _predicted(predictor, batch, overlays)


@dataclass(frozen=True)
class _Loaded:
    """A file's image for the network, [S, S] by S, and for people; or why there is none."""

    file: Path
    error: str = ""
    levels: Mapping[int, Grey] = field(default_factory=dict)
    other_part: str = ""
    picture: Grey | None = None


def _load(file: Path, sizes: tuple[int, ...], pictured: bool) -> _Loaded:
    try:
        data = read_file(file)
        part = body_part(data)
        if not pictured:
            # Each size from the file itself, so that a model among several sees what it sees alone.
            return _Loaded(file, "", {s: resize(decode_image(data, s), s) for s in sizes}, part)
        whole = decode_image(data, None)
        picture = Image.fromarray(whole)
        picture.thumbnail((_PICTURE, _PICTURE), Image.Resampling.BILINEAR)
        return _Loaded(file, "", {s: resize(whole, s) for s in sizes}, part, np.asarray(picture))
    except UnreadableImage as error:
        return _Loaded(file, error=str(error))


def _predicted(predictor: Predictor, batch: list[_Loaded], overlays: bool) -> Iterator[Prediction]:
    readable = [one.levels for one in batch if not one.error]
    if not readable:
        yield from (Prediction(one.file, one.error) for one in batch)
        return
    images = {size: np.stack([levels[size] for levels in readable]) for size in predictor.sizes}
    found = predictor.predict_batch(images)
    nothing = [None] * len(found.logits)
    presentations: Sequence[Presentation | None] = predictor.presentations(images) or nothing
    probabilities = predictor.rule.probabilities(found.logits)
    threshold = predictor.ood_threshold
    out_of_distribution = found.ood_scores > (math.inf if threshold is None else threshold)
    positive = found.logits >= predictor.point.logit_threshold
    maps = predictor.maps(images, positive) if overlays else None
    place = 0
    for one in batch:
        if one.error:
            yield Prediction(one.file, one.error)
            continue
        yield Prediction(
            one.file,
            logit=float(found.logits[place]),
            probability=float(probabilities[place]),
            positive=bool(positive[place]),
            out_of_distribution=bool(out_of_distribution[place]),
            ood_score=float(found.ood_scores[place]),
            members=tuple(float(member[place]) for member in found.member_probabilities),
            other_part=one.other_part,
            # Nobody knows which way a foreign image is up.
            presentation=said if (said := presentations[place]) or not out_of_distribution[place] else None,
            overlay=_overlay(one.picture, maps[place])
            if maps is not None and one.picture is not None
            else None,
        )
        place += 1


def _overlay(picture: Grey, saliency: NDArray[np.float32]) -> NDArray[np.uint8]:
    from pneumo_cli.reports.figures.saliency import overlay

    return overlay(picture, saliency)
