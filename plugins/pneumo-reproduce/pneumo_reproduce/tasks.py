"""What the page of a reproduction shows of one task: its numbers beside the report's, its tables, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.document import Block, Folded, Paragraph, Pictures, Table
from pneumo_cli.reports.images import inside
from pneumo_cli.reports.results import named_tables
from pneumo_cli.runtime.json_values import mapping, sequence, text
from pneumo_reproduce.source_report import Figures, Group, Task
from pneumo_reproduce.values import Ours, reports_value, verdict

if TYPE_CHECKING:
    from pneumo_reproduce.reproduction import Outcome


def blocks_of(task: Task, mine: Ours, outcome: Outcome, folder: Path) -> Iterator[Block]:
    """One task, in the report's order. Without a finished run our column is empty, and the reason stands above."""
    yield Paragraph(task.summary)
    if outcome.state != "done":
        yield Paragraph(f"There is no result of ours: {outcome.reason}.", warning=True)
    if mine.plan.get("replaced"):
        yield Paragraph(text(mine.plan["replaced"]), warning=True)
    for group in task.groups:
        yield _table(group, mine)
        if group is task.groups[0]:
            yield from _layers(mine)
    if mine.report:
        for figures in task.figures:
            yield from figures_of(figures, mine, folder)
        yield from _judged(mine)
        yield from _caveats(mine)


def figures_of(figures: Figures, mine: Ours, folder: Path) -> Iterator[Block]:
    """Our figures for some of the report's; a sentence where there is none."""
    if figures.epochs:
        items = _samples(figures.epochs, mine, folder)
    else:
        captions = {
            text(item.get("file")): text(item.get("caption"))
            for item in map(mapping, sequence(mine.report.get("figures")))
        }
        items = [
            (f"{mine.run}/{file}", captions.get(file, ""))
            for file in figures.files
            if inside(folder, f"{mine.run}/{file}") is not None
        ]
    yield Paragraph(f"{figures.title}.")
    if items:
        yield Pictures(tuple(items))
    else:
        yield Paragraph("The run of ours has no such figure.", warning=True)


def _samples(epochs: tuple[int, ...], mine: Ours, folder: Path) -> list[tuple[str, str]]:
    """The images kept of those epochs; of the first, a middle and the last one where the run has fewer."""
    kept = {
        int(path.stem.removeprefix("epoch-")): f"{mine.run}/samples/{path.name}"
        for path in (folder / mine.run / "samples").glob("epoch-*.png")
        if path.stem.removeprefix("epoch-").isdigit()
    }
    trained = sorted(epoch for epoch in kept if epoch > 0)
    if not trained:
        return []
    wanted = epochs
    if not set(epochs) <= set(trained):
        wanted = tuple(dict.fromkeys((trained[0], trained[(len(trained) - 1) // 2], trained[-1])))
    total = trained[-1]
    return [
        (
            kept[epoch],
            f"Epoch {epoch} of {total}" + ("." if epoch in epochs else f"; the report shows {theirs}."),
        )
        for epoch, theirs in zip(wanted, epochs, strict=False)
    ]


def _table(group: Group, mine: Ours) -> Table:
    rows, sure, judged = [], False, False
    for asked in group.numbers:
        interval = mine.shown_interval(asked)
        found = mine.value(asked.ours) if asked.ours else None
        word = verdict(asked, found, mine.interval(asked))
        sure, judged = sure or bool(interval), judged or bool(word)
        rows.append([asked.label, reports_value(asked), mine.shown(asked), interval, word])
    head = ["", "The report", "Here", "95 % interval", "Beside the report"]
    kept = [column for column in range(5) if column < 3 or (sure, judged)[column - 3]]
    note = group.note
    if sure:
        note = "“Agrees”: the report's value lies within our interval. " + note
    return Table(
        tuple(head[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in rows),
        frozenset(place for place, column in enumerate(kept) if column in (1, 2, 3)),
        title=group.title,
        note=note.strip(),
    )


def _layers(mine: Ours) -> Iterator[Block]:
    """The tables of layers: of the report's network, and of the run's where that is another or of another size."""
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


def _judged(mine: Ours) -> Iterator[Block]:
    """What pneumo says of made images, which the report judges by eye."""
    judgement: Any = mapping(mine.report.get("summary"))
    tables = tuple(named_tables(judgement.get("tables")))
    notes = tuple(Paragraph(text(note)) for note in sequence(judgement.get("notes")))
    if tables or notes:
        yield Paragraph("The report judges these images by eye and by their loss. In numbers:")
        yield from notes
        yield from tables


def _caveats(mine: Ours) -> Iterator[Block]:
    said = [text(mapping(rule).get("text")) for rule in sequence(mine.report.get("caveats"))]
    said += [text(note) for note in sequence(mine.report.get("notices"))]
    blocks = tuple(Paragraph(sentence) for sentence in dict.fromkeys(said) if sentence)
    if blocks:
        yield Folded("What the run's own report says to keep in mind", blocks)
