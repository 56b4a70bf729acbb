"""The plugin ``export``: the command and the function of that name, and predictors for the files that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from pneumo_cli.plugins.requests import PredictorRequest

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``export``."""
    from pneumo_export.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterator[FunctionSpec]:
    """``pneumo_cli.export``."""
    yield FunctionSpec(
        name="export",
        summary="Exports a run's model as ONNX, a torch.export program or a bundle",
        function="pneumo_export.functions:export",
    )


@hookimpl
def open_predictor(path: Path, request: PredictorRequest) -> Any:
    """Bundles and ``.onnx`` files."""
    from pneumo_export.predictor import open_exported

    return open_exported(path, request)
