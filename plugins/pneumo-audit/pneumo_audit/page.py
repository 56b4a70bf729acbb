"""The page of an audit: the result first, then the details, with images as evidence.

It is made of the same blocks as a run's report (:mod:`pneumo_cli.reports.html`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from pneumo_audit.audit import LEAK_HEAD, Audit, leak_rows, shift_sentence, verdict
from pneumo_audit.figures import patient_order, shift_card, side_by_side
from pneumo_cli.data.container_differences import container_rows
from pneumo_cli.data.leakage import Leak, Pair
from pneumo_cli.data.near_duplicates import threshold
from pneumo_cli.data.records import Record
from pneumo_cli.reports.document import Block, Document, Folded, Headline, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import when
from pneumo_cli.reports.html import render_document
from pneumo_cli.runtime import atomic

PAGE, CONTENT = "audit.html", "audit.json"

_SHOWN = 12  # pairs of images of one pair of splits
_LISTED = 500  # rows of a table
_KINDS = {"bytes": "identical file", "pixels": "identical pixels", "near": "near-duplicate"}
_STRENGTHS = {
    "none": "indistinguishable",
    "slight": "differ slightly",
    "clear": "differ clearly",
    "strong": "out-of-distribution",
}


def write_audit(audit: Audit, folder: Path) -> None:
    """Write ``audit.html``, which needs no other file, and ``audit.json`` into a folder, each atomically.

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
    cautions = [*audit.problems(), *map(_sentence_case, audit.shortcuts())]
    if dataset.synthetic:
        cautions.append("Synthetic data: these images are generated, and no patient is behind them.")
    if data.unreadable:
        cautions.append(f"{len(data.unreadable)} of the images cannot be read and were left out.")
    sections = (
        Section("checked", "What was checked", tuple(_checked(audit))),
        Section("leaks", "Leaks between splits", tuple(_leaks(audit, pictures))),
        Section(
            "shift", "Distribution shift between training and test images", tuple(_shift(audit, pictures))
        ),
        Section("storage", "How the images are stored", tuple(_storage(audit)), folded=True),
        Section("structure", "Order of the patients", tuple(_structure(audit, pictures)), folded=True),
        Section("remarks", "Further findings", tuple(_remarks(audit, pictures)), folded=True),
        Section("method", "Methods", tuple(_method(audit)), folded=True),
    )
    patients = len({record.patient for record in dataset.records})
    return Document(
        title=f"Audit of {dataset.name}",
        byline=f"{when(datetime.now(UTC).isoformat())} · {dataset.place} · fingerprint {data.fingerprint[:12]}",
        cautions=tuple(f"{caution.rstrip('.')}." for caution in cautions),
        summary=(
            f"{len(dataset.records):,} images of {patients:,} patients, split by {data.split.policy}, were "
            "searched for patients and images in two splits, and the test images were compared with the "
            "training images."
        ),
        verdict=verdict(audit),
        headline_title="Found between the splits",
        headlines=tuple(_headlines(audit)),
        sections=tuple(section for section in sections if section.blocks),
        version=version("pneumo-cli"),
    )


