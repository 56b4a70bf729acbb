"""The page of an audit: the verdict first, then what was looked at, with the pictures that prove it.

It is the same kind of page as a run's report (:mod:`pneumo_cli.reports.html`), made of the same blocks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from pneumo_audit.audit import Audit, shift_sentence, verdict
from pneumo_audit.figures import patient_order, shift_card, side_by_side
from pneumo_cli.data.leakage import Leak, Pair
from pneumo_cli.data.near_duplicates import threshold
from pneumo_cli.data.records import Record
from pneumo_cli.reports.document import Block, Document, Folded, Headline, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import when
from pneumo_cli.reports.html import render_document
from pneumo_cli.runtime import atomic

PAGE, CONTENT = "audit.html", "audit.json"

_SHOWN = 12  # pairs of pictures of one pair of splits
_LISTED = 500  # rows of a table
_KINDS = {"bytes": "identical file", "pixels": "identical pixels", "near": "altered copy"}
_STRENGTHS = {
    "none": "cannot be told apart",
    "slight": "differ slightly",
    "clear": "differ clearly",
    "strong": "are of another kind",
}


def write_audit(audit: Audit, folder: Path) -> None:
    """Write ``audit.html``, which needs no other file, and ``audit.json`` into a folder, each whole or not at all.

    Raises:
        OSError: the folder cannot be made or written to, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pneumo-audit-") as pictures:
        page = render_document(_document(audit, Path(pictures)), Path(pictures))
    atomic.write_json(folder / CONTENT, audit.plain())
    atomic.write_text(folder / PAGE, page)


def _document(audit: Audit, pictures: Path) -> Document:
    data = audit.data
    dataset = data.dataset
    cautions = list(audit.problems())
    if dataset.synthetic:
        cautions.append("Synthetic data: these images are drawn, and no patient is behind them.")
    if data.unreadable:
        cautions.append(
            f"{len(data.unreadable)} of the images cannot be read and were left out of the audit."
        )
    sections = (
        Section("checked", "What was checked", tuple(_checked(audit))),
        Section("leaks", "Leaks between splits", tuple(_leaks(audit, pictures))),
        Section("shift", "Do test images look like training images?", tuple(_shift(audit, pictures))),
        Section("structure", "Order of the patients", tuple(_structure(audit, pictures))),
        Section("remarks", "Remarks", tuple(_remarks(audit, pictures))),
        Section("method", "How it was found", tuple(_method(audit))),
    )
    patients = len({record.patient for record in dataset.records})
    return Document(
        title=f"Audit of {dataset.name}",
        byline=f"{when(datetime.now(UTC).isoformat())} · {dataset.place} · fingerprint {data.fingerprint[:12]}",
        cautions=tuple(f"{caution.rstrip('.')}." for caution in cautions),
        summary=(
            f"{len(dataset.records):,} images of {patients:,} patients, split by {data.split.policy}, were "
            "searched for patients and images that are on two sides of the split, and the test images were "
            "compared with the training images."
        ),
        verdict=verdict(audit),
        headline_title="Found between the splits",
        headlines=tuple(_headlines(audit)),
        sections=tuple(section for section in sections if section.blocks),
        version=version("pneumo-cli"),
    )


def _all_leaks(audit: Audit) -> tuple[Leak, ...]:
    return (*audit.leaks.pairs, audit.leaks.left_out)


def _headlines(audit: Audit) -> Iterator[Headline]:
    leaks = _all_leaks(audit)
    yield Headline(
        "Shared patients",
        f"{len({patient for leak in leaks for patient in leak.patients}):,}",
        "patients with images on two sides",
    )
    for kind, label, meaning in (
        ("bytes", "Identical files", "the very file"),
        ("pixels", "Identical pixels", "the same picture in another file"),
        ("near", "Altered copies", "a copy: re-encoded, rescaled, cropped, brightened or mirrored"),
    ):
        images = {pair.second for leak in leaks for pair in leak.pairs if pair.kind == kind}
        yield Headline(label, f"{len(images):,}", f"images of which an earlier split has {meaning}")


def _checked(audit: Audit) -> Iterator[Block]:
    rows = audit.data.table()
    classes = audit.data.dataset.classes
    yield Paragraph(audit.data.dataset.origin)
    yield Table(
        head=("Split", *classes, "Images", "Patients"),
        rows=tuple(
            (
                row.split,
                *(f"{row.counts[name]:,}" for name in classes),
                f"{row.images:,}",
                f"{row.patients:,}",
            )
            for row in rows
        ),
        numeric=frozenset(range(1, len(classes) + 3)),
    )


