"""What a report says, before it is a page: the contents of ``report.json`` in sections, tables and sentences.

The HTML page and the Markdown file render the same document, so they cannot differ in what they say. Every
part of a report may be absent: a task without a confusion matrix, a run without a test set. Metrics are known
by name in :mod:`pneumo_cli.reports.labels` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
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
from pneumo_cli.reports.labels import in_order, metric_label, metric_text, number

DISCLAIMER = "Research software, no medical device: not for diagnosis, and not to be used on patients."

_POLICIES = {
    "patient": "Split by patient: all images of one patient, and identical images, are kept on one side.",
    "source": (
        "Split as in the source report, image by image at random: one patient's images may lie on both "
        "sides, which flatters the validation numbers."
    ),
}
_EPOCHS_SHOWN = 12
_SIDES = ("train", "validation")


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a report. Absent parts are left out, sections without content too."""
    evaluations = _mapping(report.get("evaluations"))
    judged = next((name for name in ("test", "validation", *evaluations) if evaluations.get(name)), "")
    metrics = _mapping(evaluations.get(judged))
    shown = [name for name in in_order(metrics) if name != "loss" and number(metrics[name]) is not None][:4]
    sections = (
        Section("data", "What was run on what", tuple(_what(report))),
        Section("results", "Results", tuple(_results(report, evaluations))),
        Section("training", "Training", tuple(_training(report))),
        Section("samples", "Sample images", tuple(_pictures(report, "samples"))),
        Section("settings", "Settings", tuple(_settings(report))),
        Section("environment", "Environment", tuple(_environment(report))),
        Section("reproduce", "How to reproduce", tuple(_commands(report))),
    )
    return Document(
        title=_text(report.get("title") or "Run"),
        byline=_byline(report),
        notices=tuple(_text(notice) for notice in _list(report.get("notices"))),
        summary=_summary(report),
        headline_title=_measured_on(report, judged),
        headlines=tuple(
            Headline(metric_label(name).label, metric_text(name, metrics[name]), metric_label(name).meaning)
            for name in shown
        ),
        sections=tuple(section for section in sections if section.blocks),
        version=_text(report.get("pneumo")),
    )


def _byline(report: Mapping[str, Any]) -> str:
    run = _mapping(report.get("run"))
    parts = [_when(run.get("started")), _duration(run.get("seconds"))]
    if run.get("name"):
        parts.append(f"run {_text(run['name'])}")
    resumed = number(run.get("resumed"))
    if resumed:
        parts.append("resumed once" if resumed == 1 else f"resumed {resumed:.0f} times")
    return " · ".join(part for part in parts if part)


def _summary(report: Mapping[str, Any]) -> str:
    trainer, model = _mapping(report.get("trainer")), _mapping(report.get("model"))
    dataset, monitor = _mapping(report.get("dataset")), _mapping(report.get("monitor"))
    counts = {row.get("split"): row.get("images") for row in _rows(dataset)}
    sentences = []
    if trainer.get("name") and dataset.get("name"):
        trained = f"{_count(counts['train'])} images of " if number(counts.get("train")) else ""
        size = (
            f" ({_count(model['trainable'])} trainable parameters)" if number(model.get("trainable")) else ""
        )
        sentences.append(
            f"The trainer {_text(trainer['name'])} trained the model {_text(model.get('name') or '?')}{size} "
            f"on {trained}the {'synthetic ' if dataset.get('synthetic') else ''}dataset "
            f"{_text(dataset['name'])}."
        )
    epoch, metric = number(monitor.get("epoch")), monitor.get("metric")
    if epoch is not None and metric:
        extreme = "lowest" if monitor.get("mode") == "min" else "highest"
        name, value = (
            _lower(metric_label(_text(metric)).label),
            metric_text(_text(metric), monitor.get("value")),
        )
        sentences.append(
            f"The state after epoch {epoch:.0f} was kept: it had the {extreme} validation {name} ({value})."
        )
    if _mapping(report.get("evaluations")).get("test"):
        images = f" ({_count(counts['test'])} images)" if number(counts.get("test")) else ""
        sentences.append(f"That state was evaluated once on the test set{images}, which training never saw.")
    return " ".join(sentences)


def _measured_on(report: Mapping[str, Any], split: str) -> str:
    if not split:
        return ""
    for row in _rows(_mapping(report.get("dataset"))):
        if row.get("split") == split and number(row.get("images")):
            return f"On the {split} set, {_count(row['images'])} images"
    return f"On the {split} set"


