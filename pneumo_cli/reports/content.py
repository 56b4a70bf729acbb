"""The contents of ``report.json`` as a document of sections, tables and sentences.

The HTML page and the Markdown file render the same document. Any part of a report may be absent: a task without a
confusion matrix, a run without a test set. Names of metrics are in :mod:`pneumo_cli.evaluation.metric_names` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.document import Block, Commands, Document, Folded, Paragraph, Section, Table
from pneumo_cli.reports.formatting import count, duration, listing, lowered, when
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

_AT_IMAGE_LEVEL = (
    "A patient's images may be in both training and validation, so the validation results are too optimistic."
)
_POLICIES = {
    "patient": "Split by patient: all images of a patient, and identical images, are in the same split.",
    "source": f"Split at random by image, as in the source report. {_AT_IMAGE_LEVEL}",
    "last": "Split by image, as in the source report: the last images of each class are the validation set. "
    + _AT_IMAGE_LEVEL,
    "given": "The validation set is the dataset's own.",
    "all": "As in the source report, all images of the training pool are for training, none for validation.",
}
_SHARED = {
    "patients": "Patients",
    "images": "Their images",
    "identical": "Identical images",
    "pixels": "Identical pixels",
    "near": "Near-duplicates",
}
_EPOCHS_SHOWN = 12
_CLASSES_BESIDE = 4  # with more, the class table has a row for each
_SIDES = {"train": "training", "validation": "validation"}


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a report; absent parts and sections without content are left out."""
    headline_title, numbers = headlines(report)
    sections = (
        Section("data", "Setup", tuple(_setup(report))),
        Section("results", "Results", tuple(results(report))),
        Section("summary", summary_title(report), tuple(summary_blocks(report, "summary"))),
        Section("explanations", "Grad-CAM", tuple(summary_blocks(report, "explanations"))),
        *_plugin_sections(report),
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


def _plugin_sections(report: Mapping[str, Any]) -> Iterator[Section]:
    """The sections that plugins add, each with its own heading and the name of its plugin."""
    for place, section in enumerate(map(mapping, sequence(report.get("sections")))):
        blocks: list[Block] = [Paragraph(text(part)) for part in sequence(section.get("paragraphs"))]
        blocks += named_tables(section.get("tables"))
        blocks += pictures(report, f"section-{place}")
        source = Paragraph(f"Added by the plugin {text(section.get('plugin'))}.")
        yield Section(f"section-{place}", text(section.get("title")), (*blocks, source) if blocks else ())


def _cautions(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The run's notices, then its caveats, each sentence once."""
    texts = [text(notice) for notice in sequence(report.get("notices"))]
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
        size = f" ({count(trainable)} trainable parameters)" if trainable else ""
        sentences.append(
            f"The trainer {text(trainer['name'])} trained the model {text(model.get('name') or '?')}{size} on "
            f"{images}the {'synthetic ' if dataset.get('synthetic') else ''}dataset {text(dataset['name'])}"
            f"{_with_extensions(report)}."
        )
    epoch, metric = number(monitor.get("epoch")), text(monitor.get("metric"))
    if epoch is not None and metric:
        extreme = "lowest" if monitor.get("mode") == "min" else "highest"
        side = _SIDES["train" if monitor.get("side") == "train" else "validation"]
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


def _with_extensions(report: Mapping[str, Any]) -> str:
    names = [text(name) for name in mapping(report.get("extensions"))]
    return f", with the extension{'s' if len(names) > 1 else ''} {listing(names)}" if names else ""


def _extension_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each extension, described by its settings."""
    values = {
        text(row.get("name")): row.get("value") for row in map(mapping, sequence(report.get("settings")))
    }
    for name, package in mapping(report.get("extensions")).items():
        own = [
            f"{field.removeprefix(f'{name}.')} = {value_text(value)}"
            for field, value in values.items()
            if field.startswith(f"{name}.")
        ]
        yield "Extension", text(name), ", ".join(own), text(package)


def _setup(report: Mapping[str, Any]) -> Iterator[Block]:
    dataset = mapping(report.get("dataset"))
    parts = {kind: mapping(report.get(kind.lower())) for kind in ("Trainer", "Model", "Dataset")}
    rows = [
        (kind, text(part.get("name")), text(part.get("origin") or part.get("summary")), _package(part))
        for kind, part in parts.items()
        if part
    ]
    if rows:
        yield Table(("", "Name", "Description", "Package"), (*rows, *_extension_rows(report)))
    for note in sequence(report.get("notes")):
        yield Paragraph(f"{text(note).rstrip('.')}.")
    split = mapping(dataset.get("split"))
    if splits := split_rows(report):
        yield _class_table(dataset, splits)
    yield from _labels_table(dataset)
    if split.get("policy"):
        policy = text(split["policy"])
        sentence = _POLICIES.get(policy, f"Split policy: {policy}.")
        fraction, seed = number(split.get("fraction")), split.get("seed")
        if fraction is not None and policy not in ("all", "given"):
            sentence += f" {fraction:.0%} of the training pool is held out for validation"
            sentence += f" (seed {text(seed)})." if seed is not None and policy != "last" else "."
        if excluded := number(split.get("excluded")):
            sentence += f" {count(excluded)} images of the training pool were excluded."
        yield Paragraph(sentence)
    yield from _shared(sequence(split.get("shared")))
    yield from pictures(report, "data")
    unreadable = [mapping(item) for item in sequence(dataset.get("unreadable"))]
    if unreadable:
        images, were = ("image", "was") if len(unreadable) == 1 else ("images", "were")
        sentence = f"{count(len(unreadable))} {images} could not be read and {were} excluded."
        yield Paragraph(sentence, warning=True)
        listed = tuple((text(item.get("name")), text(item.get("reason"))) for item in unreadable)
        yield Folded("Unreadable images", (Table(("Image", "Reason"), listed),))
    yield from _made_of(dataset)
    where = [("Location", dataset.get("place")), ("Fingerprint", dataset.get("fingerprint"))]
    placed = tuple((label, text(value)) for label, value in where if value)
    if placed:
        yield Folded("Location and fingerprint of the images", (Table(("", ""), placed),))


def _made_of(dataset: Mapping[str, Any]) -> Iterator[Block]:
    """How the records were made from the files, and what files were not used."""
    notes = [text(note) for note in sequence(dataset.get("notes"))]
    if gray := text(dataset.get("gray_scaling")):
        notes.append(f"Gray levels: {gray.rstrip('.')}.")
    if notes:
        yield Paragraph(" ".join(notes))
    rows = []
    for kind in map(mapping, sequence(dataset.get("unused"))):
        examples = ", ".join(text(name) for name in sequence(kind.get("examples")))
        rows.append((count(kind.get("count")), text(kind.get("kind")), examples))
    if rows:
        yield Table(("Files", "Not used", "For example"), tuple(rows), title="Files that are not used")


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
    if len(classes) > _CLASSES_BESIDE:
        head, *body = zip(head, *body, strict=True)
    return Table(head, tuple(body), frozenset(range(1, len(head))))


def _labels_table(dataset: Mapping[str, Any]) -> Iterator[Block]:
    """The labels that are unknown for some images."""
    labels = [mapping(label) for label in sequence(dataset.get("labels"))]
    if any(number(label.get("unknown")) for label in labels):
        keys = ("present", "absent", "unknown")
        rows = tuple((text(of.get("name")), *(count(of.get(key)) for key in keys)) for of in labels)
        head = ("Label", *(key.capitalize() for key in keys))
        note = "Where a label is unknown, the image is left out for that label alone."
        yield Table(head, rows, frozenset({1, 2, 3}), title="Labels of all images", note=note)


def _shared(pairs: Sequence[Any]) -> Iterator[Block]:
    """What pairs of splits have in common; pixels and near-duplicates only where they were searched."""
    rows = [mapping(pair) for pair in pairs]
    if not rows:
        return
    keys = [key for key in _SHARED if any(number(row.get(key)) is not None for row in rows)]
    if not any(number(row.get(key)) for row in rows for key in keys):
        yield Paragraph("No patient and no identical image occurs in more than one split.")
        return
    yield Paragraph(
        "Some patients or images occur in more than one split: the results on the second split of such a pair are "
        "too optimistic.",
        warning=True,
    )
    body = tuple(
        (text(row.get("between")).replace("/", " and "), *(count(row.get(key)) for key in keys))
        for row in rows
    )
    head = ("Shared between", *(_SHARED[key] for key in keys))
    yield Table(head, body, frozenset(range(1, len(head))))


def _training(report: Mapping[str, Any]) -> Iterator[Block]:
    yield from pictures(report, "training")
    history = [mapping(entry) for entry in sequence(report.get("history"))]
    if not history:
        return
    monitor = mapping(report.get("monitor"))
    recorded: dict[str, tuple[str, ...]] = {}
    for metric in map(str, (*sequence(report.get("curves")), monitor.get("metric") or "")):
        sides = tuple(side for side in _SIDES if any(metric in mapping(entry.get(side)) for entry in history))
        if metric and sides:
            recorded[metric] = sides
    rates = [("Learning rate", "learning_rate", "{:g}"), ("Seconds", "seconds", "{:.1f}")]
    rates += [("Images/s", "images_per_second", "{:,.0f}")]
    rates = [rate for rate in rates if any(number(entry.get(rate[1])) is not None for entry in history)]
    body = []
    for entry in history:
        cells = [text(entry.get("epoch"))]
        for metric, sides in recorded.items():
            cells.append(
                " / ".join(metric_text(metric, mapping(entry.get(side)).get(metric)) for side in sides)
            )
        for _, key, style in rates:
            value = number(entry.get(key))
            cells.append("–" if value is None else style.format(value))
        body.append(tuple(cells))
    selected = next(
        (i for i, entry in enumerate(history) if entry.get("epoch") == monitor.get("epoch")), None
    )
    kinds = set(recorded.values())
    titles = (
        metric_label(name).label + ("" if len(kinds) == 1 or len(sides) > 1 else f" ({_SIDES[sides[0]]})")
        for name, sides in recorded.items()
    )
    head = ("Epoch", *titles, *(label for label, _, _ in rates))
    table = Table(head, tuple(body), frozenset(range(len(head))), selected)
    notes = []
    if tuple(_SIDES) in kinds:
        notes.append("Pairs of values are training / validation.")
    elif len(kinds) == 1:
        notes.append(f"All metrics are {_SIDES[kinds.pop()[0]]} metrics.")
    if history[0].get("epoch") == 0:
        notes.append("Epoch 0 is the untrained model.")
    if selected is not None:
        notes.append("The selected epoch is marked.")
    if notes:
        yield Paragraph(" ".join(notes))
    yield table if len(body) <= _EPOCHS_SHOWN else Folded(f"Metrics of all {len(body)} epochs", (table,))


def settings_shown(report: Mapping[str, Any]) -> Iterator[Block]:
    """The settings of a run or a group: those changed from the preset, those as in the preset, the machine's."""
    settings = [mapping(item) for item in sequence(report.get("settings"))]
    if not settings:
        return
    preset = text(report.get("preset") or "default")
    machine = [item for item in settings if item.get("name") in MachineSettings.model_fields]
    recipe = [item for item in settings if item not in machine]
    changed = [item for item in recipe if _was_changed(item)]
    unchanged = [item for item in recipe if item not in changed]
    if changed:
        plural = "setting differs" if len(changed) == 1 else "settings differ"
        yield Paragraph(f"{len(changed)} {plural} from the preset {preset}.")
        yield _settings_table(changed)
    else:
        yield Paragraph(f"All settings are those of the preset {preset}.")
    if unchanged:
        yield Folded(f"{len(unchanged)} settings as in the preset {preset}", (_settings_table(unchanged),))
    if machine:
        title = f"{len(machine)} machine settings, which are not part of the recipe"
        yield Folded(title, (_settings_table(machine),))


def _was_changed(setting: Mapping[str, Any]) -> bool:
    """Whether a flag, a variable or a file has set it to another value than the preset does."""
    untouched = text(setting.get("origin")).partition(" ")[0] in ("", "default", "preset")
    return setting.get("value") != setting.get("preset") and not untouched


def _settings_table(settings: Sequence[Mapping[str, Any]]) -> Table:
    body = tuple(
        (
            text(item.get("name")),
            *(value_text(item.get(key)) for key in ("value", "preset", "default")),
            text(item.get("origin")),
            text(item.get("help")),
        )
        for item in settings
    )
    head = ("Setting", "Value", "Preset", "Default", "Set by", "Meaning")
    return Table(head, body, frozenset({1, 2, 3}))


def _environment(report: Mapping[str, Any]) -> Iterator[Block]:
    rows = tuple(_flat(mapping(report.get("environment"))))
    if rows:
        yield Table(("", ""), rows)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of a nested mapping, with joined names; lists become one line."""
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
    for key, title in (("reproduce", ""), ("next", "Next steps:")):
        lines = tuple(text(line) for line in sequence(report.get(key)))
        if lines and title:
            yield Paragraph(title)
        if lines:
            yield Commands(lines)


def _package(part: Mapping[str, Any]) -> str:
    return " ".join(text(part[key]) for key in ("distribution", "version") if part.get(key))