def _leaks(audit: Audit, pictures: Path) -> Iterator[Block]:
    left_out = audit.leaks.left_out
    shown = [*audit.leaks.pairs] + ([left_out] if left_out.leaks else [])
    yield Table(
        head=("Between", "Patients", "Their images", "Identical files", "Identical pixels", "Altered copies"),
        rows=tuple(
            (
                f"{leak.first} and {leak.second}",
                f"{len(leak.patients):,}",
                f"{leak.images:,}",
                *(f"{leak.count(kind):,}" for kind in ("bytes", "pixels", "near")),
            )
            for leak in shown
        ),
        numeric=frozenset(range(1, 6)),
        note="Images are counted in the second split of a row: those with such a partner in the first.",
    )
    if not audit.leaks.compared:
        yield Paragraph("The images are too small for altered copies to be found.", warning=True)
    if left_out.leaks:
        yield Paragraph(
            f"{len(audit.data.split.excluded):,} images of the training pool show a patient of the test pool, or "
            "are identical to one of its images. The split by patient leaves them out of training, so a run with "
            "it is sound; a run with another split trains on them.",
            warning=True,
        )
    for number, leak in enumerate(shown):
        if leak.leaks:
            yield from _proof(audit, leak, f"leak{number}", pictures)


def _proof(audit: Audit, leak: Leak, name: str, pictures: Path) -> Iterator[Block]:
    """The pairs of one pair of splits: images first, then patients who share no image."""
    records = audit.data.dataset.records
    known = {records[pair.second].patient for pair in leak.pairs}
    in_first, in_second = _first_images(audit, leak.first), _first_images(audit, leak.second)
    by_patient = [(patient, in_first[patient], in_second[patient]) for patient in leak.patients]
    # Some of each kind, since all pairs of one kind look alike.
    kinds: dict[str, list[Pair]] = {kind: [] for kind in ("bytes", "pixels", "near")}
    for pair in leak.pairs:
        kinds[pair.kind].append(pair)
    turns = zip_longest(*kinds.values())
    chosen = list(islice((pair for turn in turns for pair in turn if pair is not None), _SHOWN))
    items = [
        _picture(
            audit, pair.first, pair.second, f"{name}-{row}", _pair_caption(audit, pair, leak), leak, pictures
        )
        for row, pair in enumerate(chosen)
    ]
    others = [entry for entry in by_patient if entry[0] not in known][: max(0, _SHOWN - len(items)) or 2]
    items += [
        _picture(
            audit,
            first,
            second,
            f"{name}-patient-{row}",
            f"Same patient {patient}: {records[first].name} and {records[second].name}.",
            leak,
            pictures,
        )
        for row, (patient, first, second) in enumerate(others)
    ]
    yield Paragraph(
        f"{leak.first} and {leak.second} share {_shared(leak)}; {len(items)} of them as pictures."
    )
    yield Pictures(tuple(items))
    if leak.pairs:
        yield Folded(
            f"All pairs of images, {leak.first} and {leak.second}", (_pair_table(audit, leak.pairs),)
        )
    if leak.patients:
        rows = tuple(
            (patient, records[first].name, records[second].name)
            for patient, first, second in by_patient[:_LISTED]
        )
        more = f", the first {_LISTED}" if len(by_patient) > _LISTED else ""
        yield Folded(
            f"Shared patients, {leak.first} and {leak.second}{more}",
            (Table(("Patient", f"An image in {leak.first}", f"An image in {leak.second}"), rows),),
        )


def _shared(leak: Leak) -> str:
    """Images are counted as in the table, on the second side: one that equals several has several pairs."""
    images, pairs, patients = len({pair.second for pair in leak.pairs}), len(leak.pairs), len(leak.patients)
    said = f"{images:,} {'image' if images == 1 else 'images'} of {leak.second}"
    if pairs != images:
        said += f" (in {pairs:,} pairs: some equal more than one)"
    return f"{said} and {patients:,} {'patient' if patients == 1 else 'patients'}"


def _first_images(audit: Audit, side: str) -> dict[str, int]:
    """The first image of each patient in a split."""
    positions = {**audit.data.split.parts(), "left out": audit.data.split.excluded}[side]
    records = audit.data.dataset.records
    return {records[position].patient: position for position in positions[::-1].tolist()}


def _pair_table(audit: Audit, pairs: tuple[Pair, ...]) -> Table:
    records = audit.data.dataset.records
    return Table(
        head=("What", "First", "Second", "Patients", "Hash bits apart", "Correlation"),
        rows=tuple(
            (
                _KINDS[pair.kind] + (" (mirrored)" if pair.mirrored else ""),
                records[pair.first].name,
                records[pair.second].name,
                _patients(records[pair.first], records[pair.second]),
                f"{pair.bits}",
                f"{pair.correlation:.3f}",
            )
            for pair in pairs[:_LISTED]
        ),
        numeric=frozenset({4, 5}),
        title=f"The first {_LISTED} of {len(pairs):,}" if len(pairs) > _LISTED else "",
    )


def _patients(first: Record, second: Record) -> str:
    return first.patient if first.patient == second.patient else f"{first.patient}, {second.patient}"


