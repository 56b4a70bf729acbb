"""``pneumo predict``: what a trained classifier, or several of them together, say of image files."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.images import CheckpointFlag
from pneumo_cli.cli.runs import DeviceFlag, PointFlag, PrecisionFlag
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins import Plugins
from pneumo_cli.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.prediction import Prediction, Predictor

NOTICE = "Research software, no medical device: not for diagnosis, and not to be used on patients."


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
                metavar="PATH...",
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
        cam: Annotated[
            Path | None,
            typer.Option(
                "--cam",
                metavar="DIR",
                help="Draw what each decision rests on into a new folder (Grad-CAM).",
                show_default=False,
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
        writer = _Json if as_json else _Csv if as_csv else _Text
        flags = {"device": device, "precision": precision, "threads": threads}
        models = [run, *(further or [])]
        if _predict(ctx.obj, models, paths, operating_point or "", cam, writer, checkpoint, flags):
            raise typer.Exit(1)


def _predict(
    plugins: Plugins,
    models: Sequence[Path],
    arguments: Sequence[str],
    point: str,
    cam: Path | None,
    writer: type[_Writer],
    checkpoint: str,
    flags: dict[str, Any],
) -> int:
    """Return how many files could not be judged."""
    from pneumo_cli.data.paths import expand
    from pneumo_cli.prediction import predict
    from pneumo_cli.predictors import model_places, open_predictor
    from pneumo_cli.trained import check_checkpoint

    check_checkpoint(checkpoint)
    places = model_places(models)
    if cam is not None:
        _check_new(cam)
    files = list(expand(arguments, sys.stdin))

    predictor = open_predictor(
        plugins, places, point=point, checkpoint=checkpoint, flags=flags, overlays=cam is not None
    )
    names = _Names()
    failed = unlike = 0
    with (
        for_stderr().stage("predicting", len(files)) as advance,
        writer(predictor, files).open() as out,
    ):
        for prediction in predict(predictor, files, overlays=cam is not None):
            if cam is not None and prediction.overlay is not None:
                _write_overlay(cam / names.of(prediction.file), prediction.overlay)
            out.write(prediction)
            failed += bool(prediction.error)
            unlike += prediction.unlike
            advance(1)
    _say_what_it_means(predictor, len(files), failed, unlike)
    return failed


class _Writer(ABC):
    """Shows predictions on stdout as they come."""

    def __init__(self, predictor: Predictor, files: Sequence[Path]) -> None:
        self.predictor = predictor
        self.files = files

    @contextmanager
    def open(self) -> Iterator[_Writer]:
        """Write what stands before and after all predictions."""
        yield self

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""

    def unlike(self, prediction: Prediction) -> str:
        """How far a flagged file is from the training images."""
        threshold = self.predictor.novelty_threshold
        times = prediction.novelty / threshold if threshold else 0.0
        far = f" ({times:.1f} × the limit)" if times else ""
        return f"unlike the training images{far}: do not trust it"

    def called(self, prediction: Prediction) -> str:
        """The name of the class that a file was called."""
        return self.predictor.rule.classes[int(prediction.positive)]


class _Text(_Writer):
    """A table for people."""

    @contextmanager
    def open(self) -> Iterator[_Writer]:
        positive = self.predictor.rule.classes[1]
        self._decision = max(len("decision"), *map(len, self.predictor.rule.classes))
        self._probability = max(len("99.9 %"), len(positive))
        room = shutil.get_terminal_size().columns - self._decision - self._probability - 6
        longest = max((len(str(file)) for file in self.files), default=4)
        self._file = max(len("file"), min(longest, max(20, room - 12) if sys.stdout.isatty() else longest))
        print(
            f"{'FILE':<{self._file}}  {positive.upper():>{self._probability}}  {'DECISION':<{self._decision}}  NOTE"
        )
        yield self

    def write(self, prediction: Prediction) -> None:
        name = str(prediction.file)
        if len(name) > self._file:
            name = "…" + name[1 - self._file :]
        if prediction.error:
            shown, called, note = "–", "–", prediction.error
        else:
            shown, called = _percent(prediction.probability), self.called(prediction)
            note = self.unlike(prediction) if prediction.unlike else ""
        line = f"{name:<{self._file}}  {shown:>{self._probability}}  {called:<{self._decision}}  {note}"
        print(line.rstrip())


class _Json(_Writer):
    """One JSON document, written piece by piece: it may be of a million files."""

    @contextmanager
    def open(self) -> Iterator[_Writer]:
        rule, point = self.predictor.rule, self.predictor.point
        head = {
            **self.predictor.facts,
            "classes": list(rule.classes),
            "temperature": rule.temperature,
            "validation_images": rule.images,
            "operating_point": {**point.plain(), "probability": rule.probability_at(point)},
            "novelty_threshold": self.predictor.novelty_threshold,
            "notice": NOTICE,
        }
        print(
            json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)[:-2] + ',\n  "predictions": [',
            end="",
        )
        self._between = "\n"
        yield self
        print("\n  ]\n}")

    def write(self, prediction: Prediction) -> None:
        item: dict[str, Any] = {"file": str(prediction.file)}
        if prediction.error:
            item["error"] = prediction.error
        else:
            item |= {
                "probability": prediction.probability,
                "decision": self.called(prediction),
                "logit": prediction.logit,
                "out_of_distribution": prediction.unlike,
                "novelty": prediction.novelty,
            }
            if prediction.members:
                item["members"] = list(prediction.members)
        print(f"{self._between}    {json.dumps(item, ensure_ascii=False, allow_nan=False)}", end="")
        self._between = ",\n"


class _Csv(_Writer):
    """A row per file."""

    @contextmanager
    def open(self) -> Iterator[_Writer]:
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        columns = ("file", "probability", "decision", "logit", "out_of_distribution", "novelty", "error")
        self._rows.writerow(columns)
        yield self

    def write(self, prediction: Prediction) -> None:
        if prediction.error:
            self._rows.writerow([prediction.file, "", "", "", "", "", prediction.error])
            return
        self._rows.writerow(
            [
                prediction.file,
                prediction.probability,
                self.called(prediction),
                prediction.logit,
                "yes" if prediction.unlike else "no",
                prediction.novelty,
                "",
            ]
        )


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
    from pneumo_cli.reports.explanations import write_overlay

    try:
        write_overlay(path, picture)
    except OSError as error:
        raise PneumoError(f"the overlay {path} cannot be written: {error.strerror}") from error


def _percent(probability: float) -> str:
    """A probability as people read it; never 0 or 100 %, which no model can know.

    >>> _percent(0.9996), _percent(0.314), _percent(1e-9)
    ('> 99.9 %', '31.4 %', '< 0.1 %')
    """
    if probability > 0.999:
        return "> 99.9 %"
    if probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def _say_what_it_means(predictor: Predictor, files: int, failed: int, unlike: int) -> None:
    rule, point = predictor.rule, predictor.point
    positive = rule.classes[1]
    several = predictor.count > 1
    said = []
    if several:
        said.append(f"{predictor.count} models answer together: the mean of their calibrated logits")
    if rule.images:
        on = "each model's own" if several else f"{rule.images:,}"
        said.append(
            f"the number is the probability of {positive}, calibrated on {on} validation images, of which "
            f"{rule.prevalence:.0%} were {positive}; where the disease is rarer it is too high"
        )
    else:
        said.append(
            f"the number is the model's own idea of the probability of {positive}; nothing calibrated it"
        )
    said.append(
        f"{positive} is called from {_percent(rule.probability_at(point))} on, the operating point {point.name}. "
        f"{point.rule}"
    )
    if unlike:
        verb = "is" if unlike == 1 else "are"
        said.append(f"{unlike} of {files} images {verb} unlike those that the model was trained on")
    if failed:
        said.append(f"{failed} of {files} files could not be judged")
    said.append(NOTICE)
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 10_000
    for line in said:
        print(textwrap.fill(f"pneumo: {line}", width, subsequent_indent=" " * 8), file=sys.stderr)