def _headlines(audit: Audit) -> Iterator[Headline]:
    leaks = audit.shown_leaks()
    yield Headline(
        "Shared patients",
        f"{len({patient for leak in leaks for patient in leak.patients}):,}",
        "patients with images in two splits",
    )
    for kind, label, meaning in (
        ("bytes", "Identical files", "the same file"),
        ("pixels", "Identical pixels", "the same pixels in another file"),
        ("near", "Near-duplicates", "an altered copy: re-encoded, rescaled, cropped, brightened or flipped"),
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
    shown = audit.shown_leaks()
    yield Table(
        LEAK_HEAD,
        tuple(leak_rows(shown)),
        numeric=frozenset(range(1, 6)),
        note="Images are counted in the second split of a row: those with such a match in the first.",
    )
    if not audit.leaks.compared:
        yield Paragraph("The images are too small to find near-duplicates.", warning=True)
    if audit.leaks.left_out.leaks:
        yield Paragraph(
            f"{len(audit.data.split.excluded):,} images of the training pool show a patient of the test pool, "
            "or are identical to one of its images. The split by patient excludes them, so a run with it "
            "does not leak; a run with another split trains on them.",
            warning=True,
        )
    for number, leak in enumerate(shown):
        if leak.leaks:
            yield from _proof(audit, leak, f"leak{number}", pictures)


def _proof(audit: Audit, leak: Leak, name: str, pictures: Path) -> Iterator[Block]:
    """The evidence for one pair of splits: pairs of images first, then patients without such a pair."""
    records = audit.data.dataset.records
    in_pairs = {records[pair.second].patient for pair in leak.pairs}
    in_first, in_second = _first_images(audit, leak.first), _first_images(audit, leak.second)
    by_patient = [(patient, in_first[patient], in_second[patient]) for patient in leak.patients]
    # Some of each kind, since pairs of one kind look similar.
    kinds: dict[str, list[Pair]] = {kind: [] for kind in ("bytes", "pixels", "near")}
    for pair in leak.pairs:
        kinds[pair.kind].append(pair)
    turns = zip_longest(*kinds.values())
    chosen = list(islice((pair for turn in turns for pair in turn if pair is not None), _SHOWN))
    items = _pair_pictures(audit, chosen, name, leak, pictures)
    others = [entry for entry in by_patient if entry[0] not in in_pairs][: max(0, _SHOWN - len(items)) or 2]
    for row, (patient, first, second) in enumerate(others):
        caption = f"Same patient {patient}: {records[first].name} and {records[second].name}."
        items.append(_picture(audit, (first, second), f"{name}-patient-{row}", caption, leak, pictures))
    yield Paragraph(f"{leak.first} and {leak.second} share {_shared(leak)}; {len(items)} of them are shown.")
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
    """What two splits share. Images are counted in the second one, as in the table: one may be in several pairs."""
    images, pairs, patients = len({pair.second for pair in leak.pairs}), len(leak.pairs), len(leak.patients)
    shared = f"{images:,} {'image' if images == 1 else 'images'} of {leak.second}"
    if pairs != images:
        shared += f" (in {pairs:,} pairs: some match more than one)"
    return f"{shared} and {patients:,} {'patient' if patients == 1 else 'patients'}"


def _first_images(audit: Audit, side: str) -> dict[str, int]:
    """The first image of each patient in a split."""
    positions = {**audit.data.split.parts(), "left out": audit.data.split.excluded}[side]
    records = audit.data.dataset.records
    return {records[position].patient: position for position in positions[::-1].tolist()}


def _pair_table(audit: Audit, pairs: tuple[Pair, ...]) -> Table:
    records = audit.data.dataset.records
    return Table(
        head=("Match", "First", "Second", "Patients", "Different hash bits", "Correlation"),
        rows=tuple(
            (
                _kind(pair),
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


def _kind(pair: Pair) -> str:
    return _KINDS[pair.kind] + (" (horizontally flipped)" if pair.flipped else "")


def _patients(first: Record, second: Record) -> str:
    return first.patient if first.patient == second.patient else f"{first.patient}, {second.patient}"


def _pair_caption(audit: Audit, pair: Pair, leak: Leak) -> str:
    first, second = (audit.data.dataset.records[position] for position in (pair.first, pair.second))
    same = first.patient == second.patient
    patients = f"patient {first.patient}" if same else f"patients {first.patient} and {second.patient}"
    return (
        f"{_kind(pair).capitalize()}: {first.name} ({leak.first}) and {second.name} ({leak.second}), {patients}; "
        f"{pair.bits} of 255 hash bits differ, correlation {pair.correlation:.3f}."
    )


def _pair_pictures(
    audit: Audit, pairs: Iterable[Pair], name: str, leak: Leak, pictures: Path
) -> list[tuple[str, str]]:
    return [
        _picture(
            audit,
            (pair.first, pair.second),
            f"{name}-{row}",
            _pair_caption(audit, pair, leak),
            leak,
            pictures,
        )
        for row, pair in enumerate(pairs)
    ]


def _picture(
    audit: Audit, positions: Iterable[int], name: str, caption: str, leak: Leak, pictures: Path
) -> tuple[str, str]:
    images = [audit.data.gray[position] for position in positions]
    save(side_by_side(images, [leak.first, leak.second]), pictures / f"{name}.png")
    return f"{name}.png", caption


def _shift(audit: Audit, pictures: Path) -> Iterator[Block]:
    if not audit.shift:
        yield Paragraph("Not computed: it needs at least 20 patients of a class on either side.")
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
    caption = (
        "The AUC of a logistic regression on 32-px images that distinguishes test from training images of "
        "one class, with no patient in two folds, and its range for random halves of the patients."
    )
    found = "; ".join(f"{card.title} {card.auc:.3f}, {_STRENGTHS[card.strength]}" for card in audit.shift)
    yield Pictures(
        (("shift.png", caption),), alternatives=(f"AUC of test against training images: {found}.",)
    )
    yield Paragraph(
        "How to read it. At an AUC of 0.5 the classifier guesses: a test result holds for images like the "
        "training images. At 0.7 something visible differs (framing, exposure, age), and explains part of a "
        "difference between validation and test results. At 0.95 nearly every test image is recognized as "
        "one: the test result is that of out-of-distribution images, and validation results do not predict "
        "it."
    )


def _storage(audit: Audit) -> Iterator[Block]:
    if not audit.containers:
        return
    classes = audit.data.dataset.classes
    for sentence in audit.shortcuts():
        yield Paragraph(
            f"{_sentence_case(sentence)}. A model may learn that instead of the disease, and metrics on images of "
            "the same sources do not show it.",
            warning=True,
        )
    yield Table(
        head=("Property", *classes),
        rows=tuple(container_rows(audit.data.dataset, audit.containers)),
        note=f"From the headers of {len(audit.containers):,} files.",
    )
    if audit.differences:
        yield Table(
            head=("Class", "Property", "AUC", "Patients", "Others", "In the class", "In the others"),
            rows=tuple(
                (
                    one.title,
                    one.property,
                    f"{one.auc:.3f}",
                    *(f"{number:,}" for number in one.patients),
                    *one.values,
                )
                for one in audit.differences
            ),
            numeric=frozenset({2, 3, 4}),
            note="AUC: how well the property alone tells the class, over patients (0.5: not at all).",
        )
    else:
        yield Paragraph("Neither format, bit depth, compression nor size tells a class.")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _structure(audit: Audit, pictures: Path) -> Iterator[Block]:
    if not audit.blocks:
        return
    for row in audit.blocks:
        yield Paragraph(
            f"The {row.patients:,} {row.split} patients of {row.title} form {row.blocks:,} blocks of numbers; "
            f"about {row.expected:.0f} are expected by chance (z = {row.z:.1f}): {row.verdict}.",
            warning=row.contiguous,
        )
    save(patient_order(audit.blocks), pictures / "order.png")
    caption = (
        "All patients of a class in the order of their numbers; coloured: those in the split. Wide bars are "
        "blocks, an even pattern is a random sample."
    )
    found = "; ".join(f"{row.split}, {row.title}: {row.verdict}" for row in audit.blocks)
    yield Pictures((("order.png", caption),), alternatives=(f"Order of the patients. {found}.",))


def _remarks(audit: Audit, pictures: Path) -> Iterator[Block]:
    groups = audit.data.overlaps.identical
    if groups:
        yield Paragraph(
            f"{len(groups)} groups of files are identical, in whatever split; "
            f"{sum(group.patients > 1 for group in groups)} of them have more than one patient key, and "
            f"{sum(group.labels > 1 for group in groups)} more than one class."
        )
        rows = tuple((f"{len(group.names)} files", "  =  ".join(group.names)) for group in groups[:_LISTED])
        yield Folded("Groups of identical files", (Table(("Group", "Names"), rows),))
    for name, pairs in audit.within.items():
        if pairs:
            yield Paragraph(
                f"Within {name}, {len(pairs):,} pairs of equal images belong to two patients: no leak, but "
                "the patient keys are not reliable there."
            )
            leak = Leak(name, name, (), 0, pairs)
            items = _pair_pictures(audit, pairs[: _SHOWN // 2], f"within-{name}", leak, pictures)
            yield Pictures(tuple(items))
            yield Folded(f"All pairs within {name}", (_pair_table(audit, pairs),))
    if audit.data.unreadable:
        yield Folded(
            "Images that cannot be read", (Table(("Image", "Reason"), audit.data.unreadable[:_LISTED]),)
        )


def _method(audit: Audit) -> Iterator[Block]:
    size = audit.data.size
    yield Paragraph(
        "Patients are compared by their keys, files by the hash of their contents, pixels by the decoded "
        "gray levels. Near-duplicates are searched for among all pairs of images with a perceptual hash of "
        "255 bits, of the image, its horizontal flip and some crops; candidates are aligned, and their local "
        f"contrast is correlated. From {threshold(size):g} on they count as near-duplicates. Two different "
        "children reach at most 0.74 among the 5,216 radiographs that this was tuned on; copies that were "
        "re-encoded, rescaled, brightened, cropped by up to 4 % of a side or rotated by 2 degrees reach 0.88 "
        "and more. Larger crops and rotations are not found."
    )
