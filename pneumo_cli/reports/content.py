"""The contents of ``report.json`` as a document of sections, tables and sentences.

The HTML page and the Markdown file render the same document: pictures and the verdict first, then errors, results
and curves; all else is folded. Any part of a report may be absent: a task without a confusion matrix, a run without
a test set. Names of metrics are in :mod:`pneumo_cli.evaluation.metric_names` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.document import Block, Document, Paragraph, Section
from pneumo_cli.reports.formatting import count, duration, listing, lowered, when
from pneumo_cli.reports.recipe_section import (
    command_blocks,
    environment_blocks,
    layer_blocks,
    settings_shown,
)
from pneumo_cli.reports.results import (
    error_blocks,
    further_results,
    headlines,
    main_results,
    named_tables,
    pictures,
    split_rows,
    summary_blocks,
    summary_title,
    verdict,
)
from pneumo_cli.reports.setup_section import setup_blocks
from pneumo_cli.reports.training_section import training_blocks
from pneumo_cli.runtime.json_values import mapping, number, sequence, text


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a report; absent parts and sections without content are left out."""
    headline_title, numbers = headlines(report)
    sections = (
        Section("errors", "Errors", tuple(error_blocks(report))),
        Section("results", "Results", tuple(main_results(report))),
        Section("summary", summary_title(report), tuple(summary_blocks(report, "summary"))),
        Section("training", "Training", tuple(training_blocks(report))),
        Section("details", _details_title(report), tuple(further_results(report)), folded=True),
        Section("explanations", "Grad-CAM", tuple(summary_blocks(report, "explanations")), folded=True),
        *_plugin_sections(report),
        Section("data", "Setup and images", tuple(setup_blocks(report)), folded=True),
        Section("samples", "Sample images", tuple(pictures(report, "samples")), folded=True),
        Section("layers", "Layers and parameters", tuple(layer_blocks(report)), folded=True),
        Section("settings", "Settings", tuple(settings_shown(report)), folded=True),
        Section("environment", "Environment", tuple(environment_blocks(report)), folded=True),
        Section("reproduce", "How to reproduce", tuple(command_blocks(report))),
    )
    return Document(
        title=text(report.get("title") or "Run"),
        byline=_byline(report),
        cautions=_cautions(report),
        summary=_summary(report),
        verdict=verdict(report),
        headline_title=headline_title,
        headlines=numbers,
        sections=tuple(section for section in sections if section.blocks),
        version=text(report.get("pneumo")),
        opening=tuple(pictures(report, "opening")),
    )


def _details_title(report: Mapping[str, Any]) -> str:
    """What is folded: all there is, or what the results above leave out."""
    return "All results" if next(main_results(report), None) is None else "More results"


def _plugin_sections(report: Mapping[str, Any]) -> Iterator[Section]:
    """The sections that plugins add, each with its own heading and the name of its plugin."""
    for place, section in enumerate(map(mapping, sequence(report.get("sections")))):
        blocks: list[Block] = [Paragraph(text(part)) for part in sequence(section.get("paragraphs"))]
        blocks += named_tables(section.get("tables"))
        blocks += pictures(report, f"section-{place}")
        source = Paragraph(f"Added by the plugin {text(section.get('plugin'))}.")
        title = text(section.get("title"))
        yield Section(f"section-{place}", title, (*blocks, source) if blocks else (), folded=True)


def _cautions(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What went wrong, the run's notices, then its caveats, each sentence once."""
    texts = [text(warning) for warning in sequence(mapping(report.get("summary")).get("warnings"))]
    texts += [text(notice) for notice in sequence(report.get("notices"))]
    texts += [text(mapping(rule).get("text")) for rule in sequence(report.get("caveats"))]
    return tuple(dict.fromkeys(filter(None, texts)))


def _byline(report: Mapping[str, Any]) -> str:
    run = mapping(report.get("run"))
    parts = [when(run.get("started")), duration(run.get("seconds"))]
    if run.get("name"):
        parts.append(f"run {text(run['name'])}")
    resumed = number(run.get("resumed"))
    if resumed:
        parts.append("resumed once" if resumed == 1 else f"resumed {resumed:.0f} times")
    return " · ".join(part for part in parts if part)


def _summary(report: Mapping[str, Any]) -> str:
    trainer, model = mapping(report.get("trainer")), mapping(report.get("model"))
    dataset, monitor = mapping(report.get("dataset")), mapping(report.get("monitor"))
    counts = {row.get("split"): row.get("images") for row in split_rows(report)}
    sentences = []
    if trainer.get("name") and dataset.get("name"):
        images = f"{count(counts['train'])} images of " if number(counts.get("train")) else ""
        trainable = number(model.get("trainable"))
        frozen = (number(model.get("parameters")) or 0) - (trainable or 0)
        size = f" ({count(trainable)} trainable{_frozen(frozen)} parameters)" if trainable else ""
        sentences.append(
            f"The trainer {text(trainer['name'])} trained the model {text(model.get('name') or '?')}{size} on "
            f"{images}the {'synthetic ' if dataset.get('synthetic') else ''}dataset {text(dataset['name'])}"
            f"{_with_extensions(report)}."
        )
    epoch, metric = number(monitor.get("epoch")), text(monitor.get("metric"))
    if epoch is not None and metric:
        extreme = "lowest" if monitor.get("mode") == "min" else "highest"
        side = "training" if monitor.get("side") == "train" else "validation"
        value = metric_text(metric, monitor.get("value"))
        sentences.append(
            f"The checkpoint of epoch {epoch:.0f} was selected: it has the {extreme} {side} "
            f"{lowered(metric_label(metric).label)} ({value})."
        )
    elif epoch is not None:
        sentences.append(
            f"The checkpoint of the last epoch, {epoch:.0f}, was used: no metric selects among the epochs."
        )
    if mapping(report.get("evaluations")).get("test"):
        images = f" ({count(counts['test'])} images)" if number(counts.get("test")) else ""
        sentences.append(
            f"This checkpoint was evaluated once on the test set{images}, which was not used for training."
        )
    return " ".join(sentences)


def _frozen(parameters: float) -> str:
    return f" and {count(parameters)} frozen" if parameters > 0 else ""


def _with_extensions(report: Mapping[str, Any]) -> str:
    names = [text(name) for name in mapping(report.get("extensions"))]
    return f", with the extension{'s' if len(names) > 1 else ''} {listing(names)}" if names else ""
