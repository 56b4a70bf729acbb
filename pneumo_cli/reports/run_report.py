"""From a finished run to its report: figures, predictions, ``report.json``, and the two pages made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

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
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.run import Run

# The report shows ten batches of training images and one of each other split (figures 5-7).
_SAMPLE_BATCHES = {"train": 10, "validation": 1, "test": 1}
_COLUMNS = 8
_COMPARED = 10_000  # images, of which all pairs are compared within some seconds


def write_report(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    *,
    command: Sequence[str],
    sample_loaders: Mapping[str, Loader],
    summary: RunSummary | None = None,
    sections: Sequence[tuple[str, ReportSection]] = (),
) -> dict[str, Any]:
    """Write everything that a person reads about a run.

    Args:
        evaluations: of the best checkpoint, by split; a split without images is absent.
        command: the command line, for the record.
        sample_loaders: the batches that are shown as samples, by split.
        summary: what the trainer says of the result as a whole, if anything.
        sections: what plugins add, each with the name of its plugin.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the run folder cannot be written, or a picture that was kept of an epoch is damaged.
    """
    summary = summary or RunSummary()
    try:
        with run.progress.stage("report", 5 + len(evaluations), "parts") as advance:
            drawn = _training_figures(run)
            advance(1)
            for split, evaluation in evaluations.items():
                drawn += _evaluation_figures(run, split, evaluation)
                atomic.write_text(
                    run.folder.predictions / f"{split}.csv",
                    predictions_csv(evaluation, run.data.dataset.records),
                )
                advance(1)
            drawn += [
                _save(run, figure.draw(), f"figures/{figure.name}.png", figure.caption, figure.group)
                for figure in summary.figures
            ]
            advance(1)
            drawn += _section_figures(run, sections)
            drawn += _epoch_pictures(run)
            advance(1)
            drawn += _sample_figures(run, sample_loaders)
            advance(1)
            report = _content(run, evaluations, summary, drawn, command)
            if sections:
                report["sections"] = [_section(plugin, section) for plugin, section in sections]
            report["caveats"] = caveats.fired(report)
            atomic.write_text(run.folder.report_html, render_html(report, run.folder.path))
            atomic.write_text(run.folder.report_markdown, render_markdown(report, run.folder.path))
            advance(1)
            # Last: this file says that the run is finished.
            atomic.write_json(run.folder.report_json, report)
    except OSError as error:
        raise PneumoError(
            f"the report in {run.folder.path} cannot be written ({error.strerror}); the checkpoints are intact: "
            f"pneumo resume {run.folder.path} writes it again"
        ) from error
    return report


def _save(run: Run, figure: Figure, file: str, caption: str, group: str) -> dict[str, str]:
    path = run.folder.path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    style.save(figure, path)
    return {"file": file, "caption": caption, "group": group}


def _training_figures(run: Run) -> list[dict[str, str]]:
    last = run.history[-1]
    names = list(run.curves) or sorted(last["validation"] or last["train"])
    # A reader has to see what chose the epoch.
    names += [name for name in (run.monitor.metric,) if name and name not in names]
    names = [name for name in names if name in last["validation"] or name in last["train"]]
    best = run.best.epoch
    sides = "Training and validation metrics" if last["validation"] else "Training metrics"
    drawn = []
    if names:
        drawn.append(
            _save(
                run,
                training.curves(run.history, names, best=best),
                "figures/curves.png",
                f"{sides} over the epochs. Epoch 0 is the untrained model. Training metrics are those of the "
                "images as they are trained on, while the weights change.",
                "training",
            )
        )
    drawn += [
        _save(
            run,
            training.learning_rate(run.history),
            "figures/learning-rate.png",
            "The learning rate of each epoch.",
            "training",
        ),
        _save(
            run,
            training.class_balance(_split_rows(run)),
            "figures/class-balance.png",
            "Images of each class in each split.",
            "data",
        ),
    ]
    for name in names:
        style.save(training.curve(run.history, name, best=best), run.folder.figures / f"curve-{name}.png")
    return drawn


def _evaluation_figures(run: Run, split: str, evaluation: Evaluation) -> list[dict[str, str]]:
    return [
        {
            **_save(
                run,
                figure.draw(),
                f"figures/{figure.name}-{split}.png",
                f"{split.capitalize()}. {figure.caption}",
                figure.group,
            ),
            "split": split,
        }
        for figure in evaluation.figures
    ]


def _section_figures(run: Run, sections: Sequence[tuple[str, ReportSection]]) -> list[dict[str, str]]:
    """The figures of plugins' sections; one that cannot be drawn costs a note, and not the report."""
    drawn = []
    for place, (plugin, section) in enumerate(sections):
        for figure in section.figures:
            file = f"figures/section-{place}-{figure.name}.png"
            try:
                drawn.append(_save(run, figure.draw(), file, figure.caption, f"section-{place}"))
            except OSError:
                raise
            except Exception as error:
                run.note(
                    f"the figure {figure.name} of the plugin {plugin} cannot be drawn: "
                    f"{type(error).__name__}: {error}"
                )
    return drawn


def _section(plugin: str, section: ReportSection) -> dict[str, Any]:
    return {
        "plugin": plugin,
        "title": section.title,
        "paragraphs": [part for part in section.text.split("\n\n") if part.strip()],
        "tables": [asdict(table) for table in section.tables],
    }


