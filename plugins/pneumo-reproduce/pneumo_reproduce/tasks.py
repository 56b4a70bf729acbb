"""One task on the page of a reproduction: its numbers compared with the report's, its tables, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.document import Block, Folded, Paragraph, Table
from pneumo_cli.reports.images import inside
from pneumo_cli.reports.results import as_pictures, named_tables
from pneumo_cli.runtime.json_values import mapping, sequence, text
from pneumo_reproduce.source_report import Figures, Group, Task
from pneumo_reproduce.values import Ours, reports_value, verdict

if TYPE_CHECKING:
    from pneumo_reproduce.reproduction import Outcome

OTHER_DATA = "Other images than the report's: side by side, and not comparable."
"""Below numbers of both where ours are of other images."""


def blocks_of(
    task: Task, mine: Ours, outcome: Outcome, folder: Path, *, same_images: bool
) -> Iterator[Block]:
    """One task: its results, then what can be opened. Without a finished run our column is empty.

    Args:
        same_images: our images are the report's, so that metrics can be compared.
    """
    yield Paragraph(task.summary)
    if outcome.state != "done":
        yield Paragraph(f"We have no result: {outcome.reason}.", warning=True)
    if mine.plan.get("replaced"):
        yield Paragraph(text(mine.plan["replaced"]), warning=True)
    yield from (_table(group, mine, same_images) for group in task.groups if group.result)
    if mine.report:
        for figures in task.figures:
            if not figures.folded:
                yield from figures_of(figures, mine, folder)
        yield from _notes(mine)
    for group in task.groups:
        if not group.result:
            table = replace(_table(group, mine, same_images), title="")
            own = tuple(_layers(mine)) if group is task.groups[0] else ()
            yield Folded(group.title, (table, *own))
    if mine.report:
        for figures in task.figures:
            if figures.folded:
                yield from figures_of(figures, mine, folder)
        yield from _measures(mine)
        yield from _caveats(mine)


def figures_of(figures: Figures, mine: Ours, folder: Path) -> Iterator[Block]:
    """Our figures for some of the report's; a sentence if there is none."""
    own = {text(item.get("file")): item for item in map(mapping, sequence(mine.report.get("figures")))}
    if figures.epochs:
        items = _samples(figures.epochs, mine, folder)
    else:
        items = [
            {**own.get(file, {}), "file": f"{mine.run}/{file}"}
            for file in figures.files
            if inside(folder, f"{mine.run}/{file}") is not None
        ]
    blocks: tuple[Block, ...] = (Paragraph("Our run has no such figure.", warning=True),)
    if items:
        blocks = (as_pictures(items, compact=len(items) > 1),)
    if figures.folded:
        yield Folded(figures.title, blocks)
    else:
        yield Paragraph(f"{figures.title}.")
        yield from blocks


def _samples(epochs: tuple[int, ...], mine: Ours, folder: Path) -> list[dict[str, Any]]:
    """The samples of those epochs; of the first, a middle and the last one if the run has fewer epochs."""
    files = {
        int(path.stem.removeprefix("epoch-")): f"{mine.run}/samples/{path.name}"
        for path in (folder / mine.run / "samples").glob("epoch-*.png")
        if path.stem.removeprefix("epoch-").isdigit()
    }
    trained = sorted(epoch for epoch in files if epoch > 0)
    if not trained:
        return []
    shown = epochs
    if not set(epochs) <= set(trained):
        shown = tuple(dict.fromkeys((trained[0], trained[(len(trained) - 1) // 2], trained[-1])))
    return [
        {
            "file": files[epoch],
            "caption": f"Epoch {epoch} of {trained[-1]}"
            + ("." if epoch in epochs else f"; the report shows {theirs}."),
        }
        for epoch, theirs in zip(shown, epochs, strict=False)
    ]


def _table(group: Group, mine: Ours, same_images: bool) -> Table:
    rows = [
        (
            asked.label,
            reports_value(asked),
            mine.shown(asked),
            mine.shown_interval(asked),
            verdict(asked, mine.of(asked), mine.interval(asked), same_images=same_images),
        )
        for asked in group.numbers
    ]
    head = ("", "The report", "Here", "95 % interval", "Compared with the report")
    kept = [column for column in range(5) if column < 3 or any(row[column] for row in rows)]
    note = ""
    if 3 in kept:
        note = "“Agrees”: the report's value is within our interval. " if same_images else f"{OTHER_DATA} "
    return Table(
        tuple(head[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in rows),
        frozenset(place for place, column in enumerate(kept) if column in (1, 2, 3)),
        title=group.title,
        note=(note + group.note).strip(),
    )


def _layers(mine: Ours) -> Iterator[Block]:
    """The layer tables: of the report's network, and of the run's, if it or its image size is different."""
    layers = mapping(mine.plan.get("layers"))
    source, here = mapping(layers.get("source")), mapping(layers.get("here"))
    for table, whose in ((source, "the report's network"), (here, "the network of this run")):
        rows = sequence(table.get("rows"))
        if not rows or (table is here and table == source):
            continue
        shape = " x ".join(str(size) for size in sequence(table.get("input")))
        yield Folded(
            f"Layers of {whose}: {text(table.get('model'))}, {len(rows)} rows, input {shape}",
            (
                Table(
                    ("Layer", "Output shape", "Parameters"),
                    tuple((name, str([*out]), f"{parameters:,}") for name, out, parameters in rows),
                    frozenset({1, 2}),
                ),
            ),
        )


def _notes(mine: Ours) -> Iterator[Block]:
    """pneumo's evaluation of generated images in sentences."""
    notes = [text(note) for note in sequence(mapping(mine.report.get("summary")).get("notes"))]
    if notes:
        yield Paragraph(
            f"The report evaluates these images by eye and by their loss. Measured: {' '.join(notes)}"
        )


def _measures(mine: Ours) -> Iterator[Block]:
    """The same in tables."""
    tables = tuple(named_tables(mapping(mine.report.get("summary")).get("tables")))
    if tables:
        yield Folded("The images, measured", tables)


def _caveats(mine: Ours) -> Iterator[Block]:
    texts = [text(mapping(rule).get("text")) for rule in sequence(mine.report.get("caveats"))]
    texts += [text(note) for note in sequence(mine.report.get("notices"))]
    blocks = tuple(Paragraph(sentence) for sentence in dict.fromkeys(texts) if sentence)
    if blocks:
        yield Folded("Caveats of the run's own report", blocks)
