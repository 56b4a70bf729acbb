"""What a report says, before it is a page: the contents of ``report.json`` in sections, tables and sentences.

The HTML page and the Markdown file render the same document, so they cannot differ in what they say. Every
part of a report may be absent: a task without a confusion matrix, a run without a test set. Metrics are known
by name in :mod:`pneumo_cli.reports.labels` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.document import (
    Block,
    Commands,
    Document,
    Folded,
    Paragraph,
    Section,
    Table,
)
from pneumo_cli.reports.formatting import count, duration, lowered, when
from pneumo_cli.reports.results import (
    headlines,
    named_tables,
    pictures,
    results,
    split_rows,
    summary_blocks,
    summary_title,
    verdict,
)
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_cli.settings.schema import MachineSettings

_POLICIES = {
    "patient": "Split by patient: all images of one patient, and identical images, are kept on one side.",
    "source": (
        "Split as in the source report, image by image at random: one patient's images may lie on both "
        "sides, which flatters the validation numbers."
    ),
    "last": (
        "Split as in the source report, image by image: the last images of each class validate, and one "
        "patient's images may lie on both sides, which flatters the validation numbers."
    ),
    "all": "Split as in the source report: all images of the training pool train, none validates.",
}
_SHARED = {
    "patients": "Patients",
    "images": "Their images",
    "identical": "Identical images",
    "pixels": "Identical pixels",
    "near": "Altered copies",
}
_EPOCHS_SHOWN = 12
_SIDES = {"train": "training", "validation": "validation"}


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a report. Absent parts are left out, sections without content too."""
    headline_title, numbers = headlines(report)
    sections = (
        Section("data", "Setup", tuple(_what(report))),
        Section("results", "Results", tuple(results(report))),
        Section("summary", summary_title(report), tuple(summary_blocks(report, "summary"))),
        Section("explanations", "Grad-CAM", tuple(summary_blocks(report, "explanations"))),
        *_of_plugins(report),
        Section("training", "Training", tuple(_training(report))),
        Section("samples", "Sample images", tuple(pictures(report, "samples"))),
        Section("settings", "Settings", tuple(settings_shown(report))),
        Section("environment", "Environment", tuple(_environment(report))),
        Section("reproduce", "How to reproduce", tuple(_commands(report))),
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
    )


def _of_plugins(report: Mapping[str, Any]) -> Iterator[Section]:
    """What plugins have added, each section under its own heading, with the plugin that it is from."""
    for place, section in enumerate(map(mapping, sequence(report.get("sections")))):
        blocks: list[Block] = [Paragraph(text(part)) for part in sequence(section.get("paragraphs"))]
        blocks += named_tables(section.get("tables"))
        blocks += pictures(report, f"section-{place}")
        source = Paragraph(f"Added by the plugin {text(section.get('plugin'))}.")
        yield Section(f"section-{place}", text(section.get("title")), (*blocks, source) if blocks else ())


