"""Flags and arguments that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pneumo_cli.runtime.terminal import print_message

RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="The folder of a run, or of a group (--folds, --seeds).", show_default=False
    ),
]
DeviceFlag = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N, xpu, xpu:N or mps.")
]
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
RootFlag = Annotated[
    str | None, typer.Option("--data-root", metavar="PATH", help="Folder or zip archive of the images.")
]
CacheFlag = Annotated[
    str | None,
    typer.Option("--cache", metavar="PATH", help="Folder of decoded images; may be deleted at any time."),
]
HomeFlag = Annotated[
    str | None, typer.Option("--data-home", metavar="PATH", help="Folder of imported datasets.")
]
ThreadsFlag = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=0,
        max=1024,
        help="CPU threads; 0: one per usable core. On a busy machine fewer are faster.",
        show_default=False,
    ),
]
"""Whoever opens a dataset has ``--data-root``, ``--cache`` and ``--threads``; who only computes, the last one."""
CheckpointFlag = Annotated[str, typer.Option("--checkpoint", metavar="best|last", help="Checkpoint to load.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def formerly(app: typer.Typer, name: str, command: Callable[..., Any]) -> None:
    """Add a command's former name as a hidden alias that prints the present one."""
    current = command.__name__.replace("_", "-")

    @functools.wraps(command)
    def renamed(*arguments: Any, **options: Any) -> Any:
        print_message(f"{name} is called {current} now")
        return command(*arguments, **options)

    app.command(name, hidden=True)(renamed)
