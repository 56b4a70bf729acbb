"""``pneumo export``: a run's classifier as an ONNX file, a torch.export program, or a bundle to hand on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pneumo_cli.cli.options import CheckpointFlag, JsonFlag
from pneumo_cli.cli.output import print_json
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command(rich_help_panel="Runs")
    def export(
        ctx: typer.Context,
        run: Annotated[
            Path, typer.Argument(metavar="RUN", help="A classifier's run folder.", show_default=False)
        ],
        form: Annotated[
            str,
            typer.Option(
                "--format", metavar="FORMAT", help="onnx, torch (a torch.export program) or bundle."
            ),
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
            typer.Option(
                "--operating-point",
                help="The one that the exported model decides at.",
                show_default="the run's own",
            ),
        ] = None,
        check_on: Annotated[
            list[str] | None,
            typer.Option(
                "--check-on",
                metavar="PATH",
                help="Compare logits on these image files too; may be repeated.",
                show_default=False,
            ),
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a file or bundle that is there.")
        ] = False,
        json: JsonFlag = False,
    ) -> None:
        """Export a classifier to use elsewhere. Checked against the run's own logits before it is kept."""
        _export(ctx.obj, run, form, out, checkpoint, operating_point or "", check_on or [], overwrite, json)


def _export(
    plugins: Plugins,
    run: Path,
    form: str,
    out: Path | None,
    checkpoint: str,
    point: str,
    check_on: list[str],
    overwrite: bool,
    as_json: bool,
) -> None:
    from pneumo_cli.data.input_paths import expand
    from pneumo_cli.inference.predictors import RunPredictor
    from pneumo_cli.reports.formatting import DISCLAIMER
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.trainers.loading import check_checkpoint, load_trained
    from pneumo_cli.trainers.requirements import check_plugins
    from pneumo_export import export

    check_checkpoint(checkpoint)
    export.check_format(form)
    if is_group(run):
        raise UsageError(
            f"{run} is a group of runs: a classifier's parts are exported one by one (pneumo predict averages them)"
        )
    folder = RunFolder.open(run)
    check_plugins(plugins, folder)
    target = out or Path(f"{run.absolute().parent.name}-{run.absolute().name}{export.FORMATS[form]}")
    export.check_target(target, form, overwrite)
    files = list(expand(check_on, sys.stdin)) if check_on else []
    # The reference is exact fp32 on the CPU, whatever the run was trained in.
    trained = load_trained(plugins, folder, checkpoint, {"device": "cpu", "precision": "fp32"})
    predictor = RunPredictor(trained, point)
    made = export.export(
        predictor,
        form,
        target,
        further=_read(files, predictor.size) if files else None,
        overwrite=overwrite,
        progress=for_stderr(),
    )
    if as_json:
        print_json(_described(made, form))
        return
    print(made.path)
    for check in made.checks:
        print(
            f"pneumo: largest difference of logits on {check.images} images, {check.runtime} against the run in "
            f"fp32: {check.difference:.1e}",
            file=sys.stderr,
        )
    print(f"pneumo: {DISCLAIMER}", file=sys.stderr)


def _described(made: Any, form: str) -> dict[str, Any]:
    return {"path": str(made.path), "format": form, "checks": [check.plain() for check in made.checks]}


def _read(files: list[Path], size: int) -> Any:
    """Images as the network sees them, uint8 [N, S, S].

    Raises:
        PneumoError: one cannot be read.
    """
    import numpy as np

    from pneumo_cli.data.decoding import decode_image
    from pneumo_cli.data.input_paths import read_file
    from pneumo_cli.errors import UnreadableImage

    images = []
    for file in files:
        try:
            images.append(decode_image(read_file(file), size))
        except UnreadableImage as error:
            raise PneumoError(f"{file} cannot be read: {error}") from error
    return np.stack(images)