def _what(report: Mapping[str, Any]) -> Iterator[Block]:
    dataset = _mapping(report.get("dataset"))
    facts = [
        (kind, _text(part.get("name")), _text(part.get("origin") or part.get("summary")), _from(part))
        for kind, part in (
            ("Trainer", _mapping(report.get("trainer"))),
            ("Model", _mapping(report.get("model"))),
            ("Dataset", dataset),
        )
        if part
    ]
    if facts:
        yield Table(("", "Name", "What it is", "Comes from"), tuple(facts))
    for note in _list(report.get("notes")):
        yield Paragraph(f"{_text(note).rstrip('.')}.")
    split = _mapping(dataset.get("split"))
    rows = _rows(dataset)
    if rows:
        yield _class_table(dataset, rows)
    if split.get("policy"):
        policy = _text(split["policy"])
        sentence = _POLICIES.get(policy, f"Split policy: {policy}.")
        fraction, seed = number(split.get("fraction")), split.get("seed")
        if fraction is not None:
            sentence += f" {fraction:.0%} of the training pool is held out for validation"
            sentence += f" (seed {_text(seed)})." if seed is not None else "."
        excluded = number(split.get("excluded"))
        if excluded:
            sentence += f" {_count(excluded)} images of the training pool were left out."
        yield Paragraph(sentence)
    yield from _shared(_list(split.get("shared")))
    yield from _pictures(report, "data")
    unreadable = [_mapping(item) for item in _list(dataset.get("unreadable"))]
    if unreadable:
        images = "image" if len(unreadable) == 1 else "images"
        sentence = f"{_count(len(unreadable))} {images} could not be read and took no part."
        yield Paragraph(sentence, warning=True)
        listed = tuple((_text(item.get("name")), _text(item.get("reason"))) for item in unreadable)
        yield Folded("The unreadable images", (Table(("Image", "Reason"), listed),))
    where = [("Place", dataset.get("place")), ("Fingerprint", dataset.get("fingerprint"))]
    placed = tuple((label, _text(value)) for label, value in where if value)
    if placed:
        yield Folded("Where the images are, and their fingerprint", (Table(("", ""), placed),))


def _class_table(dataset: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    counted = (name for row in rows for name in _mapping(row.get("counts")))
    classes = list(dict.fromkeys([*_list(dataset.get("classes")), *counted]))
    ratio = f"{_text(classes[0])} : {_text(classes[1])}" if len(classes) == 2 else ""
    body = []
    for row in rows:
        counts = _mapping(row.get("counts"))
        cells = [_text(row.get("split")).capitalize(), *(_count(counts.get(name, 0)) for name in classes)]
        cells += [_count(row.get("images")), _count(row.get("patients"))]
        if ratio:
            value = number(row.get("ratio"))
            cells.append("–" if value is None else f"1 : {value:.2f}")
        body.append(tuple(cells))
    head = ("Split", *(_text(name) for name in classes), "Images", "Patients", *([ratio] if ratio else []))
    return Table(head, tuple(body), frozenset(range(1, len(head))))


def _shared(pairs: Sequence[Any]) -> Iterator[Block]:
    found = [_mapping(pair) for pair in pairs]
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
            _text(pair.get("between")).replace("/", " and "),
            _count(pair.get("patients")),
            _count(pair.get("images")),
            _count(pair.get("identical")),
        )
        for pair in found
    )
    head = ("Shared between", "Patients", "Their images", "Identical images")
    yield Table(head, body, frozenset({1, 2, 3}))


def _results(report: Mapping[str, Any], evaluations: Mapping[str, Any]) -> Iterator[Block]:
    measured = {name: _mapping(values) for name, values in evaluations.items() if values}
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
        columns = tuple(_text(name).capitalize() for name in measured)
        yield Table(("Metric", *columns, "What it means"), body, frozenset(range(1, len(columns) + 1)))
    elsewhere = ("training", "data", "samples")
    yield from _pictures(report, "results")
    groups = dict.fromkeys(_text(_mapping(item).get("group")) for item in _list(report.get("figures")))
    for group in groups:
        if group not in ("results", *elsewhere):
            yield from _pictures(report, group)


