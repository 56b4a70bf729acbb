"""The report of a finished run: figures, predictions, ``report.json``, and the two pages made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pneumo_cli.data.examination import class_patients, facts
from pneumo_cli.data.leak_counts import leak_counts
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation, ReportSection, RunSummary
from pneumo_cli.reports import caveats
from pneumo_cli.reports.figure_files import FigureFiles, drawing_processes
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.markdown import render_markdown
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.reports.run_figures import (
    add_epoch_images,
    add_evaluation_figures,
    add_sample_figures,
    add_section_figures,
    add_training_figures,
)
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.extensions import extensions_of, reproduction_remarks
from pneumo_cli.runs.record import file_flags, files_of, registration_remarks
from pneumo_cli.runs.report_format import FORMAT
from pneumo_cli.runs.test_access import fingerprint_of_test
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import finite
from pneumo_cli.settings.resolve import plain_values

if TYPE_CHECKING:
    from pathlib import Path

    from pneumo_cli.data.loader import Loader
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run

_MOST_COMPARED = 10_000  # images whose pairs are all compared for near-duplicates, which takes some seconds


def write_report(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    *,
    command: Sequence[str],
    sample_loaders: Mapping[str, Loader],
    layers: Mapping[str, Any] | None = None,
    summary: RunSummary | None = None,
    sections: Sequence[tuple[str, ReportSection]] = (),
    next_steps: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        evaluations: of the selected checkpoint, by split; a split without images is absent.
        command: the command line, for the record.
        sample_loaders: the batches shown as sample images, by split.
        layers: ``report["model"]["layers"]``.
        summary: the trainer's evaluation of the whole run, if any.
        sections: those that plugins add, each with the name of its plugin.
        next_steps: command lines that it suggests.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the run folder cannot be written, or an image kept of an epoch is damaged.
    """
    summary = summary or RunSummary()
    folder, records = run.folder, run.data.dataset.records
    files = FigureFiles(folder, run.note, for_print=run.machine.print_figures)
    pages = run.machine.report
    try:
        for split, evaluation in evaluations.items():
            atomic.write_text(folder.predictions / f"{split}.csv", predictions_csv(evaluation, records))
        if pages:
            _add_figures(run, files, evaluations, summary, sections, sample_loaders)
            files.draw(drawing_processes(run.device.torch.type), run.progress)
        with run.progress.stage("report", 1, "parts") as advance:
            report = _content(run, evaluations, summary, files.listed, command)
            report["next"] = list(next_steps)
            if layers:
                report["model"]["layers"] = layers
            if sections:
                report["sections"] = [_section(plugin, section) for plugin, section in sections]
            report["caveats"] = caveats.fired(report)
            written: dict[str, Any] = finite(report)
            if pages:
                atomic.write_text(folder.report_html, render_html(written, folder.path, files.pictures))
                atomic.write_text(folder.report_markdown, render_markdown(written, folder.path))
            advance(1)
            # Last: this file marks the run as finished.
            atomic.write_json(folder.report_json, written)
    except OSError as error:
        raise PneumoError(
            f"the report in {folder.path} cannot be written ({error.strerror}); the checkpoints are intact: "
            f"pneumo resume {folder.path} writes it again"
        ) from error
    return written


def _add_figures(
    run: Run,
    files: FigureFiles,
    evaluations: Mapping[str, Evaluation],
    summary: RunSummary,
    sections: Sequence[tuple[str, ReportSection]],
    sample_loaders: Mapping[str, Loader],
) -> None:
    """All figures of a run, in the order in which they are listed."""
    add_training_figures(run, files, _split_rows(run), summary.figures)
    for split, evaluation in evaluations.items():
        add_evaluation_figures(files, split, evaluation)
    for figure in summary.figures:
        stem, said = f"figures/{figure.name}", figure.alternative
        files.add(figure.draw, stem, figure.caption, figure.group, alternative=said)
    add_section_figures(files, sections)
    add_epoch_images(run, files)
    add_sample_figures(run, sample_loaders, files)


def evaluation_content(evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, Any]]:
    """Metrics, intervals, tables and details, by split, as ``report.json`` holds them."""
    content: dict[str, dict[str, Any]] = {"evaluations": {}, "intervals": {}, "tables": {}, "details": {}}
    for split, evaluation in evaluations.items():
        content["evaluations"][split] = dict(evaluation.metrics)
        content["intervals"][split] = {name: list(ends) for name, ends in evaluation.intervals.items()}
        content["tables"][split] = [asdict(table) for table in evaluation.tables]
        content["details"][split] = dict(evaluation.details)
    return content


def _section(plugin: str, section: ReportSection) -> dict[str, Any]:
    return {
        "plugin": plugin,
        "title": section.title,
        "paragraphs": [paragraph for paragraph in section.text.split("\n\n") if paragraph.strip()],
        "tables": [asdict(table) for table in section.tables],
    }


