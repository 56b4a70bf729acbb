"""A run: how it goes, its settings, its images, and what it has written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.folder import GROUP_SETTINGS, RunFolder
from pneumo_cli.runs.index import FINISHED, RUNNING, ListedRun, problem_of, unreadable
from pneumo_cli.runtime.json_values import finite, mapping, text, value_text
from pneumo_cli.workflows.run_list import run_columns
from pneumo_ui.files import Refused, read
from pneumo_ui.pages import page, rendered
from pneumo_ui.progress import (
    Epochs,
    Position,
    checkpoints,
    epoch_images,
    epochs_since,
    labels,
    latest_epochs,
    log_since,
    time_left,
)
from pneumo_ui.run_index import Entry
from pneumo_ui.state import State, state_of

if TYPE_CHECKING:
    from starlette.requests import Request

_SETTINGS = 2**20  # bytes of a run.toml
_IMAGE = 64 * 2**20  # bytes of the images of an epoch
_PREDICT_NOTHING = {"gan", "autoencoder"}
"""Kinds of models that predict nothing of an image. One of a kind that nobody knows is tried."""
_PNG = b"\x89PNG\r\n\x1a\n"


def routes() -> Sequence[BaseRoute]:
    """The page, what is new on it, and its images."""
    return [Route("/run", run), Route("/run/progress", progress), Route("/run/images", images)]


@dataclass(frozen=True)
class Setting:
    """A setting as it was resolved.

    Attributes:
        origin: where the value came from, such as ``--lr``.
    """

    name: str
    value: str
    origin: str

    @property
    def is_default(self) -> bool:
        """Whether nobody has chosen the value."""
        return self.origin in ("", "default")


def run(request: Request) -> Response:
    """The page of a run or of a group."""
    state, entry = state_of(request), entry_of(request, request.query_params.get("name", ""))
    problems = [entry.problem] if entry.problem else []
    try:
        settings = settings_of(state, entry)
    except PneumoError as error:
        settings = []
        problems = problems or [str(error)]
    found = entry.run or _unlisted(entry, settings)
    shared: dict[str, Any] = {
        "entry": entry,
        "run": found,
        "cells": {title: cells[0] for title, cells in run_columns([found]).items()},
        "settings": settings,
        "problems": problems,
        "predicts": predicts(entry, trainer_kinds(state)),
        "has_report": RunFolder(entry.path).report_html.is_file(),
        "group": state.index.find(entry.group) if entry.group else None,
    }
    if entry.is_group:
        members = state.index.snapshot().members(entry.id)
        return page(request, "group.html", active="/", members=members, **shared)
    return page(request, "run.html", active="/", **shared)


def progress(request: Request) -> Response:
    """What is new of a run, as JSON; ``epochs`` and ``log`` in the address say how far it is known."""
    state, entry = state_of(request), entry_of(request, request.query_params.get("name", ""))
    folder, parameters = RunFolder(entry.path), request.query_params
    found, problems = entry.run or _unlisted(entry, []), list[str]()
    try:
        epochs = epochs_since(state.folder, folder, Position.of(parameters.get("epochs", "")))
    except Refused as error:
        epochs = Epochs((), Position(), again=True, more=False, damaged=0)
        problems.append(problem_of(entry.path, error).reason)
    answer: dict[str, Any] = {
        "state": found.state,
        "epochs": found.epochs,
        "of": found.of,
        "rows": epochs.rows,
        "labels": labels(epochs.rows, found.task),
        "position": str(epochs.position),
        "again": epochs.again,
        "more": epochs.more,
        "damaged": epochs.damaged,
        "left": "",
    }
    if "log" in parameters:
        going_on = found.state == RUNNING and not problems
        try:
            lines, log, log_again = log_since(state.folder, folder, Position.of(parameters["log"]))
        except Refused as error:
            lines, log, log_again = "", Position(), True
            problems.append(problem_of(entry.path, error).reason)
        answer |= {"log": lines, "logPosition": str(log), "logAgain": log_again}
        answer |= {
            "images": epoch_images(state.folder, folder),
            "report": folder.report_html.is_file(),
            "left": time_left(found, latest_epochs(state.folder, folder) if going_on else []),
            "files": rendered(request, "checkpoints.html", checkpoints=_checkpoints(state, folder)),
        }
    answer["problems"] = [one for one in problems if one != entry.problem]  # which the page says already
    return JSONResponse(finite(answer))


def images(request: Request) -> Response:
    """The images that a trainer has kept of an epoch."""
    state, entry = state_of(request), entry_of(request, request.query_params.get("name", ""))
    epoch = request.query_params.get("epoch", "")
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 8):
        raise HTTPException(404, "There is no such epoch.")
    try:
        content = read(state.folder, RunFolder(entry.path).epoch_images(int(epoch)), _IMAGE)
    except FileNotFoundError as error:
        raise HTTPException(404, "There are no images of this epoch.") from error
    if not content.startswith(_PNG):
        raise Refused("the images of this epoch are no PNG file")
    return Response(content, media_type="image/png")


def entry_of(request: Request, identity: str) -> Entry:
    """The run or group that an address names.

    Raises:
        HTTPException: there is none, or there is none any more.
    """
    if not identity:
        raise HTTPException(404, "This address names no run. Choose one in the list of all runs.")
    state = state_of(request)
    entry = state.index.find(identity)
    if entry is None:
        if not state.folder.is_dir():
            raise HTTPException(404, f"The folder {state.folder} is gone: it was removed or renamed.")
        raise HTTPException(404, f"There is no run {identity[:200]}: it may have been deleted or renamed.")
    return entry


def listed(entry: Entry) -> ListedRun:
    """What is listed of a run.

    Raises:
        PneumoError: it cannot be read.
    """
    if entry.run is None:
        raise PneumoError(f"{entry.id}: {entry.problem}")
    return entry.run


def settings_of(state: State, entry: Entry) -> list[Setting]:
    """The settings that were recorded when a run began.

    Raises:
        PneumoError: they cannot be read.
    """
    name = GROUP_SETTINGS if entry.is_group else "run.toml"
    try:
        content = tomllib.loads(read(state.folder, entry.path / name, _SETTINGS).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise PneumoError(f"{name} is missing: the run is being started, or was deleted") from error
    except Refused as error:
        raise PneumoError(problem_of(entry.path, error).reason) from error
    except (ValueError, RecursionError) as error:
        raise unreadable(f"{name} of {entry.id}", error) from error
    origins = mapping(content.pop("origin", None))
    return [
        Setting(key, value_text(value), text(origins.get(key)))
        for key, value in content.items()
        if not isinstance(value, dict)
    ]


def trainer_kinds(state: State) -> dict[str, str]:
    """The kinds of models that the installed trainers train, by the trainer's name."""
    return {entry.spec.name: entry.spec.kind for entry in state.plugins.trainers.entries()}


def predicts(entry: Entry, kinds: Mapping[str, str]) -> bool:
    """Whether a run has, as far as is known without loading it, a trained model that predicts images.

    Args:
        kinds: as of :func:`trainer_kinds`.
    """
    run = entry.run
    return (
        run is not None and run.state.startswith(FINISHED) and kinds.get(run.trainer) not in _PREDICT_NOTHING
    )


def _unlisted(entry: Entry, settings: Sequence[Setting]) -> ListedRun:
    """What can be shown of a run that cannot be listed."""
    known = {setting.name: setting.value for setting in settings}
    epochs = known.get("epochs", "")
    return ListedRun(
        path=entry.path,
        name=entry.id,
        trainer=known.get("trainer", ""),
        model=known.get("model", ""),
        dataset=known.get("dataset", ""),
        split="",
        epochs=0,
        of=int(epochs) if epochs.isascii() and epochs.isdigit() else 0,
        started="",
        state="damaged",
    )


def _checkpoints(state: State, folder: RunFolder) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "size": f"{one.size / 2**20:,.1f} MB",
            "written": f"{datetime.fromtimestamp(one.written, UTC):%Y-%m-%d %H:%M:%S} UTC",
        }
        for one in checkpoints(state.folder, folder)
    ]