def _epoch_pictures(run: Run) -> list[dict[str, str]]:
    """What was kept of the epochs: some of them, the kept one among them, and all as an animation."""
    kept = {row["epoch"]: run.folder.epoch_images(row["epoch"]) for row in run.history}
    kept = {epoch: file for epoch, file in kept.items() if file.is_file()}
    if not kept:
        return []
    animation = "samples/animation.png"
    write_animation(kept.values(), run.folder.path / animation)
    drawn = [
        {
            "file": animation,
            "caption": f"The same images over the epochs {min(kept)} to {max(kept)}, as an animation.",
            "group": "training",
        }
    ]
    # The report shows its samples after the first, the middle and the last epoch (figures 51-53).
    last = max(kept)
    for epoch in sorted({min(1, last), -(-last // 2), last, run.best.epoch} & kept.keys()):
        words = ", the one that was kept" if epoch == run.best.epoch else ""
        file = str(kept[epoch].relative_to(run.folder.path))
        drawn.append({"file": file, "caption": f"After epoch {epoch}{words}.", "group": "training"})
    return drawn


def _sample_figures(run: Run, loaders: Mapping[str, Loader]) -> list[dict[str, str]]:
    classes = run.data.dataset.classes
    drawn = []
    for split, loader in loaders.items():
        count = _SAMPLE_BATCHES[split]
        transform = run.transforms.train if split == "train" else run.transforms.evaluation
        pictures = []
        titles = []
        for batch, _ in zip(loader, range(count), strict=False):
            shown = _COLUMNS if count > 1 else 2 * _COLUMNS
            pictures.append(transform.display(batch.images[:shown]).cpu().numpy())
            titles += [classes[label] for label in batch.labels[:shown].tolist()]
        if not pictures:
            continue
        caption = (
            f"{_COLUMNS} images of each of the first {len(pictures)} training batches, as augmented in epoch 1."
            if count > 1
            else f"Images of the {split} split, as the model receives them."
        )
        figure = training.sample_grid(np.concatenate(pictures), titles, columns=_COLUMNS)
        drawn.append(_save(run, figure, f"samples/{split}.png", caption, "samples"))
    return drawn


def _content(
    run: Run,
    evaluations: Mapping[str, Evaluation],
    summary: RunSummary,
    drawn: list[dict[str, str]],
    command: Sequence[str],
) -> dict[str, Any]:
    parameters = list(run.model.parameters())
    monitor = run.monitor
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
        "trainer": _part(run.resolved.entry),
        "model": {
            **_part(run.model_entry),
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
        "evaluations": {split: dict(evaluation.metrics) for split, evaluation in evaluations.items()},
        **_beside_metrics(evaluations),
        **({summary.group: _summary_content(summary)} if summary != RunSummary() else {}),
        **({"test_access": {"count": run.test_accesses}} if run.test_accesses else {}),
        "figures": drawn,
        "notices": _notices(run),
        "notes": run.notes,
        "environment": describe_environment(run, list(command)),
        "reproduce": [f"pneumo run {run.spec.name} --config {run.folder.settings}"],
        "next": [
            f"pneumo evaluate {run.folder.path}",
            f"pneumo resume {run.folder.path} --epochs {2 * run.settings.epochs}",
        ],
    }


def _beside_metrics(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Intervals, tables and details by split, as far as there are any."""
    found: dict[str, dict[str, Any]] = {"intervals": {}, "tables": {}, "details": {}}
    for split, evaluation in evaluations.items():
        found["intervals"][split] = {name: list(ends) for name, ends in evaluation.intervals.items()}
        found["tables"][split] = [asdict(table) for table in evaluation.tables]
        found["details"][split] = dict(evaluation.details)
    return {name: by_split for name, by_split in found.items() if any(by_split.values())}


def _summary_content(summary: RunSummary) -> dict[str, Any]:
    return {
        # JSON has no NaN: a number that is none is null, and the report is written all the same.
        "metrics": {name: number(float(value)) for name, value in summary.metrics.items()},
        "tables": [asdict(table) for table in summary.tables],
        "notes": list(summary.notes),
    }


def _part(entry: Entry[Any]) -> dict[str, str]:
    return {
        "name": entry.spec.name,
        "summary": entry.spec.summary,
        "distribution": entry.provenance.distribution,
        "version": entry.provenance.version,
    }


def _split_rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "split": row.split,
            "counts": row.counts,
            "images": row.images,
            "patients": row.patients,
            "ratio": row.ratio,
        }
        for row in run.data.table()
    ]


def _dataset(run: Run) -> dict[str, Any]:
    data = run.data
    dataset = data.dataset
    return {
        **_part(run.dataset_entry),
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
        },
        "unreadable": [{"name": name, "reason": reason} for name, reason in data.unreadable],
    }


def _shared(data: PreparedData) -> list[dict[str, Any]]:
    """What each pair of splits has in common; altered copies among it, where looking for them takes seconds."""
    if len(data.dataset.records) > _COMPARED:
        return [
            {
                "between": f"{pair.first}/{pair.second}",
                "patients": pair.patients,
                "images": pair.images,
                "identical": pair.identical,
            }
            for pair in data.overlaps.pairs
        ]
    return [{**leak.plain(), "between": f"{leak.first}/{leak.second}"} for leak in find_leaks(data).pairs]


def _settings(run: Run) -> list[dict[str, Any]]:
    rows = []
    preset = run.resolved.preset.values
    for settings in (run.settings, run.machine):
        values = plain_values(settings)
        for name, info in type(settings).model_fields.items():
            default = info.get_default(call_default_factory=True)
            if name == "model":
                default = run.spec.model
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
    """What a reader has to know before the numbers."""
    data = run.data
    notices = []
    if data.unreadable:
        count = len(data.unreadable)
        left_out = "1 unreadable image was" if count == 1 else f"{count} unreadable images were"
        notices.append(f"{left_out} left out (--skip-unreadable); the section on the data names them.")
    if len(data.split.excluded):
        notices.append(
            f"{len(data.split.excluded)} images of the training pool were left out because their patient or an "
            "identical image is in the test set."
        )
    return notices
