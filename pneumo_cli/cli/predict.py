"""``pneumo predict``: predict image files with a trained model, or with an ensemble of several."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pneumo_cli.cli.options import (
    CheckpointFlag,
    DeviceFlag,
    JsonFlag,
    PointFlag,
    PrecisionFlag,
    ThreadsFlag,
)
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="Images")(predict)


def predict(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The folder of a run or a group, an exported bundle, or an .onnx file.",
            show_default=False,
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Image files (JPEG, PNG, TIFF, BMP, WebP, PGM, DICOM), folders or glob patterns; - reads a list "
            "of paths from standard input.",
            show_default=False,
        ),
    ],
    further: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="A further model: predict with the ensemble (mean of calibrated logits, numbers or masks); may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    operating_point: PointFlag = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            metavar="SHARE",
            help="Adjust the probabilities of two classes to this prevalence of the positive one (0.05: 5 %). "
            "Decisions do not change: operating points are thresholds on the logit.",
            show_default="that of the validation images",
        ),
    ] = None,
    cam: Annotated[
        Path | None,
        typer.Option(
            "--cam",
            metavar="DIR",
            help="Write a saliency map (Grad-CAM) over each image, or the predicted masks, into a new folder.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    checkpoint: CheckpointFlag = "best",
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    threads: ThreadsFlag = None,
) -> None:
    """Predict images with a trained model.

    Prints probabilities and decisions of a classifier, or numbers and masks. No medical device."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: ask for one of them")
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(
            f"--prevalence is {prevalence:g}: it is a share above 0 and below 1, such as 0.05 for 5 %"
        )
    # Read when NumPy is imported: its threads spin while they wait, on the cores that the network computes on.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pneumo_cli.cli.prediction_output import Counts, Csv, Json, Text, print_explanation
    from pneumo_cli.data.input_paths import LeftOut, PathList, expand
    from pneumo_cli.inference.predictors import model_places, open_models
    from pneumo_cli.runs.folder import check_checkpoint
    from pneumo_cli.workflows.prediction_rows import predicted

    check_checkpoint(checkpoint)
    models = [run, *(further or [])]
    places = model_places(ctx.obj, models)
    if cam is not None:
        _check_new(cam)
    left_out = LeftOut()
    files = PathList(expand(paths, sys.stdin, left_out))
    predictor = open_models(
        ctx.obj,
        places,
        point=operating_point or "",
        checkpoint=checkpoint,
        flags={"device": device, "precision": precision, "threads": threads},
        overlays=cam is not None,
        prevalence=prevalence,
    )
    overlay_names: set[str] = set()
    counts = Counts(len(files))
    writer = Json if as_json else Csv if as_csv else Text
    with for_stderr().stage("predicting", len(files)) as advance, writer(predictor, files).open() as out:
        for prediction in predicted(ctx.obj, models, predictor, files, overlays=cam is not None):
            if cam is not None and not prediction.error:
                name = _free_name(prediction.file, overlay_names)
                if prediction.overlay is not None:
                    _write_overlay(cam / f"{name}.png", prediction.overlay)
                for mask, shares in prediction.masks.items():
                    _write_mask(cam / f"{name}-{mask}.png", shares, prediction.shape)
            out.write(prediction)
            counts.add(prediction)
            advance(1)
    print_explanation(predictor, counts)
    if left_out.kinds:
        print_message(left_out)
    if counts.failed or left_out.may_be_images:
        raise typer.Exit(1)


def _free_name(file: Path, taken: set[str]) -> str:
    """The image's name without suffix, with a number if it is taken; added to ``taken`` in lower case."""
    number, name = 1, file.stem
    while name.lower() in taken:
        number += 1
        name = f"{file.stem}-{number}"
    taken.add(name.lower())
    return name


def _check_new(folder: Path) -> None:
    """Make the folder for overlays.

    Raises:
        UsageError: it is not empty, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"the folder {folder} for overlays is not empty: name a new one")
    except OSError as error:
        raise UsageError(f"the folder {folder} for overlays cannot be made: {error.strerror}") from error


def _write_overlay(path: Path, overlay: Any) -> None:
    from pneumo_cli.reports.figures.saliency import write_overlay

    try:
        write_overlay(path, overlay)
    except OSError as error:
        raise PneumoError(f"the overlay {path} cannot be written: {error.strerror}") from error


def _write_mask(path: Path, shares: Any, shape: tuple[int, ...]) -> None:
    """Write a mask, 255 inside and 0 outside, at the size of its image."""
    import io

    import numpy as np
    from PIL import Image

    from pneumo_cli.runtime import atomic

    height, width = shape
    scaled = np.asarray(Image.fromarray(shares).resize((width, height), Image.Resampling.BILINEAR))
    data = io.BytesIO()
    Image.fromarray((scaled >= 0.5).astype(np.uint8) * np.uint8(255)).save(data, "PNG")
    try:
        atomic.write_bytes(path, data.getvalue())
    except OSError as error:
        raise PneumoError(f"the mask {path} cannot be written: {error.strerror}") from error
