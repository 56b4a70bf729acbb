"""What all pages share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_ui.loaded_models import LoadedModels
from pneumo_ui.run_index import RunIndex
from pneumo_ui.uploads import Uploads
from pneumo_ui.worker import Worker

if TYPE_CHECKING:
    from starlette.requests import Request

    from pneumo_cli.plugins.discovery import Plugins


@dataclass(frozen=True, eq=False)
class State:
    """What the application knows.

    Attributes:
        folder: where the runs are, absolute.
        plugins: what is installed, to open models with.
        index: the runs below the folder.
        models: those that images are predicted with; used by ``predicting`` alone.
        uploads: the images that wait.
        predicting: predicts them.
        reading: opens datasets, and reads examples.
    """

    folder: Path
    plugins: Plugins
    index: RunIndex
    models: LoadedModels
    uploads: Uploads = field(default_factory=Uploads)
    predicting: Worker = field(default_factory=lambda: Worker("predictions"))
    reading: Worker = field(default_factory=lambda: Worker("examples"))


def state_of(request: Request) -> State:
    """The application's state."""
    state: State = request.app.state.pneumo
    return state