def _pair_caption(audit: Audit, pair: Pair, leak: Leak) -> str:
    first, second = (audit.data.dataset.records[position] for position in (pair.first, pair.second))
    said = _KINDS[pair.kind].capitalize() + (" (mirrored)" if pair.mirrored else "")
    said += f": {first.name} ({leak.first}) and {second.name} ({leak.second}), "
    same = first.patient == second.patient
    said += f"patient {first.patient}" if same else f"patients {first.patient} and {second.patient}"
    return f"{said}; {pair.bits} of 255 hash bits apart, correlation {pair.correlation:.3f}."


def _picture(
    audit: Audit, first: int, second: int, name: str, caption: str, leak: Leak, pictures: Path
) -> tuple[str, str]:
    file = f"{name}.png"
    save(
        side_by_side([audit.data.images[first], audit.data.images[second]], [leak.first, leak.second]),
        pictures / file,
    )
    return file, caption


def _shift(audit: Audit, pictures: Path) -> Iterator[Block]:
    if not audit.shift:
        yield Paragraph("There are too few patients on one side to say (at least 20 of a class are needed).")
        return
    yield Paragraph(shift_sentence(audit))
    yield Table(
        head=("Class", "Training", "Test", "AUC", "Random halves: mean", "lowest to highest", "Test images"),
        rows=tuple(
            (
                card.title,
                f"{card.train:,}",
                f"{card.test:,}",
                f"{card.auc:.3f}",
                f"{np.mean(card.halves):.3f}",
                f"{min(card.halves):.3f} to {max(card.halves):.3f}",
                _STRENGTHS[card.strength],
            )
            for card in audit.shift
        ),
        numeric=frozenset({1, 2, 3, 4, 5}),
    )
    save(shift_card(audit.shift), pictures / "shift.png")
    yield Pictures(
        (
            (
                "shift.png",
                "The AUC with which a logistic regression on 32-px thumbnails tells test from training images of "
                "one class, patients apart, and the range of the same for random halves of the patients.",
            ),
        )
    )
    yield Paragraph(
        "How to read it. At an AUC of 0.5 the classifier guesses: training and test images look alike, and a test "
        "result holds for images like the training images. At 0.7 something visible differs (framing, exposure, "
        "age), and part of a difference between validation and test results comes from it. At 0.95 nearly every "
        "test image gives itself away: the test result is one on another kind of images, and no validation result "
        "foretells it."
    )


def _structure(audit: Audit, pictures: Path) -> Iterator[Block]:
    if not audit.blocks:
        return
    for row in audit.blocks:
        yield Paragraph(
            f"The {row.patients:,} {row.split} patients of {row.title} are {row.blocks:,} blocks of numbers; by "
            f"chance there would be about {row.expected:.0f} (z = {row.z:.1f}): {row.verdict}.",
            warning=row.contiguous,
        )
    save(patient_order(audit.blocks), pictures / "order.png")
    yield Pictures(
        (
            (
                "order.png",
                "All patients of a class in the order of their numbers; coloured: those in the split. Wide bars "
                "are blocks, an even pattern is a random draw.",
            ),
        )
    )


def _remarks(audit: Audit, pictures: Path) -> Iterator[Block]:
    groups = audit.data.overlaps.identical
    if groups:
        yield Paragraph(
            f"{len(groups)} groups of files hold identical bytes, wherever they are; "
            f"{sum(group.patients > 1 for group in groups)} of them carry more than one patient key, and "
            f"{sum(group.labels > 1 for group in groups)} more than one class."
        )
        rows = tuple((f"{len(group.names)} files", "  =  ".join(group.names)) for group in groups[:_LISTED])
        yield Folded("Groups of identical files", (Table(("Group", "Names"), rows),))
    for name, pairs in audit.within.items():
        if pairs:
            yield Paragraph(
                f"Within {name}, {len(pairs):,} pairs of equal images belong to two patients: no leak, but the "
                "patient keys are not to be trusted there."
            )
            leak = Leak(name, name, (), 0, pairs)
            yield Pictures(
                tuple(
                    _picture(
                        audit,
                        pair.first,
                        pair.second,
                        f"within-{name}-{row}",
                        _pair_caption(audit, pair, leak),
                        leak,
                        pictures,
                    )
                    for row, pair in enumerate(pairs[: _SHOWN // 2])
                )
            )
            yield Folded(f"All pairs within {name}", (_pair_table(audit, pairs),))
    if audit.data.unreadable:
        yield Folded(
            "Images that cannot be read", (Table(("Image", "Reason"), audit.data.unreadable[:_LISTED]),)
        )


def _method(audit: Audit) -> Iterator[Block]:
    size = audit.data.size
    yield Paragraph(
        "Patients are compared by their keys, files by the hash of their contents, pixels by the decoded grey "
        "levels. Altered copies are searched among all pairs of images by a perceptual hash of 255 bits, of the "
        "image, its mirror image and some crops; candidates are aligned, and their local contrast is correlated. "
        f"From {threshold(size):g} on they count as copies. Two different children reach at most 0.74 among the "
        "5,216 radiographs that this was tuned on; copies that were re-encoded, rescaled, brightened, cropped by "
        "up to 4 % of a side or turned by 2 degrees reach 0.88 and more. Larger crops and turns are not found."
    )
