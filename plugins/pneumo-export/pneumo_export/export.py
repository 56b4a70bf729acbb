"""Exporting a run's model: an ONNX file, a ``torch.export`` program, or a bundle of both with a model card.

Logits, numbers and masks are compared with the run's own before anything is kept, and files appear whole or not at
all. The graph is in :mod:`pneumo_export.graph`, its description in :mod:`pneumo_export.description`, the model card
in :mod:`pneumo_export.model_card`. Generative models are not exported.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError, nearest
from pneumo_cli.inference.run_predictors import RunPredictor, RunValuePredictor, run_predictor
from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runs.record import recorded_facts
from pneumo_cli.runs.report_format import current
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_export import bundle, graph, verification
from pneumo_export.bundle import install_command
from pneumo_export.description import INPUT, AnyDescription, Description, Images, ValueDescription
from pneumo_export.graph import Exportable
from pneumo_export.model_card import model_card, results
from pneumo_export.replace_folder import recover, replaced_folder
from pneumo_export.verification import Check

if TYPE_CHECKING:
    from pneumo_cli.trainers.loading import Trained

FORMATS: Mapping[str, str] = {"onnx": ".onnx", "torch": ".pt2", "bundle": ""}
"""The formats, with the suffixes of their files."""

_log = logging.getLogger("pneumo")
_PATHS = ("output", "cache", "data_home", "data_root")  # settings of one machine
_NAMED = 4  # classes in a title


@dataclass(frozen=True)
class Exported:
    """An exported file or bundle, and its checks."""

    path: Path
    checks: tuple[Check, ...]


def check_format(name: str) -> None:
    """Check a format before anything is loaded.

    Raises:
        UsageError: an unknown format, or one that needs a package that is not installed.
    """
    if name not in FORMATS:
        raise UsageError(f"{name!r} is none of {', '.join(FORMATS)}; {nearest(name, FORMATS)}")
    if name == "torch":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"exporting to ONNX needs the packages onnx, onnxscript and onnxruntime: {install_command()}"
        ) from error


def exportable(trained: Trained, point: str = "") -> Exportable:
    """The predictor of a run's model, which is exported.

    Args:
        point: the name of a classifier's operating point; empty: the run's own.

    Raises:
        UsageError: the model predicts nothing of images, or has no such operating point.
    """
    predictor = run_predictor(trained, point)
    if isinstance(predictor, RunValuePredictor):
        path = trained.folder.path
        if point:
            raise UsageError(f"{path} classifies no images: --operating-point is for classes")
        if INPUT in predictor.units:
            raise UsageError(
                f"{path} predicts {INPUT}, which is the name of an exported graph's input: give it another name"
            )
    return predictor


def check_target(target: Path, form: str, overwrite: bool) -> None:
    """Check that a target can be written.

    Raises:
        UsageError: it exists and may not be replaced, or its folder cannot be written to.
    """
    _recover(target)
    if target.is_dir() and form != "bundle":
        raise UsageError(f"{target} is a folder: name a file with --out")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists: name another --out, or say --overwrite")
    if target.exists() and form == "bundle" and not bundle.is_bundle(target):
        raise UsageError(f"{target} is no bundle, and nothing else is overwritten: name another --out")
    if form == "bundle":
        _check_replaceable(target)
    try:
        atomic.try_folder(target.absolute().parent)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _check_replaceable(target: Path) -> None:
    """Check that a folder holds nothing but a bundle's own files.

    Raises:
        UsageError: it holds others, which would be lost.
    """
    unrelated = bundle.unrelated_files(target)
    if unrelated:
        more = f" and {len(unrelated) - 1} more" if len(unrelated) > 1 else ""
        raise UsageError(
            f"{target} holds {unrelated[0]}{more}, which belongs to no bundle and would be lost: move it away, or "
            "name another --out"
        )


def _recover(target: Path) -> None:
    """Complete the replacement of this bundle by an earlier export that was killed."""
    try:
        restored = recover(target)
    except OSError as error:
        raise UsageError(
            f"an earlier export was killed while it replaced {target}; the hidden folders that it left next to it "
            f"cannot be renamed: {error.strerror}"
        ) from error
    if restored:
        _log.log(
            NOTICE, "%s was restored: an earlier export was killed while it replaced this bundle", target
        )


def export(
    predictor: Exportable,
    form: str,
    target: Path,
    *,
    further: NDArray[Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a model, compare its outputs with the run's, and only then put it in place.

    Args:
        predictor: on the CPU and in fp32; its operating point becomes the exported model's default.
        form: one of :data:`FORMATS`.
        target: a file, or a bundle's folder.
        further: images to compare on in addition to :func:`~pneumo_export.verification.probe_images`, of the same
            shape and type.
        overwrite: replace an existing file or bundle.

    Raises:
        UsageError: the format or target is wrong, a package is missing, or the model is too large for ONNX.
        PneumoError: the model cannot be traced, its exported outputs differ from the run's, or the disk is full.
    """
    check_format(form)
    check_target(target, form, overwrite)
    images = verification.probe_images(predictor.size, predictor.channels, predictor.bits)
    if further is not None:
        images = np.concatenate((images, further))
    steps = {"onnx": ("onnx",), "torch": ("torch",), "bundle": ("onnx", "torch")}[form]
    description = _describe(predictor)
    masks = predictor.masks if isinstance(predictor, RunValuePredictor) else ()
    with (progress or Progress()).stage("exporting", 2 + len(steps), "steps") as advance:
        expected = verification.reference_outputs(predictor, images, description.compared)
        advance(1)
        program = graph.trace(predictor)
        advance(1)
        content, checks = b"", []
        for step in steps:
            if step == "onnx":
                content = graph.onnx_file(program, description)
                answer = verification.onnx_answer(content, description)
            else:
                answer = verification.program_answer(graph.program_file(program, description), description)
            checks.append(verification.compare(answer, step, images, expected, masks))
            advance(1)
        # The description includes the checks.
        facts = {**description.facts, "checks": [check.plain() for check in checks]}
        description = replace(description, facts=facts)
        files = {}
        if "onnx" in steps:
            files["onnx"] = graph.described_onnx(content, description, DISCLAIMER)
        if "torch" in steps:
            files["torch"] = graph.program_file(program, description)
        try:
            if form == "bundle":
                _write_bundle(predictor, target, files, description)
            else:
                atomic.write_bytes(target, files[form])
        except OSError as error:
            raise PneumoError(f"{target} cannot be written: {error.strerror}; nothing was changed") from error
    return Exported(target, tuple(checks))


