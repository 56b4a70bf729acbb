"""The report of a finished run: figures, predictions, ``report.json``, and the two pages made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.data.examination import class_patients, facts
from pneumo_cli.data.leakage import find_leaks
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation, ReportSection, RunSummary
from pneumo_cli.reports import caveats
from pneumo_cli.reports.figures import style, training
from pneumo_cli.reports.figures.animation import write_animation
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.markdown import render_markdown
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.runs.environment import describe_environment
from pneumo_cli.runs.report_format import FORMAT
from pneumo_cli.runs.test_access import fingerprint_of_test
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import number
from pneumo_cli.settings.resolve import plain_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.data.loader import Loader
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.data.records import Record
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.runs.run import Run

# The report shows ten batches of training images and one of each other split (figures 5-7).
_SAMPLE_BATCHES = {"train": 10, "validation": 1, "test": 1}
_COLUMNS = 8
_TITLE = 7  # letters of a label's name above an image, beside the number of further ones
_MOST_COMPARED = 10_000  # images whose pairs are all compared for near-duplicates, which takes some seconds


def write_report(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    *,
    command: Sequence[str],
    sample_loaders: Mapping[str, Loader],
    summary: RunSummary | None = None,
    sections: Sequence[tuple[str, ReportSection]] = (),
) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        evaluations: of the selected checkpoint, by split; a split without images is absent.
        command: the command line, for the record.
        sample_loaders: the batches shown as sample images, by split.
        summary: the trainer's evaluation of the whole run, if any.
        sections: those that plugins add, each with the name of its plugin.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the run folder cannot be written, or an image kept of an epoch is damaged.
    """
    summary = summary or RunSummary()
    folder = run.folder
    try:
        with run.progress.stage("report", 5 + len(evaluations), "parts") as advance:
            figures = _training_figures(run)
            advance(1)
            for split, evaluation in evaluations.items():
                figures += save_evaluation(folder, split, evaluation, run.data.dataset.records)
                advance(1)
            for figure in summary.figures:
                file = f"figures/{figure.name}.png"
                figures.append(save_figure(folder, figure.draw(), file, figure.caption, figure.group))
            advance(1)
            figures += _section_figures(run, sections)
            figures += _epoch_images(run)
            advance(1)
            figures += _sample_figures(run, sample_loaders)
            advance(1)
            report = _content(run, evaluations, summary, figures, command)
            if sections:
                report["sections"] = [_section(plugin, section) for plugin, section in sections]
            report["caveats"] = caveats.fired(report)
            atomic.write_text(folder.report_html, render_html(report, folder.path))
            atomic.write_text(folder.report_markdown, render_markdown(report, folder.path))
            advance(1)
            # Last: this file marks the run as finished.
            atomic.write_json(folder.report_json, report)
    except OSError as error:
        raise PneumoError(
            f"the report in {folder.path} cannot be written ({error.strerror}); the checkpoints are intact: "
            f"pneumo resume {folder.path} writes it again"
        ) from error
    return report


def save_figure(folder: RunFolder, figure: Figure, file: str, caption: str, group: str) -> dict[str, str]:
    """Write a figure into a folder; returns its entry in ``report["figures"]``."""
    style.save(figure, folder.path / file)
    return {"file": file, "caption": caption, "group": group}


def save_evaluation(
    folder: RunFolder, split: str, evaluation: Evaluation, records: Sequence[Record]
) -> list[dict[str, str]]:
    """Write the figures and predictions of a split; returns the entries of its figures."""
    figures = []
    for figure in evaluation.figures:
        file, caption = f"figures/{figure.name}-{split}.png", f"{split.capitalize()} set. {figure.caption}"
        entry = save_figure(folder, figure.draw(), file, caption, figure.group)
        figures.append({**entry, "split": split})
    atomic.write_text(folder.predictions / f"{split}.csv", predictions_csv(evaluation, records))
    return figures


def evaluation_content(evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, Any]]:
    """Metrics, intervals, tables and details, by split, as ``report.json`` holds them."""
    content: dict[str, dict[str, Any]] = {"evaluations": {}, "intervals": {}, "tables": {}, "details": {}}
    for split, evaluation in evaluations.items():
        content["evaluations"][split] = dict(evaluation.metrics)
        content["intervals"][split] = {name: list(ends) for name, ends in evaluation.intervals.items()}
        content["tables"][split] = [asdict(table) for table in evaluation.tables]
        content["details"][split] = dict(evaluation.details)
    return content


def _training_figures(run: Run) -> list[dict[str, str]]:
    last, best = run.history[-1], run.best.epoch
    names = list(run.curves) or sorted(last["validation"] or last["train"])
    # The metric that selected the epoch is always shown.
    names = list(dict.fromkeys((*names, run.monitor.metric)))
    names = [name for name in names if name in last["validation"] or name in last["train"]]
    sides = "Training and validation metrics" if last["validation"] else "Training metrics"
    figures = []
    if names:
        caption = (
            f"{sides} by epoch. Epoch 0 is the untrained model. Training metrics are measured during the epoch, on "
            "images as augmented, while the weights change."
        )
        if run.data.task != "binary":
            caption += " Precision, recall and F1 are means over the classes."
        curves = training.curves(run.history, names, best=best)
        figures.append(save_figure(run.folder, curves, "figures/curves.png", caption, "training"))
    rate, file = training.learning_rate(run.history), "figures/learning-rate.png"
    figures.append(save_figure(run.folder, rate, file, "Learning rate by epoch.", "training"))
    balance, file = training.class_balance(_split_rows(run)), "figures/class-balance.png"
    shown = "with each label" if run.data.task == "multilabel" else "of each class"
    figures.append(save_figure(run.folder, balance, file, f"Images {shown}, by split.", "data"))
    for name in names:
        style.save(training.curve(run.history, name, best=best), run.folder.figures / f"curve-{name}.png")
    return figures


