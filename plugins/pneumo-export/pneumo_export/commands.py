"""``pneumo export``: a run's model as an ONNX file, a torch.export program, or a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import CheckpointFlag, JsonFlag
from pneumo_cli.cli.output import print_json
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_export.graph import Exportable


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
    from pneumo_cli.data.input_paths import expand
    from pneumo_cli.inference.predictors import RunPredictor
    from pneumo_cli.reports.formatting import DISCLAIMER
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.trainers.loading import check_checkpoint, load_trained
    from pneumo_cli.trainers.requirements import check_plugins
    from pneumo_export import export as exporting

    check_checkpoint(checkpoint)
    exporting.check_format(form)
    if is_group(run):
        raise UsageError(
            f"{run} is a group of runs: export its members one by one (pneumo predict averages them)"
        )
    folder = RunFolder.open(run)
    check_plugins(ctx.obj, folder)
    name = f"{run.absolute().parent.name}-{run.absolute().name}"
    target = out or Path(name + exporting.FORMATS[form])
    exporting.check_target(target, form, overwrite)
    files = list(expand(check_on, sys.stdin)) if check_on else []
    # The reference is fp32 on the CPU, whatever the run was trained with.
    trained = load_trained(ctx.obj, folder, checkpoint, {"device": "cpu", "precision": "fp32"})
    predictor = exporting.exportable(trained, operating_point or "")
    exported = exporting.export(
        predictor,
        form,
        target,
        further=_decoded(files, predictor) if files else None,
        overwrite=overwrite,
        progress=for_stderr(),
    )
    ctx.obj.notify("model_exported", path=run, target=exported.path)
    if json:
        checks = [check.plain() for check in exported.checks]
        print_json({"path": str(exported.path), "format": form, "checks": checks})
        return
    print(exported.path)
    what = "logits" if isinstance(predictor, RunPredictor) else ", ".join(predictor.units)
    for check in exported.checks:
        pixels = "" if check.pixels is None else f"; {check.pixels:.2%} of the pixels of masks differ"
        print(
            f"pneumo: largest difference of {what} on {check.images} images, {check.runtime} against the run in "
            f"fp32: {check.difference:.1e}{pixels}",
            file=sys.stderr,
        )
    print(f"pneumo: {DISCLAIMER}", file=sys.stderr)


def _decoded(files: list[Path], predictor: Exportable) -> Any:
    """Images as the network's input, of its channels and bits: [N, S, S] or [N, C, S, S].

    Raises:
        UsageError: image files cannot hold what the network takes.
        PneumoError: one cannot be read.
    """
    import numpy as np

    from pneumo_cli.data.input_paths import read_file
    from pneumo_cli.data.level_decoding import decode_levels
    from pneumo_cli.data.resizing import resize
    from pneumo_cli.errors import UnreadableImage

    images, size = [], predictor.size
    for file in files:
        try:
            levels = decode_levels(read_file(file), predictor.channels, predictor.bits, size)
        except UnreadableImage as error:
            raise PneumoError(f"{file} cannot be read: {error}") from error
        images.append(resize(levels, size))
    return np.stack(images)
