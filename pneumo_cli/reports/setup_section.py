"""The section of a report on what was run on which images.

Nothing here raises: any part of a report may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.reports.document import Block, Folded, Paragraph, Table
from pneumo_cli.reports.formatting import count, share
from pneumo_cli.reports.results import pictures, split_rows
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text

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
_CLASSES_BESIDE = 4  # with more, the class table has a row for each


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


def setup_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
    """Trainer, model and dataset; the splits and what they share; what was left out; where the images are."""
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
            sentence += f" {share(fraction)} of the training pool is held out for validation"
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


def _package(part: Mapping[str, Any]) -> str:
    return " ".join(text(part[key]) for key in ("distribution", "version") if part.get(key))