def _describe(predictor: Exportable) -> AnyDescription:
    """The model's description, from the run's records."""
    trained = predictor.trained
    folder = trained.folder
    recorded = recorded_facts(folder.settings)
    report = current(read_json(folder.report_json))
    environment = read_json(folder.environment)
    facts = {
        "pneumo": version("pneumo-cli"),
        "title": f"{trained.name}: {_predicted(predictor)} a chest radiograph",
        "notice": DISCLAIMER,
        "trainer": str(recorded.get("trainer", trained.resolved.entry.qualified_name)),
        "model": trained.entry.spec.name,
        "model_from": str(trained.entry.provenance),
        "run": folder.path.absolute().name,
        "checkpoint": trained.checkpoint,
        "epoch": trained.epoch,
        "dataset": trained.dataset,
        "data_fingerprint": trained.fingerprint,
        "synthetic": predictor.facts["synthetic"],
        "weights": predictor.weights,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "mirrored": isinstance(predictor, RunPredictor) and predictor.flip_tta,
        "trained_with": {key: environment.get(key) for key in ("python", "precision", "packages", "plugins")},
        "results": results(report) if trained.checkpoint == "best" else {},
    }
    images = Images(predictor.size, predictor.channels, predictor.bits)
    if isinstance(predictor, RunValuePredictor):
        return ValueDescription(predictor.units, predictor.masks, images, facts)
    return Description(predictor.rule.at(predictor.point.name), images, facts)


def _write_bundle(
    predictor: Exportable, target: Path, programs: Mapping[str, bytes], description: AnyDescription
) -> None:
    """Write a bundle under a temporary name, then rename it.

    A bundle is also a run folder, with weights, settings and environment, so that its PyTorch network can be
    loaded; without information on the machine or on single patients.

    Raises:
        UsageError: files that are not the bundle's have been added to the existing one.
        OSError: the disk is full, or the folder cannot be written to.
    """
    trained = predictor.trained
    with replaced_folder(target) as folder:
        run = RunFolder(folder)
        atomic.write_bytes(folder / bundle.GRAPH, programs["onnx"])
        atomic.write_bytes(folder / bundle.PROGRAM, programs["torch"])
        calibration = dict(trained.calibration)
        if calibration and isinstance(predictor, RunPredictor):
            calibration["chosen"] = predictor.point.name
        Checkpoints(run.checkpoints).save(
            "best",
            {
                "fingerprint": trained.fingerprint,
                "epoch": trained.epoch,
                "model": {name: value.contiguous() for name, value in trained.model.state_dict().items()},
                "calibration": calibration,
            },
        )
        own = [name for name, value in trained.resolved.options if isinstance(value, Path)]
        atomic.write_text(run.settings, _portable_settings(trained.folder.settings, (*_PATHS, *own)))
        atomic.write_json(run.environment, description.facts["trained_with"])
        report = current(read_json(trained.folder.report_json))
        atomic.write_text(folder / bundle.CARD, model_card(description, report))
        files = {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": bundle.file_digest(path),
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        facts = {**description.facts, "files": files}
        atomic.write_text(folder / bundle.DESCRIPTION, replace(description, facts=facts).text())
        _check_replaceable(target)  # files may have been added during the export


def _predicted(predictor: Exportable) -> str:
    """What is predicted, in a few words."""
    if isinstance(predictor, RunValuePredictor):
        return f"{_listed(tuple(predictor.units), 'values')} from"
    rule = predictor.rule
    if rule.task == "multilabel":
        return f"{_listed(rule.classes, 'labels')} on"
    return f"{_listed(rule.classes, 'classes', ' or ')} on"


def _listed(names: Sequence[str], kind: str, between: str = ", ") -> str:
    return between.join(names) if len(names) <= _NAMED else f"{len(names)} {kind}"


def _portable_settings(path: Path, names: Sequence[str]) -> str:
    """A ``run.toml`` without the named settings, which are paths of one machine."""
    import tomli_w

    with path.open("rb") as file:
        settings = tomllib.load(file)
    for name in names:
        settings.pop(name, None)
        settings.get("origin", {}).pop(name, None)
    return f"# Settings of the run that this model was exported from.\n{tomli_w.dumps(settings)}"
