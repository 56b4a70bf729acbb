"""Flags and arguments that several commands share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="The folder of a run, or of a group (--folds, --seeds).", show_default=False
    ),
]
DeviceFlag = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionFlag = Annotated[
    str | None, typer.Option("--precision", metavar="auto|fp32|bf16|fp16", help="Numeric precision.")
]
PointFlag = Annotated[
    str | None,
    typer.Option(
        "--operating-point",
        metavar="default|balanced|screening|cost",
        help="The threshold to decide at.",
        show_default="the run's own",
    ),
]
RootFlag = Annotated[str | None, typer.Option("--data-root", help="Folder or zip archive of the images.")]
CheckpointFlag = Annotated[str, typer.Option("--checkpoint", metavar="best|last", help="Checkpoint to load.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def formerly(app: typer.Typer, name: str, command: Callable[..., Any]) -> None:
    """Add a command's former name as a hidden alias that prints the present one."""
    current = command.__name__.replace("_", "-")

    @functools.wraps(command)
    def renamed(*arguments: Any, **options: Any) -> Any:
        print(f"pneumo: {name} is called {current} now", file=sys.stderr)
        return command(*arguments, **options)

    app.command(name, hidden=True)(renamed)
