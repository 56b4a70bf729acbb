"""What a report says, before it is a page: the contents of ``report.json`` in sections, tables and sentences.

The HTML page and the Markdown file render the same document, so they cannot differ in what they say. Every
part of a report may be absent: a task without a confusion matrix, a run without a test set. Metrics are known
by name in :mod:`pneumo_cli.reports.labels` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.reports.document import (
    Block,
    Commands,
    Document,
    Folded,
    Headline,
    Paragraph,
    Pictures,
    Section,
    Table,
)
from pneumo_cli.reports.labels import in_order, is_known, metric_label, metric_text, number
from pneumo_cli.reports.wording import (
    count,
    duration,
    lowered,
    mapping,
    sequence,
    text,
    value_text,
    when,
)

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."

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
_JUDGEMENT = "How good are the images?"
_HEADLINES = 4
_EPOCHS_SHOWN = 12
_SIDES = {"train": "training", "validation": "validation"}


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a report. Absent parts are left out, sections without content too."""
    evaluations = mapping(report.get("evaluations"))
    headline_title, headlines = _headlines(report, evaluations)
    sections = (
        Section("data", "What was run on what", tuple(_what(report))),
        Section("results", "Results", tuple(_results(report, evaluations))),
        Section("judgement", _JUDGEMENT, tuple(_judgement(report))),
        Section("training", "Training", tuple(_training(report))),
        Section("samples", "Sample images", tuple(_pictures(report, "samples"))),
        Section("settings", "Settings", tuple(_settings(report))),
        Section("environment", "Environment", tuple(_environment(report))),
        Section("reproduce", "How to reproduce", tuple(_commands(report))),
    )
    return Document(
        title=text(report.get("title") or "Run"),
        byline=_byline(report),
        notices=tuple(text(notice) for notice in sequence(report.get("notices"))),
        summary=_summary(report),
        headline_title=headline_title,
        headlines=headlines,
        sections=tuple(section for section in sections if section.blocks),
        version=text(report.get("pneumo")),
    )


def _headlines(report: Mapping[str, Any], evaluations: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    """On what, and the few numbers to see first: of the result as a whole, where it was judged; else of one split.

    A judgement has many numbers, and most are there to be compared with: only those of the table of labels count.
    """
    metrics = mapping(mapping(report.get("judgement")).get("metrics"))
    title, wanted = _JUDGEMENT, [name for name in metrics if is_known(text(name))]
    if not any(number(metrics[name]) is not None for name in wanted):
        judged = next((name for name in ("test", "validation", *evaluations) if evaluations.get(name)), "")
        metrics = mapping(evaluations.get(judged))
        title, wanted = _measured_on(report, judged), [name for name in metrics if name != "loss"]
    shown = [name for name in in_order(wanted) if number(metrics[name]) is not None][:_HEADLINES]
    return title, tuple(
        Headline(metric_label(name).label, metric_text(name, metrics[name]), metric_label(name).meaning)
        for name in shown
    )


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
    counts = {row.get("split"): row.get("images") for row in _rows(dataset)}
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


def _measured_on(report: Mapping[str, Any], split: str) -> str:
    if not split:
        return ""
    for row in _rows(mapping(report.get("dataset"))):
        if row.get("split") == split and number(row.get("images")):
            return f"On the {split} set, {count(row['images'])} images"
    return f"On the {split} set"


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
    rows = _rows(dataset)
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
    yield from _pictures(report, "data")
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
    if not any(number(pair.get(key)) for pair in found for key in ("patients", "images", "identical")):
        yield Paragraph("No patient and no identical image occurs in more than one split.")
        return
    yield Paragraph(
        "Some patients or identical images occur in more than one split: numbers measured on the later one "
        "are better than they would be on new patients.",
        warning=True,
    )
    body = tuple(
        (
            text(pair.get("between")).replace("/", " and "),
            count(pair.get("patients")),
            count(pair.get("images")),
            count(pair.get("identical")),
        )
        for pair in found
    )
    head = ("Shared between", "Patients", "Their images", "Identical images")
    yield Table(head, body, frozenset({1, 2, 3}))


def _results(report: Mapping[str, Any], evaluations: Mapping[str, Any]) -> Iterator[Block]:
    measured = {name: mapping(values) for name, values in evaluations.items() if values}
    if measured:
        metrics = in_order({metric: None for values in measured.values() for metric in values})
        body = tuple(
            (
                metric_label(metric).label,
                *(metric_text(metric, values.get(metric)) for values in measured.values()),
                metric_label(metric).meaning,
            )
            for metric in metrics
        )
        columns = tuple(text(name).capitalize() for name in measured)
        yield Table(("Metric", *columns, "What it means"), body, frozenset(range(1, len(columns) + 1)))
    elsewhere = ("judgement", "training", "data", "samples")
    yield from _pictures(report, "results")
    groups = dict.fromkeys(text(mapping(item).get("group")) for item in sequence(report.get("figures")))
    for group in groups:
        if group not in ("results", *elsewhere):
            yield from _pictures(report, group)


def _judgement(report: Mapping[str, Any]) -> Iterator[Block]:
    judgement = mapping(report.get("judgement"))
    for note in sequence(judgement.get("notes")):
        yield Paragraph(text(note))
    for table in map(mapping, sequence(judgement.get("tables"))):
        head = tuple(text(cell) for cell in sequence(table.get("head")))
        if not head:
            continue
        # From a plugin, perhaps a stranger's: every row gets as many cells as the head has.
        rows = tuple(
            tuple(text(cell) for cell in [*sequence(row), *[""] * len(head)][: len(head)])
            for row in sequence(table.get("rows"))
        )
        yield Table(head, rows, frozenset(range(1, len(head))), title=text(table.get("title")))
        if table.get("note"):
            yield Paragraph(text(table["note"]))
    yield from _pictures(report, "judgement")


def _training(report: Mapping[str, Any]) -> Iterator[Block]:
    yield from _pictures(report, "training")
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


def _settings(report: Mapping[str, Any]) -> Iterator[Block]:
    settings = [mapping(item) for item in sequence(report.get("settings"))]
    if not settings:
        return
    preset = text(report.get("preset") or "default")
    changed = [item for item in settings if item.get("value") != item.get("preset")]
    kept = [item for item in settings if item.get("value") == item.get("preset")]
    if changed:
        plural = "setting differs" if len(changed) == 1 else "settings differ"
        yield Paragraph(f"{len(changed)} {plural} from the preset {preset}.")
        yield _settings_table(changed)
    else:
        yield Paragraph(f"All settings are those of the preset {preset}.")
    if kept:
        yield Folded(f"The {len(kept)} settings as in the preset {preset}", (_settings_table(kept),))


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


def _pictures(report: Mapping[str, Any], group: str) -> Iterator[Block]:
    figures = [mapping(item) for item in sequence(report.get("figures"))]
    items = tuple(
        (text(item["file"]), text(item.get("caption")))
        for item in figures
        if item.get("file") and text(item.get("group")) == group
    )
    if items:
        yield Pictures(items)


def _rows(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(row) for row in sequence(mapping(dataset.get("split")).get("rows"))]


def _from(part: Mapping[str, Any]) -> str:
    return " ".join(text(part[key]) for key in ("distribution", "version") if part.get(key))
