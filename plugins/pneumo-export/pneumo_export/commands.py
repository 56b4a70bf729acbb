"""``pneumo export``: a run's model as an ONNX file, a torch.export program, or a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pneumo_cli.cli.options import CheckpointFlag, JsonFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_line
from pneumo_cli.runtime.percentages import share
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="Runs")(export)


def export(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run whose model predicts.", show_default=False),
    ],
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="onnx, torch (a torch.export program) or bundle."),
    ] = "bundle",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File, or folder of a bundle.", show_default="TRAINER-RUN here"
        ),
    ] = None,
    checkpoint: CheckpointFlag = "best",
    operating_point: Annotated[
        str | None,
        typer.Option("--operating-point", help="The exported model's default.", show_default="the run's own"),
    ] = None,
    check_on: Annotated[
        list[str] | None,
        typer.Option(
            "--check-on",
            metavar="PATH",
            help="Compare on these image files too; may be repeated.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file or bundle.")
    ] = False,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
) -> None:
    """Export a model for use elsewhere: ONNX, torch.export, bundle.

    Its predictions are compared with the run's before anything is kept."""
    from pneumo_export.exportable import check_exportable

    check_exportable(ctx.obj, run)
    from pneumo_cli.reports.formatting import DISCLAIMER
    from pneumo_cli.workflows.caller import Caller
    from pneumo_export.functions import exported

    result = exported(
        Caller(ctx.obj, progress=for_stderr()),
        *(run, out, form, checkpoint, operating_point, check_on or ()),
        overwrite=overwrite,
        threads=threads,
        stdin=sys.stdin,
    )
    if json:
        print_json({"path": str(result.path), "format": form, "checks": result.checks})
        return
    print_line(result.path)
    for check in result.checks:
        pixels = (
            f"; {share(check['differing_pixels'], 2)} of the pixels of masks differ"
            if "differing_pixels" in check
            else ""
        )
        print_message(
            f"largest difference of {result.compared} on {check['images']} images, {check['runtime']} "
            f"against the run in fp32: {check['largest_difference']:.1e}{pixels}"
        )
    print_message(DISCLAIMER)