def _training(report: Mapping[str, Any]) -> Iterator[Block]:
    yield from _pictures(report, "training")
    history = [_mapping(entry) for entry in _list(report.get("history"))]
    if not history:
        return
    monitor = _mapping(report.get("monitor"))
    wanted = [str(name) for name in (*_list(report.get("curves")), monitor.get("metric")) if name]
    metrics = list(dict.fromkeys(wanted))
    recorded = [
        metric
        for metric in metrics
        if any(metric in _mapping(entry.get(side)) for entry in history for side in _SIDES)
    ]
    rates = [("Learning rate", "learning_rate", "{:g}"), ("Seconds", "seconds", "{:.1f}")]
    rates += [("Images/s", "images_per_second", "{:,.0f}")]
    rates = [rate for rate in rates if any(number(entry.get(rate[1])) is not None for entry in history)]
    body = []
    for entry in history:
        cells = [_text(entry.get("epoch"))]
        for metric in recorded:
            pair = (metric_text(metric, _mapping(entry.get(side)).get(metric)) for side in _SIDES)
            cells.append(" / ".join(pair))
        for _, key, style in rates:
            value = number(entry.get(key))
            cells.append("–" if value is None else style.format(value))
        body.append(tuple(cells))
    marked = next((i for i, entry in enumerate(history) if entry.get("epoch") == monitor.get("epoch")), None)
    head = ("Epoch", *(metric_label(name).label for name in recorded), *(label for label, _, _ in rates))
    table = Table(head, tuple(body), frozenset(range(len(head))), marked)
    notes = ["Each pair is training / validation."] if recorded else []
    if history[0].get("epoch") == 0:
        notes.append("Epoch 0 is the untrained model.")
    if marked is not None:
        notes.append("The marked epoch was kept.")
    if notes:
        yield Paragraph(" ".join(notes))
    yield table if len(body) <= _EPOCHS_SHOWN else Folded(f"All {len(body)} epochs in numbers", (table,))


def _settings(report: Mapping[str, Any]) -> Iterator[Block]:
    settings = [_mapping(item) for item in _list(report.get("settings"))]
    if not settings:
        return
    preset = _text(report.get("preset") or "default")
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
            _text(item.get("name")),
            _value(item.get("value")),
            _value(item.get("preset")),
            _value(item.get("default")),
            _text(item.get("origin")),
            _text(item.get("help")),
        )
        for item in settings
    )
    head = ("Setting", "Value", "In the preset", "Default", "Value comes from", "Meaning")
    return Table(head, body, frozenset({1, 2, 3}))


def _environment(report: Mapping[str, Any]) -> Iterator[Block]:
    rows = tuple(_flat(_mapping(report.get("environment"))))
    if rows:
        yield Table(("", ""), rows)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of a nested mapping, names joined; lists become one line."""
    for key, value in values.items():
        name = f"{above}{_text(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            parts = (
                " ".join(_value(part) for part in item.values())
                if isinstance(item, Mapping)
                else _value(item)
                for item in value
            )
            yield name, ", ".join(parts) or "none"
        else:
            yield name, _value(value)


def _commands(report: Mapping[str, Any]) -> Iterator[Block]:
    again = tuple(_text(line) for line in _list(report.get("reproduce")))
    if again:
        yield Commands(again)
    following = tuple(_text(line) for line in _list(report.get("next")))
    if following:
        yield Paragraph("What can come next:")
        yield Commands(following)


def _pictures(report: Mapping[str, Any], group: str) -> Iterator[Block]:
    figures = [_mapping(item) for item in _list(report.get("figures"))]
    items = tuple(
        (_text(item["file"]), _text(item.get("caption")))
        for item in figures
        if item.get("file") and _text(item.get("group")) == group
    )
    if items:
        yield Pictures(items)


def _rows(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_mapping(row) for row in _list(_mapping(dataset.get("split")).get("rows"))]


def _from(part: Mapping[str, Any]) -> str:
    return " ".join(_text(part[key]) for key in ("distribution", "version") if part.get(key))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: Any) -> str:
    """One line of text; nothing where there is none."""
    return "" if value is None else " ".join(str(value).split())


def _value(value: Any) -> str:
    """A setting's value as a person would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return _text(value) or "(empty)"
    return json.dumps(value, ensure_ascii=False, default=str)


def _count(value: Any) -> str:
    known = number(value)
    return "–" if known is None else f"{known:,.0f}"


def _lower(label: str) -> str:
    """A label within a sentence: ``accuracy``, but ``ROC AUC``."""
    return label if label[:2].isupper() or label[1:2].isdigit() else label[:1].lower() + label[1:]


def _when(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return _text(value)
    zone = moment.strftime("%Z")
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()


def _duration(value: Any) -> str:
    seconds = number(value)
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
