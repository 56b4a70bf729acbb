"""The plugin ``export``: the command of that name, and predictors for the files that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl

if TYPE_CHECKING:
    import typer

    from pneumo_cli.plugins.requests import PredictorRequest

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``export``."""
    from pneumo_export.commands import add_commands

    add_commands(app)


@hookimpl
def open_predictor(path: Path, request: PredictorRequest) -> Any:
    """Bundles and ``.onnx`` files."""
    from pneumo_export.predictor import open_exported

    return open_exported(path, request)