def _content(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    summary: RunSummary,
    figures: list[dict[str, str]],
    command: Sequence[str],
) -> dict[str, Any]:
    parameters = list(run.model.parameters())
    monitor, measured = run.monitor, evaluation_content(evaluations)
    return {
        "format": FORMAT,
        "title": f"{run.spec.name} on {run.data.dataset.name}",
        "pneumo": version("pneumo-cli"),
        "run": {
            "name": run.folder.path.name,
            "folder": str(run.folder.path),
            "started": run.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(run.seconds, 1),
            "resumed": run.resumed,
            **({"stopped": run.stopped} if run.stopped else {}),
        },
        "trainer": _registered(run.resolved.entry),
        "model": {
            **_registered(run.model_entry),
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "dataset": _dataset(run),
        "preset": run.resolved.preset.name,
        "settings": _settings(run),
        "monitor": {
            "metric": monitor.metric,
            "mode": monitor.mode,
            "side": monitor.side,
            "epoch": run.best.epoch,
            "value": run.best.value,
        },
        "history": run.history,
        "curves": list(run.curves),
        "evaluations": measured.pop("evaluations"),
        **{name: by_split for name, by_split in measured.items() if any(by_split.values())},
        **({summary.group: summary.content()} if summary != RunSummary() else {}),
        **({"test_access": {"count": run.test_accesses}} if run.test_accesses else {}),
        "figures": figures,
        "notices": _notices(run),
        "notes": run.notes,
        **files_of(run.registries),
        **extensions_of(run),
        "environment": describe_environment(run, list(command)),
        "reproduce": [
            f"pneumo run {run.spec.name} --config {run.folder.settings}{file_flags(run.registries)}",
            *registration_remarks(run),
            *reproduction_remarks(run),
        ],
    }


def _registered(entry: Entry[Any]) -> dict[str, str]:
    return {
        "name": entry.spec.name,
        "summary": entry.spec.summary,
        "distribution": entry.provenance.distribution,
        "version": entry.provenance.version,
    }


def _split_rows(run: Run) -> list[dict[str, Any]]:
    names = ("split", "counts", "images", "patients", "ratio")
    return [{name: getattr(row, name) for name in names} for row in run.data.table()]


def _dataset(run: Run) -> dict[str, Any]:
    data = run.data
    dataset = data.dataset
    return {
        **_registered(run.dataset_entry),
        "origin": dataset.origin,
        "place": dataset.place,
        "synthetic": dataset.synthetic,
        "fingerprint": data.fingerprint,
        "test_fingerprint": fingerprint_of_test(dataset),
        "classes": list(dataset.classes),
        "images": len(dataset.records),
        "patients": len({record.patient for record in dataset.records}),
        "image_size": data.size,
        "split": {
            "policy": data.split.policy,
            "seed": data.split.seed,
            "fraction": data.split.fraction,
            "rows": _split_rows(run),
            "shared": _shared(data, run.machine.cache),
            "excluded": len(data.split.excluded),
            **({"test_patients": class_patients(dataset, data.split.test)} if data.task != "binary" else {}),
        },
        "unreadable": [{"name": name, "reason": reason} for name, reason in data.unreadable],
        **{
            name: value
            for name, value in facts(dataset, decoded=True).items()
            if value and (name, value) != ("task", "binary")
        },
    }


def _shared(data: PreparedData, cache: Path) -> list[dict[str, Any]]:
    """What each pair of splits has in common; with near-duplicates, where the search takes seconds."""
    if len(data.dataset.records) <= _MOST_COMPARED:
        return [{**pair, "between": "/".join(pair["between"])} for pair in leak_counts(data, cache)]
    return [
        {
            "between": f"{pair.first}/{pair.second}",
            "patients": pair.patients,
            "images": pair.images,
            "identical": pair.identical,
        }
        for pair in data.overlaps.pairs
    ]


def _settings(run: Run) -> list[dict[str, Any]]:
    rows = []
    preset = run.resolved.preset.values
    for settings in (run.settings, run.machine):
        values = plain_values(settings)
        for name, info in type(settings).model_fields.items():
            default = run.spec.model if name == "model" else info.get_default(call_default_factory=True)
            rows.append(
                {
                    "name": name,
                    "value": values.get(name),
                    "preset": _plain(preset.get(name, default)),
                    "default": _plain(default),
                    "origin": run.resolved.origins[name],
                    "help": info.description or "",
                }
            )
    for part in run.resolved.parts:
        values = plain_values(part.settings)
        for name, info in type(part.settings).model_fields.items():
            default = _plain(info.get_default(call_default_factory=True))
            full = f"{part.name}.{name}"
            row = {"name": full, "value": values.get(name), "preset": default, "default": default}
            rows.append({**row, "origin": run.resolved.origins[full], "help": info.description or ""})
    return rows


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _notices(run: Run) -> list[str]:
    """Images that were left out, which readers have to know before the results."""
    unreadable, excluded = len(run.data.unreadable), len(run.data.split.excluded)
    notices = []
    if unreadable:
        images = "1 unreadable image was" if unreadable == 1 else f"{unreadable} unreadable images were"
        notices.append(f"{images} excluded (--skip-unreadable); see Setup for the names.")
    if excluded:
        notices.append(
            f"{excluded} images of the training pool were excluded: their patient or an identical image is in the "
            "test set."
        )
    return notices
