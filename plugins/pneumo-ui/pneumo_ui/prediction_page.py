"""Images that are dropped on the page, predicted with a model. They stay in memory until the answer is sent."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pneumo_cli.errors import PneumoError
from pneumo_cli.reports.formatting import percent
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.json_values import finite, mapping, sequence
from pneumo_cli.runtime.streams import printable
from pneumo_ui.examples import example_image, examples_of
from pneumo_ui.files import read
from pneumo_ui.pages import page
from pneumo_ui.run_index import Entry
from pneumo_ui.run_page import entry_of, predicts, trainer_kinds
from pneumo_ui.state import State, state_of
from pneumo_ui.uploads import Busy

if TYPE_CHECKING:
    from starlette.requests import Request

    from pneumo_cli.inference.prediction import Prediction
    from pneumo_cli.workflows.models import Model

LARGEST = 64 * 2**20
"""Bytes of an image file: a radiograph of 30 million pixels in 16 bits, uncompressed."""
_PICTURE, _THUMBNAIL = 640, 192  # pixels of the longer side
_REPORT = 64 * 2**20  # bytes of a report.json


def routes() -> Sequence[BaseRoute]:
    """The page, the examples of a run, and the prediction for one image."""
    return [
        Route("/predict", choose),
        Route("/predict/examples", examples),
        Route("/predict/example", example),
        Route("/predict/image", image, methods=["POST"], max_body_size=LARGEST),
    ]


def choose(request: Request) -> Response:
    """The page: which model, and where to drop images."""
    entries = state_of(request).index.snapshot().entries.values()
    kinds = trainer_kinds(state_of(request))
    models = [entry for entry in entries if predicts(entry, kinds)]
    models.sort(key=lambda entry: entry.run.started if entry.run else "", reverse=True)
    chosen = request.query_params.get("name", "")
    return page(
        request,
        "predict.html",
        active="/predict",
        models=models[:500],
        chosen=chosen if any(entry.id == chosen for entry in models) else (models[0].id if models else ""),
        largest=LARGEST,
    )


async def examples(request: Request) -> Response:
    """A few validation images of a run, by name, as JSON."""
    state, entry = await _asked(request)
    classes, found = await state.reading.run(lambda: (_classes(state, entry), examples_of(state, entry)))
    return JSONResponse([{"name": one.name, "truth": classes.get(one.truth, "")} for one in found])


async def example(request: Request) -> Response:
    """One of them as a picture; with ``thumbnail`` in the address a small one."""
    state, entry = await _asked(request)
    name, longest = (
        request.query_params.get("example", ""),
        _THUMBNAIL if "thumbnail" in request.query_params else 0,
    )
    content = await state.reading.run(lambda: example_image(state, entry, name, longest))
    return Response(content, media_type="image/png")


async def image(request: Request) -> Response:
    """The prediction for the image that is the request's body, as JSON; ``error`` says why there is none."""
    state = state_of(request)
    name = printable(unquote(request.headers.get("x-file-name", ""))[:300]) or "image"
    try:
        _, entry = await _asked(request)
        async with state.uploads.received(request) as content:
            return JSONResponse(await state.predicting.run(lambda: _predicted(state, entry, name, content)))
    except Busy as busy:
        return JSONResponse({"file": name, "error": str(busy)}, 503, {"Retry-After": "2"})
    except PneumoError as error:
        return JSONResponse({"file": name, "error": str(error)}, 422)
    except HTTPException as error:
        detail = f"larger than {LARGEST // 2**20} MB" if error.status_code == 413 else error.detail
        return JSONResponse({"file": name, "error": detail}, error.status_code)
    except TimeoutError:
        return JSONResponse({"file": name, "error": "the file did not arrive in time"}, 408)
    except asyncio.CancelledError:  # the prediction goes on, but nobody waits for it any more
        return JSONResponse({"file": name, "error": "the server was stopped"}, 503)
    except ClientDisconnect:
        return Response(status_code=400)


async def _asked(request: Request) -> tuple[State, Entry]:
    """The run that the address names. Raises as :func:`entry_of`."""
    entry = await run_in_threadpool(entry_of, request, request.query_params.get("name", ""))
    return state_of(request), entry


def _predicted(state: State, entry: Entry, name: str, content: bytes) -> dict[str, Any]:
    if not content:
        return {"file": name, "error": "the file is empty"}
    model = state.models.of(entry)
    found = model.predict(content, maps=not model.masks, progress=False)[0]
    answer: dict[str, Any] = finite({"file": name, **_shown(model, found)})
    return answer


def _shown(model: Model, found: Prediction) -> dict[str, Any]:
    """What the page shows of a prediction."""
    if found.error:
        return {"error": found.error}
    shares = sorted(zip(found.classes, found.probabilities, strict=False), key=lambda pair: -pair[1])
    values = [
        f"{name}: {value:.4g} {model.units.get(name, '')}".rstrip() for name, value in found.numbers.items()
    ]
    values += [f"{name}: {percent(area)} of the image" for name, area in found.areas.items()]
    return {
        "predicted": list(found.predicted) or (["none"] if model.task == "multilabel" else []),
        "shares": [{"name": name, "share": share, "text": percent(share)} for name, share in shares],
        "values": values,
        "calibration": _calibration(model) if found.classes else "",
        "decisions": _decisions(model, found),
        "explained": shares[0][0] if model.task == "multilabel" else "".join(found.predicted),
        "doubts": list(found.doubts),
        "synthetic": bool(model.facts.get("synthetic")),
        "overlay": _url(found.overlay if found.overlay is not None else _masks(found)),
        "thumbnail": _url(found.thumbnail),
    }


def _calibration(model: Model) -> str:
    """What its probabilities mean, in a sentence or two."""
    known = model.calibration
    if known is None:
        return "Not calibrated: the number is what the network gives, read as a probability."
    images = f"{known['images']:,} validation images"
    if model.task != "binary":
        return f"Calibrated on {images}; valid where the classes are as frequent as among these."
    share = percent(known["prevalence"])
    return (
        f"Calibrated on {images}, of which {share} were {model.classes[1]}: where it is rarer, the probability is "
        "too high."
    )


def _decisions(model: Model, found: Prediction) -> list[dict[str, Any]]:
    """What is predicted at each operating point, the one in use first."""
    decided, rows = model.decisions(found), []
    for point in model.operating_points:
        threshold = model.threshold(point)
        rows.append(
            {
                "point": point.name,
                "used": model.operating_point is not None and point.name == model.operating_point.name,
                "threshold": "" if threshold is None else percent(threshold),
                "rule": point.rule,
                "predicted": list(decided[point.name]) or ["none"],
            }
        )
    return sorted(rows, key=lambda row: not row["used"])


def _masks(found: Prediction) -> Any:
    """The first mask of a model that predicts masks, white inside."""
    import numpy as np

    return next((np.uint8(255) * (mask >= 0.5) for mask in found.masks.values()), None)


def _url(levels: Any) -> str:
    """An image, uint8 [H, W] or [H, W, 3], as a ``data:`` URL; empty without one."""
    if levels is None:
        return ""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.asarray(levels, np.uint8))
    picture.thumbnail((_PICTURE, _PICTURE))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def _classes(state: State, entry: Entry) -> Mapping[str, str]:
    """Names of the classes by the index that the file of predictions has."""
    try:
        report = mapping(json.loads(read(state.folder, RunFolder(entry.path).report_json, _REPORT)))
    except (OSError, ValueError, RecursionError, PneumoError):
        return {}
    classes = sequence(mapping(report.get("dataset")).get("classes"))
    return {str(place): printable(str(name)) for place, name in enumerate(classes)}
