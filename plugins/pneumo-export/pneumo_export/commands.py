"""``pneumo export``: a run's model as an ONNX file, a torch.export program, or a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pneumo_cli.cli.options import CheckpointFlag, JsonFlag
from pneumo_cli.cli.output import print_json
from pneumo_cli.runtime.progress import for_stderr


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
    json: JsonFlag = False,
) -> None:
    """Export a model for use elsewhere, after comparing its predictions with the run's."""
    from pneumo_cli.reports.formatting import DISCLAIMER
    from pneumo_cli.workflows.caller import Caller
    from pneumo_export.functions import exported

    result = exported(
        Caller(ctx.obj, progress=for_stderr()),
        *(run, out, form, checkpoint, operating_point, check_on or ()),
        overwrite=overwrite,
        stdin=sys.stdin,
    )
    if json:
        print_json({"path": str(result.path), "format": form, "checks": result.checks})
        return
    print(result.path)
    for check in result.checks:
        pixels = (
            f"; {check['differing_pixels']:.2%} of the pixels of masks differ"
            if "differing_pixels" in check
            else ""
        )
        print(
            f"pneumo: largest difference of {result.compared} on {check['images']} images, {check['runtime']} "
            f"against the run in fp32: {check['largest_difference']:.1e}{pixels}",
            file=sys.stderr,
        )
    print(f"pneumo: {DISCLAIMER}", file=sys.stderr)
