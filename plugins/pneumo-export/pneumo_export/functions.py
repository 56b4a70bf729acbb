"""The function ``pneumo_cli.export``: what ``pneumo export`` does, in Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pneumo_cli.data.input_paths import expand, read_file
from pneumo_cli.data.level_decoding import decode_levels
from pneumo_cli.data.resizing import resize
from pneumo_cli.errors import PneumoError, UnreadableImage
from pneumo_cli.inference.run_predictors import RunPredictor
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.runtime.streams import encodable
from pneumo_cli.trainers.loading import check_checkpoint, load_trained
from pneumo_cli.trainers.requirements import check_plugins
from pneumo_cli.trainers.session import make_trainer
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.plugin_functions import carry_out
from pneumo_cli.workflows.tables import Table
from pneumo_export import export as exporting
from pneumo_export.exportable import check_exportable, not_exportable
from pneumo_export.graph import Exportable


@dataclass(frozen=True)
class ExportResult:
    """What :func:`pneumo_cli.export` returns. It stands for its path, which ``pneumo_cli.load`` opens.

    Attributes:
        path: the file, or the folder of the bundle.
        format: ``onnx``, ``torch`` or ``bundle``.
        checks: a row per comparison with the run in fp32, before anything was kept: ``runtime``, ``images``,
            ``largest_difference``.
        compared: what was compared: logits, or the names of numbers and masks.
    """

    path: Path
    format: str
    checks: Table
    compared: str

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return encodable(repr(self))


def export(
    run: StrPath,
    out: StrPath | None = None,
    *,
    format: str = "bundle",  # noqa: A002 - the name of the flag
    checkpoint: str = "best",
    operating_point: str | None = None,
    check_on: StrPath | Sequence[StrPath] = (),
    overwrite: bool = False,
    progress: bool | None = None,
) -> ExportResult:
    """Export a model for use elsewhere, after comparing its predictions with the run's.

    What ``pneumo export`` does.

    Args:
        run: folder or result of a run whose model predicts.
        out: the file, or the folder of a bundle; None: TRAINER-RUN in the working folder.
        format: ``onnx``, ``torch`` (a torch.export program) or ``bundle``.
        checkpoint: ``best`` or ``last``.
        operating_point: the exported model's default; None: the run's own.
        check_on: image files, or folders of them, to compare on, too.
        overwrite: whether an existing file or bundle is replaced.
        progress: whether it is shown; None: as it suits a notebook, a terminal or a log.

    Raises:
        UsageError: the run cannot be exported, or ``out`` exists.
        PneumoError: the exported model predicts something else; nothing is kept.
    """
    target = None if out is None else expanded_path(out)
    named = [check_on] if isinstance(check_on, (str, os.PathLike)) else check_on
    files = [str(expanded_path(one)) for one in named]
    return carry_out(
        lambda caller: exported(
            caller,
            expanded_path(run),
            target,
            format,
            checkpoint,
            operating_point,
            files,
            overwrite=overwrite,
        ),
        progress,
    )


def exported(
    caller: Caller,
    run: Path,
    out: Path | None,
    form: str,
    checkpoint: str,
    operating_point: str | None,
    check_on: Sequence[str],
    *,
    overwrite: bool,
    threads: int | None = None,
    stdin: TextIO | None = None,
) -> ExportResult:
    """Export a run's model; arguments as of :func:`export`, and where ``-`` reads the names of images."""
    check_exportable(caller.plugins, run)
    check_checkpoint(checkpoint)
    folder = RunFolder.open(run)
    check_plugins(caller.plugins, folder)
    # The reference is fp32 on the CPU, whatever the run was trained with.
    machine = {"device": "cpu", "precision": "fp32", "threads": threads or 0}
    resolved = reopen_settings(caller.plugins, folder, machine)
    trainer = make_trainer(resolved)
    if trainer.as_classifier() is None and trainer.as_predictor() is None:
        raise not_exportable(run, resolved.entry.spec.name)
    exporting.check_format(form)
    name = f"{run.absolute().parent.name}-{run.absolute().name}"
    target = out or Path(name + exporting.FORMATS[form])
    exporting.check_target(target, form, overwrite)
    files = list(expand(list(check_on), stdin)) if check_on else []
    trained = load_trained(caller.plugins, folder, checkpoint, machine)
    predictor = exporting.exportable(trained, operating_point or "")
    done = exporting.export(
        predictor,
        form,
        target,
        further=_decoded(files, predictor) if files else None,
        overwrite=overwrite,
        progress=caller.progress,
    )
    caller.plugins.notify("model_exported", path=run, target=done.path)
    compared = "logits" if isinstance(predictor, RunPredictor) else ", ".join(predictor.units)
    return ExportResult(done.path, form, Table(check.plain() for check in done.checks), compared)


def _decoded(files: list[Path], predictor: Exportable) -> Any:
    """Images as the network's input, of its channels and bits: [N, S, S] or [N, C, S, S].

    Raises:
        UsageError: image files cannot hold what the network takes.
        PneumoError: one cannot be read.
    """
    images, size = [], predictor.size
    for file in files:
        try:
            levels = decode_levels(read_file(file), predictor.channels, predictor.bits, size)
        except UnreadableImage as error:
            raise PneumoError(f"{file} cannot be read: {error}") from error
        images.append(resize(levels, size))
    return np.stack(images)