def _cautions(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run has to say before its numbers, and the rules that found something; a sentence stands once."""
    said = [text(notice) for notice in sequence(report.get("notices"))]
    said += [text(mapping(rule).get("text")) for rule in sequence(report.get("caveats"))]
    return tuple(dict.fromkeys(sentence for sentence in said if sentence))


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
        trained = f"{count(counts['train'])} images of " if number(counts.get("train")) else ""
        size = (
            f" ({count(model['trainable'])} trainable parameters)" if number(model.get("trainable")) else ""
        )
        sentences.append(
            f"The trainer {text(trainer['name'])} trained the model {text(model.get('name') or '?')}{size} "
            f"on {trained}the {'synthetic ' if dataset.get('synthetic') else ''}dataset "
            f"{text(dataset['name'])}."
        )
    epoch, metric = number(monitor.get("epoch")), monitor.get("metric")
    if epoch is not None and metric:
        extreme = "lowest" if monitor.get("mode") == "min" else "highest"
        side = _SIDES["train" if monitor.get("side") == "train" else "validation"]
        name, value = (
            lowered(metric_label(text(metric)).label),
            metric_text(text(metric), monitor.get("value")),
        )
        sentences.append(
            f"The state after epoch {epoch:.0f} was kept: it had the {extreme} {side} {name} ({value})."
        )
    elif epoch is not None:
        sentences.append(
            f"The state after epoch {epoch:.0f} was kept, the last one: no metric chose among the epochs."
        )
    if mapping(report.get("evaluations")).get("test"):
        images = f" ({count(counts['test'])} images)" if number(counts.get("test")) else ""
        sentences.append(f"That state was evaluated once on the test set{images}, which training never saw.")
    return " ".join(sentences)


def _what(report: Mapping[str, Any]) -> Iterator[Block]:
    dataset = mapping(report.get("dataset"))
    facts = [
        (kind, text(part.get("name")), text(part.get("origin") or part.get("summary")), _from(part))
        for kind, part in (
            ("Trainer", mapping(report.get("trainer"))),
            ("Model", mapping(report.get("model"))),
            ("Dataset", dataset),
        )
        if part
    ]
    if facts:
        yield Table(("", "Name", "What it is", "Comes from"), tuple(facts))
    for note in sequence(report.get("notes")):
        yield Paragraph(f"{text(note).rstrip('.')}.")
    split = mapping(dataset.get("split"))
    rows = split_rows(report)
    if rows:
        yield _class_table(dataset, rows)
    if split.get("policy"):
        policy = text(split["policy"])
        sentence = _POLICIES.get(policy, f"Split policy: {policy}.")
        fraction, seed = number(split.get("fraction")), split.get("seed")
        if fraction is not None and policy != "all":
            sentence += f" {fraction:.0%} of the training pool is held out for validation"
            sentence += f" (seed {text(seed)})." if seed is not None and policy != "last" else "."
        excluded = number(split.get("excluded"))
        if excluded:
            sentence += f" {count(excluded)} images of the training pool were left out."
        yield Paragraph(sentence)
    yield from _shared(sequence(split.get("shared")))
    yield from pictures(report, "data")
    unreadable = [mapping(item) for item in sequence(dataset.get("unreadable"))]
    if unreadable:
        images = "image" if len(unreadable) == 1 else "images"
        sentence = f"{count(len(unreadable))} {images} could not be read and took no part."
        yield Paragraph(sentence, warning=True)
        listed = tuple((text(item.get("name")), text(item.get("reason"))) for item in unreadable)
        yield Folded("The unreadable images", (Table(("Image", "Reason"), listed),))
    where = [("Place", dataset.get("place")), ("Fingerprint", dataset.get("fingerprint"))]
    placed = tuple((label, text(value)) for label, value in where if value)
    if placed:
        yield Folded("Where the images are, and their fingerprint", (Table(("", ""), placed),))


def _class_table(dataset: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    counted = (name for row in rows for name in mapping(row.get("counts")))
    classes = list(dict.fromkeys([*sequence(dataset.get("classes")), *counted]))
    compared = len(classes) == 2 and any(number(row.get("ratio")) is not None for row in rows)
    ratio = f"{text(classes[0])} : {text(classes[1])}" if compared else ""
    body = []
    for row in rows:
        counts = mapping(row.get("counts"))
        cells = [text(row.get("split")).capitalize(), *(count(counts.get(name, 0)) for name in classes)]
        cells += [count(row.get("images")), count(row.get("patients"))]
        if ratio:
            value = number(row.get("ratio"))
            cells.append("–" if value is None else f"1 : {value:.2f}")
        body.append(tuple(cells))
    head = ("Split", *(text(name) for name in classes), "Images", "Patients", *([ratio] if ratio else []))
    return Table(head, tuple(body), frozenset(range(1, len(head))))


def _shared(pairs: Sequence[Any]) -> Iterator[Block]:
    found = [mapping(pair) for pair in pairs]
    if not found:
        return
    # The last two are known only where somebody has looked for them.
    there = [key for key in _SHARED if any(number(pair.get(key)) is not None for pair in found)]
    if not any(number(pair.get(key)) for pair in found for key in there):
        yield Paragraph("No patient and no identical image occurs in more than one split.")
        return
    yield Paragraph(
        "Some patients or identical images occur in more than one split: numbers measured on the later one "
        "are better than they would be on new patients.",
        warning=True,
    )
    body = tuple(
        (text(pair.get("between")).replace("/", " and "), *(count(pair.get(key)) for key in there))
        for pair in found
    )
    head = ("Shared between", *(_SHARED[key] for key in there))
    yield Table(head, body, frozenset(range(1, len(head))))


def _training(report: Mapping[str, Any]) -> Iterator[Block]:
    yield from pictures(report, "training")
    history = [mapping(entry) for entry in sequence(report.get("history"))]
    if not history:
        return
    monitor = mapping(report.get("monitor"))
    wanted = [str(name) for name in (*sequence(report.get("curves")), monitor.get("metric")) if name]
    metrics = list(dict.fromkeys(wanted))
    measured = {
        metric: tuple(side for side in _SIDES if any(metric in mapping(entry.get(side)) for entry in history))
        for metric in metrics
    }
    recorded = {metric: sides for metric, sides in measured.items() if sides}
    rates = [("Learning rate", "learning_rate", "{:g}"), ("Seconds", "seconds", "{:.1f}")]
    rates += [("Images/s", "images_per_second", "{:,.0f}")]
    rates = [rate for rate in rates if any(number(entry.get(rate[1])) is not None for entry in history)]
    body = []
    for entry in history:
        cells = [text(entry.get("epoch"))]
        for metric, sides in recorded.items():
            values = (metric_text(metric, mapping(entry.get(side)).get(metric)) for side in sides)
            cells.append(" / ".join(values))
        for _, key, style in rates:
            value = number(entry.get(key))
            cells.append("–" if value is None else style.format(value))
        body.append(tuple(cells))
    marked = next((i for i, entry in enumerate(history) if entry.get("epoch") == monitor.get("epoch")), None)
    everywhere = set(recorded.values())
    alike = len(everywhere) == 1
    titles = (
        metric_label(name).label + ("" if alike or len(sides) > 1 else f" ({_SIDES[sides[0]]})")
        for name, sides in recorded.items()
    )
    head = ("Epoch", *titles, *(label for label, _, _ in rates))
    table = Table(head, tuple(body), frozenset(range(len(head))), marked)
    notes = []
    if tuple(_SIDES) in everywhere:
        notes.append("Each pair is training / validation.")
    elif alike:
        notes.append(f"The metrics are those of {_SIDES[everywhere.pop()[0]]}.")
    if history[0].get("epoch") == 0:
        notes.append("Epoch 0 is the untrained model.")
    if marked is not None:
        notes.append("The marked epoch was kept.")
    if notes:
        yield Paragraph(" ".join(notes))
    yield table if len(body) <= _EPOCHS_SHOWN else Folded(f"All {len(body)} epochs in numbers", (table,))


def settings_shown(report: Mapping[str, Any]) -> Iterator[Block]:
    """The settings of a run or a group: what somebody changed first, what is as in the preset, the machine's."""
    settings = [mapping(item) for item in sequence(report.get("settings"))]
    if not settings:
        return
    preset = text(report.get("preset") or "default")
    machine = [item for item in settings if item.get("name") in MachineSettings.model_fields]
    recipe = [item for item in settings if item not in machine]
    changed = [item for item in recipe if _was_changed(item)]
    kept = [item for item in recipe if item not in changed]
    if changed:
        plural = "setting differs" if len(changed) == 1 else "settings differ"
        yield Paragraph(f"{len(changed)} {plural} from the preset {preset}.")
        yield _settings_table(changed)
    else:
        yield Paragraph(f"All settings are those of the preset {preset}.")
    if kept:
        yield Folded(f"The {len(kept)} settings as in the preset {preset}", (_settings_table(kept),))
    if machine:
        yield Folded(
            f"The {len(machine)} settings of the machine, no part of the recipe", (_settings_table(machine),)
        )


def _was_changed(setting: Mapping[str, Any]) -> bool:
    """Whether a person, by a flag, a variable or a file, has set it to something else than the preset does."""
    untouched = text(setting.get("origin")).partition(" ")[0] in ("", "default", "preset")
    return setting.get("value") != setting.get("preset") and not untouched


def _settings_table(settings: Sequence[Mapping[str, Any]]) -> Table:
    body = tuple(
        (
            text(item.get("name")),
            value_text(item.get("value")),
            value_text(item.get("preset")),
            value_text(item.get("default")),
            text(item.get("origin")),
            text(item.get("help")),
        )
        for item in settings
    )
    head = ("Setting", "Value", "In the preset", "Default", "Value comes from", "Meaning")
    return Table(head, body, frozenset({1, 2, 3}))


def _environment(report: Mapping[str, Any]) -> Iterator[Block]:
    rows = tuple(_flat(mapping(report.get("environment"))))
    if rows:
        yield Table(("", ""), rows)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of a nested mapping, names joined; lists become one line."""
    for key, value in values.items():
        name = f"{above}{text(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            parts = (
                " ".join(value_text(part) for part in item.values())
                if isinstance(item, Mapping)
                else value_text(item)
                for item in value
            )
            yield name, ", ".join(parts) or "none"
        else:
            yield name, value_text(value)


def _commands(report: Mapping[str, Any]) -> Iterator[Block]:
    again = tuple(text(line) for line in sequence(report.get("reproduce")))
    if again:
        yield Commands(again)
    following = tuple(text(line) for line in sequence(report.get("next")))
    if following:
        yield Paragraph("What can come next:")
        yield Commands(following)


def _from(part: Mapping[str, Any]) -> str:
    return " ".join(text(part[key]) for key in ("distribution", "version") if part.get(key))