def _section_figures(run: Run, sections: Sequence[tuple[str, ReportSection]]) -> list[dict[str, str]]:
    """The figures of plugins' sections; one that cannot be drawn is noted and left out."""
    figures = []
    for place, (plugin, section) in enumerate(sections):
        for figure in section.figures:
            file, group = f"figures/section-{place}-{figure.name}.png", f"section-{place}"
            try:
                figures.append(save_figure(run.folder, figure.draw(), file, figure.caption, group))
            except OSError:
                raise
            except Exception as error:
                run.note(
                    f"the figure {figure.name} of the plugin {plugin} cannot be drawn: "
                    f"{type(error).__name__}: {error}"
                )
    return figures


def _section(plugin: str, section: ReportSection) -> dict[str, Any]:
    return {
        "plugin": plugin,
        "title": section.title,
        "paragraphs": [paragraph for paragraph in section.text.split("\n\n") if paragraph.strip()],
        "tables": [asdict(table) for table in section.tables],
    }


def _epoch_images(run: Run) -> list[dict[str, str]]:
    """The images kept of the epochs: some epochs, the selected one among them, and an animation of all."""
    kept = {row["epoch"]: run.folder.epoch_images(row["epoch"]) for row in run.history}
    kept = {epoch: file for epoch, file in kept.items() if file.is_file()}
    if not kept:
        return []
    animation = "samples/animation.png"
    write_animation(kept.values(), run.folder.path / animation)
    last = max(kept)
    shown = {animation: f"The same images from epoch {min(kept)} to {last}, as an animation."}
    # The report shows its samples after the first, the middle and the last epoch (figures 51-53).
    for epoch in sorted({min(1, last), -(-last // 2), last, run.best.epoch} & kept.keys()):
        selected = " (selected)" if epoch == run.best.epoch else ""
        shown[str(kept[epoch].relative_to(run.folder.path))] = f"After epoch {epoch}{selected}."
    return [{"file": file, "caption": caption, "group": "training"} for file, caption in shown.items()]


def _sample_figures(run: Run, loaders: Mapping[str, Loader]) -> list[dict[str, str]]:
    classes = run.data.dataset.classes
    figures = []
    for split, loader in loaders.items():
        batches = _SAMPLE_BATCHES[split]
        shown = _COLUMNS if batches > 1 else 2 * _COLUMNS
        transform = run.transforms.train if split == "train" else run.transforms.evaluation
        images, titles = [], []
        for batch, _ in zip(loader, range(batches), strict=False):
            images.append(transform.display(batch.images[:shown]).cpu().numpy())
            titles += [_shown_classes(label, classes) for label in batch.labels[:shown].tolist()]
        if not images:
            continue
        caption = (
            f"{_COLUMNS} images of each of the first {len(images)} training batches, as augmented in epoch 1."
            if batches > 1
            else f"Images of the {split} set, as the model receives them."
        )
        figure = training.sample_grid(np.concatenate(images), titles, columns=_COLUMNS)
        figures.append(save_figure(run.folder, figure, f"samples/{split}.png", caption, "samples"))
    return figures


def _shown_classes(label: int | list[int], classes: Sequence[str]) -> str:
    """An image's class; of several labels the first one that is present and the number of the others."""
    if isinstance(label, int):
        return classes[label]
    present = [name for name, value in zip(classes, label, strict=True) if value == 1]
    if len(present) < 2:
        return present[0] if present else "no label"
    return f"{style.shortened(present[0], _TITLE)} + {len(present) - 1}"


def _content(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    summary: RunSummary,
    figures: list[dict[str, str]],
    command: Sequence[str],
) -> dict[str, Any]:
    parameters = list(run.model.parameters())
    monitor, measured = run.monitor, evaluation_content(evaluations)
    # JSON has no NaN: a metric that is undefined is null.
    metrics = {name: number(float(value)) for name, value in summary.metrics.items()}
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
        **({summary.group: {**summary.content(), "metrics": metrics}} if summary != RunSummary() else {}),
        **({"test_access": {"count": run.test_accesses}} if run.test_accesses else {}),
        "figures": figures,
        "notices": _notices(run),
        "notes": run.notes,
        "environment": describe_environment(run, list(command)),
        "reproduce": [f"pneumo run {run.spec.name} --config {run.folder.settings}"],
        "next": [
            f"pneumo evaluate {run.folder.path}",
            f"pneumo resume {run.folder.path} --epochs {2 * run.settings.epochs}",
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
            "shared": _shared(data),
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


def _shared(data: PreparedData) -> list[dict[str, Any]]:
    """What each pair of splits has in common; with near-duplicates, where the search takes seconds."""
    if len(data.dataset.records) <= _MOST_COMPARED:
        return [{**leak.plain(), "between": f"{leak.first}/{leak.second}"} for leak in find_leaks(data).pairs]
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
