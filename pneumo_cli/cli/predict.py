"""``pneumo predict``: what a trained classifier, or several of them together, say of image files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import CheckpointFlag, DeviceFlag, JsonFlag, PointFlag, PrecisionFlag
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.cli.prediction_output import Writer


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command(rich_help_panel="Images")
    def predict(
        ctx: typer.Context,
        run: Annotated[
            Path,
            typer.Argument(
                metavar="RUN",
                help="A run's or group's folder, an exported bundle or .onnx file.",
                show_default=False,
            ),
        ],
        paths: Annotated[
            list[str],
            typer.Argument(
                metavar="PATH",
                help="Image files (JPEG, PNG, TIFF, DICOM), folders, globs; - reads a list from standard input.",
                show_default=False,
            ),
        ],
        further: Annotated[
            list[Path] | None,
            typer.Option(
                "--with",
                metavar="RUN",
                help="A further model to average with (calibrated logits); may be repeated.",
                show_default=False,
            ),
        ] = None,
        operating_point: PointFlag = None,
        prevalence: Annotated[
            float | None,
            typer.Option(
                "--prevalence",
                metavar="SHARE",
                help="Probabilities for images of which this share (0.05: 5 %) is of the positive class. Decisions "
                "stay: operating points are cuts of the logit.",
                show_default="the validation images'",
            ),
        ] = None,
        cam: Annotated[
            Path | None,
            typer.Option(
                "--cam",
                metavar="DIR",
                help="Draw what each decision rests on into a new folder (Grad-CAM).",
                show_default=False,
            ),
        ] = None,
        as_json: JsonFlag = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
        checkpoint: CheckpointFlag = "best",
        device: DeviceFlag = None,
        precision: PrecisionFlag = None,
        threads: Annotated[
            int | None,
            typer.Option("--threads", help="CPU threads; 0: all.", min=0, show_default="the run's own"),
        ] = None,
    ) -> None:
        """Classify image files with trained models. Calibrated, at a named operating point. No medical device."""
        if as_json and as_csv:
            raise UsageError("--json and --csv are two forms: ask for one of them")
        from pneumo_cli.cli.prediction_output import Csv, Json, Text

        writer = Json if as_json else Csv if as_csv else Text
        flags = {"device": device, "precision": precision, "threads": threads}
        if prevalence is not None and not 0 < prevalence < 1:
            raise UsageError(
                f"--prevalence is {prevalence:g}: it is a share above 0 and below 1, such as 0.05 for 5 %"
            )
        models = [run, *(further or [])]
        asked = _Asked(operating_point or "", prevalence, cam, checkpoint, flags)
        if _predict(ctx.obj, models, paths, asked, writer):
            raise typer.Exit(1)


@dataclass(frozen=True)
class _Asked:
    """How the models are to answer; empty or None: as they do by themselves."""

    point: str
    prevalence: float | None
    cam: Path | None
    checkpoint: str
    flags: Mapping[str, Any]


def _predict(
    plugins: Plugins,
    models: Sequence[Path],
    arguments: Sequence[str],
    asked: _Asked,
    writer: type[Writer],
) -> int:
    """Return how many files could not be judged."""
    from pneumo_cli.cli.prediction_output import Counts, say_what_it_means
    from pneumo_cli.data.input_paths import expand
    from pneumo_cli.inference.predict import predict
    from pneumo_cli.inference.predictors import model_places, open_predictor
    from pneumo_cli.trainers.loading import check_checkpoint

    cam = asked.cam
    check_checkpoint(asked.checkpoint)
    places = model_places(plugins, models)
    if cam is not None:
        _check_new(cam)
    files = list(expand(arguments, sys.stdin))

    predictor = open_predictor(
        plugins,
        places,
        point=asked.point,
        checkpoint=asked.checkpoint,
        flags=asked.flags,
        overlays=cam is not None,
        prevalence=asked.prevalence,
    )
    names = _Names()
    counts = Counts(len(files))
    with (
        for_stderr().stage("predicting", len(files)) as advance,
        writer(predictor, files).open() as out,
    ):
        for prediction in predict(predictor, files, overlays=cam is not None):
            if cam is not None and prediction.overlay is not None:
                _write_overlay(cam / names.of(prediction.file), prediction.overlay)
            out.write(prediction)
            counts.add(prediction)
            advance(1)
    say_what_it_means(predictor, counts)
    return counts.failed


class _Names:
    """File names of overlays: those of the images, told apart where two are equal."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, file: Path) -> str:
        """A name that no other file has got."""
        number, name = 1, f"{file.stem}.png"
        while name.lower() in self._taken:
            number += 1
            name = f"{file.stem}-{number}.png"
        self._taken.add(name.lower())
        return name


def _check_new(folder: Path) -> None:
    """Refuse a folder for overlays that holds something.

    Raises:
        UsageError: it does, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"the folder {folder} for overlays is not empty: name a new one")
    except OSError as error:
        raise UsageError(f"the folder {folder} for overlays cannot be made: {error.strerror}") from error


def _write_overlay(path: Path, picture: Any) -> None:
    from pneumo_cli.reports.figures.saliency import write_overlay

    try:
        write_overlay(path, picture)
    except OSError as error:
        raise PneumoError(f"the overlay {path} cannot be written: {error.strerror}") from error
