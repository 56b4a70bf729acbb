"""The page of a reproduction: every number, table and figure of the source report, compared with ours.

It is made of the same blocks as a run's report (:mod:`pneumo_cli.reports.html`), and is written after each task,
so that finished tasks can be read while the others run. A task without a result has empty cells and the reason.
:mod:`pneumo_reproduce.tasks` shows one task, :mod:`pneumo_reproduce.overview` all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.reports import html, markdown
from pneumo_cli.reports.document import Block, Commands, Document, Paragraph, Section, Table
from pneumo_cli.reports.formatting import count, duration, when
from pneumo_cli.reports.results import as_pictures
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_reproduce.classifiers import (
    EXPECTED,
    Classifiers,
    answer,
    paired_blocks,
    read_classifiers,
    roc_picture,
)
from pneumo_reproduce.generator_claim import GAN, claim_blocks, claim_text
from pneumo_reproduce.overview import (
    draw_overview,
    headlines,
    pairs_of,
    pictures_of,
    results,
    states,
    verdict,
)
from pneumo_reproduce.source_report import SourceReport
from pneumo_reproduce.tasks import blocks_of, figures_of
from pneumo_reproduce.values import NONE, Ours

if TYPE_CHECKING:
    from pneumo_reproduce.reproduction import Outcome, Reproduction

_NOT_COMPARED = ("dataset", "seed", "split_seed", "skip_unreadable")


def write_reproduction(reproduction: Reproduction, source: SourceReport) -> dict[str, Any]:
    """Write ``report.html``, ``report.md`` and ``report.json`` with the results so far.

    Returns:
        the content of ``report.json``.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = reproduction.folder
    outcomes = {name: reproduction.outcome(name) for name in reproduction.names()}
    ours = {
        name: Ours(reproduction.plan.task(name), _report(folder, outcome), outcome.run)
        for name, outcome in outcomes.items()
    }
    draw_overview(folder, source, ours)
    classifiers = read_classifiers(folder, source, ours)
    document = _document(reproduction.plan.content, folder, source, ours, outcomes, classifiers)
    content = _content(reproduction.plan.content, source, ours, outcomes)
    content["answers"] = [*answers(source, ours, classifiers)]
    atomic.write_text(folder / "report.html", html.render_document(document, folder))
    atomic.write_text(folder / "report.md", markdown.render_document(document, folder))
    atomic.write_json(folder / "report.json", content)
    return content


def _report(folder: Path, outcome: Outcome) -> Mapping[str, Any]:
    if outcome.state != "done":
        return {}
    try:
        return read_report(folder / outcome.run / "report.json")
    except (OSError, ValueError):
        return {}


def _content(
    plan: Mapping[str, Any], source: SourceReport, ours: Mapping[str, Ours], outcomes: Mapping[str, Outcome]
) -> dict[str, Any]:
    """The numbers of the page, for programs."""
    tasks = []
    for task in source.tasks:
        mine, outcome = ours[task.name], outcomes[task.name]
        numbers = [
            {
                "group": group.title,
                "label": asked.label,
                "report": asked.value,
                "ours": mine.of(asked),
                "interval": list(ends) if (ends := mine.interval(asked)) else None,
            }
            for group in task.groups
            for asked in group.numbers
        ]
        tasks.append(
            {
                "name": task.name,
                "title": task.title,
                "state": outcome.state,
                "run": outcome.run,
                "reason": outcome.reason,
                "replaced": mine.plan["replaced"],
                "seconds": number(mapping(mine.report.get("run")).get("seconds")),
                "numbers": numbers,
            }
        )
    return {
        "format": 1,
        "pneumo": plan["pneumo"],
        "made": plan["made"],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": plan["preset"],
        "dataset": plan["dataset"],
        "filled": sum(outcome.state == "done" for outcome in outcomes.values()),
        "tasks": tasks,
    }


def _document(
    plan: Mapping[str, Any],
    folder: Path,
    source: SourceReport,
    ours: Mapping[str, Ours],
    outcomes: Mapping[str, Outcome],
    classifiers: Classifiers,
) -> Document:
    done = [name for name, outcome in outcomes.items() if outcome.state == "done"]
    spent = sum(number(mapping(ours[name].report.get("run")).get("seconds")) or 0.0 for name in done)
    data = plan["dataset"]
    other = _other_images(source, data)
    sections = [
        Section(
            "classifiers",
            "The three classifiers",
            (
                *paired_blocks(source, ours, classifiers),
                *results(source, ours, outcomes, other_images=other),
            ),
        ),
        Section(
            "generator",
            "Does a falling generator loss mean success?",
            tuple(claim_blocks(ours[GAN], folder)) if GAN in ours else (),
        ),
        Section("tasks", "The five tasks", tuple(states(source, ours, outcomes))),
        *(
            Section(
                name,
                task.title,
                tuple(blocks_of(task, ours[name], outcomes[name], folder, same_images=not other)),
                folded=True,
            )
            for name, task in zip(source.names(), source.tasks, strict=True)
        ),
        Section("data", "The data", tuple(_data(data, folder, source, ours)), folded=True),
        Section(
            "others",
            "Other results on the official test images",
            tuple(_others(data, source, ours)),
            folded=True,
        ),
        Section("differences", "What differs, and why", tuple(_differences(source, ours)), folded=True),
        Section("again", "How to repeat it", tuple(_again(plan, source, ours, outcomes))),
    ]
    pictures = [*pictures_of(folder, source, ours), *roc_picture(folder, source, classifiers)]
    return Document(
        title=f"The source report, reproduced on {text(data['name'])}",
        byline=" · ".join(
            (when(plan["made"]), f"preset {text(plan['preset'])}", f"{duration(spent)} of runs", folder.name)
        ),
        cautions=tuple(_cautions(source, plan, ours, outcomes)),
        summary=(
            "A course report on paediatric pneumonia (Tarbiat Modares University, autumn 2024) trained three "
            "classifiers, a GAN and an autoencoder on the chest radiographs of Kermany et al. 2018. Its "
            "numbers, tables and figures are compared here with ours from the same task, where possible with "
            "a 95 % interval over patients. All of ours are from real runs, whose own reports are next to "
            "this page."
        ),
        verdict=verdict(source, ours, len(done), other_images=other),
        headline_title="Accuracy on the test images",
        headlines=tuple(headlines(source, ours, other_images=other)),
        sections=tuple(section for section in sections if section.blocks),
        version=plan["pneumo"],
        opening=(as_pictures(pictures),) if pictures else (),
    )


def answers(source: SourceReport, ours: Mapping[str, Ours], classifiers: Classifiers) -> Iterator[str]:
    """What is found about the report's two expectations, where the tasks are finished: a few sentences each."""
    if classifiers.of(*EXPECTED):
        yield answer(source, ours, classifiers)
    if GAN in ours and (claim := claim_text(ours[GAN])):
        yield claim


def _images(data: Mapping[str, Any]) -> int:
    """The number of images of a plan's dataset."""
    return sum(sum(counts.values()) for counts in data["counts"].values())


def _other_images(source: SourceReport, data: Mapping[str, Any]) -> bool:
    """Whether a plan's images are certainly not the report's."""
    test = sum(mapping(data["counts"].get("test")).values())
    return (
        bool(data["synthetic"])
        or _images(data) != source.data["images"]
        or test != source.data["test_images"]
    )


def _cautions(
    source: SourceReport, plan: Mapping[str, Any], ours: Mapping[str, Ours], outcomes: Mapping[str, Outcome]
) -> Iterator[str]:
    data = plan["dataset"]
    images = _images(data)
    if data["synthetic"]:
        yield (
            "Synthetic data: these radiographs are generated, and no patient is behind them. Equal numbers "
            "would be a coincidence; what is reproduced is the procedure."
        )
    else:
        yield (
            f"The {images:,} images are those at {data['place']}. The report has {source.data['images']:,}, 624 of "
            "them test images. Unless they are the same, do not compare test results digit by digit."
        )
    if plan["preset"] != "source":
        yield (
            f"The preset {plan['preset']} is not the report's recipe: the section on differences says what it "
            "changes and why. --preset source follows the recipe."
        )
    for task in plan["tasks"]:
        if task["replaced"]:
            yield f"{task['title']}: {task['replaced']}"
    for name, outcome in outcomes.items():
        if outcome.state != "done":
            yield f"{ours[name].plan['title']} has no result here: {outcome.reason}."


def _data(
    data: Mapping[str, Any], folder: Path, source: SourceReport, ours: Mapping[str, Ours]
) -> Iterator[Block]:
    yield Table(
        tuple(source.data["head"]),
        tuple(tuple(row) for row in source.data["rows"]),
        frozenset(range(1, 5)),
        title="The report's class table",
        note=source.data["origin"],
    )
    classifiers = (ours[task.name] for task in source.tasks if task.kind == "classification")
    shown = next((mine for mine in classifiers if mine.report), None)
    classes = [text(name) for name in data["classes"]]
    if shown is None:
        rows = tuple(
            (
                f"{pool.capitalize()} pool",
                *(f"{value:,}" for value in counts.values()),
                f"{sum(counts.values()):,}",
            )
            for pool, counts in data["counts"].items()
        )
        yield Table(("", *classes, "Images"), rows, frozenset(range(1, len(classes) + 2)), title="Ours")
        return
    split = mapping(mapping(shown.report.get("dataset")).get("split"))
    rows_here = []
    for row in map(mapping, sequence(split.get("rows"))):
        counts = mapping(row.get("counts"))
        ratio = number(row.get("ratio"))
        rows_here.append(
            (
                text(row.get("split")).capitalize(),
                *(count(counts.get(name)) for name in classes),
                count(row.get("images")),
                NONE if ratio is None else f"1 : {ratio:.2f}",
                count(row.get("patients")),
            )
        )
    yield Table(
        ("Split", *classes, "Images", " : ".join(classes), "Patients"),
        tuple(rows_here),
        frozenset(range(1, len(classes) + 4)),
        title=f"Ours: {text(data['name'])}, split by {text(split.get('policy'))}",
        note=text(data["origin"]),
    )
    for figures in source.data_figures:
        yield from figures_of(figures, shown, folder)


def _others(data: Mapping[str, Any], source: SourceReport, ours: Mapping[str, Ours]) -> Iterator[Block]:
    rows = [tuple(row) for row in source.others["rows"]]
    for task in source.tasks:
        pairs = pairs_of(task, ours[task.name])
        if pairs:
            rows.append(
                (f"The source report, {task.title}", f"{pairs['accuracy'].report:.3f}", NONE, "one run")
            )
    for task in source.tasks:
        mine = ours[task.name]
        if not pairs_of(task, mine) or not mine.report:
            continue
        cells = []
        for name in ("accuracy", "auc"):
            ends = interval_text(name, mine.value(f"report.intervals.test.{name}"))
            value = metric_text(name, mine.value(f"report.evaluations.test.{name}"))
            cells.append(f"{value} ({ends})" if ends else value)
        images = count(mine.value("derived.test_images"))
        rows.append((f"Here, {task.title}", *cells, f"{images} test images of {text(data['name'])}"))
    yield Table(
        ("Result", "Accuracy", "ROC AUC", "Note"),
        tuple(rows),
        frozenset({1, 2}),
        note=source.others["note"],
    )
    yield Paragraph(
        "Ours are on the test images of the data used here, and comparable with the others only if those are the "
        "official test images.",
        warning=True,
    )


def _differences(source: SourceReport, ours: Mapping[str, Ours]) -> Iterator[Block]:
    rows = []
    for task in source.tasks:
        plan = ours[task.name].plan
        here, theirs = mapping(plan.get("settings")), mapping(plan.get("source"))
        title = task.title.partition(":")[0].replace(" ", "\N{NO-BREAK SPACE}")
        for name, value in here.items():
            if name in _NOT_COMPARED or name not in theirs or theirs[name] == value:
                continue
            why = source.why.get(name, f"Part of the preset {text(plan.get('preset'))}")
            rows.append((title, name, value_text(theirs[name]), value_text(value), why))
            title = ""
    if rows:
        yield Table(("Task", "Setting", "The report", "Here", "Why"), tuple(rows), frozenset({2, 3}))
    else:
        yield Paragraph("Every setting is the report's.")
    yield Paragraph(
        "What differs with every preset: frozen layers are in eval mode (BatchNorm statistics do not change, "
        "no stochastic depth); arithmetic is bf16 where the hardware supports it; the GAN's last epoch is "
        "kept, and the one with the smallest generator loss is named; random numbers are different, so that "
        "no two runs on two machines are equal to the last digit. Where the report does not state the number "
        "of epochs, the preset source uses 20."
    )
    yield Paragraph(
        "One run with one seed is one sample. With 624 test images the 95 % interval of an accuracy of 0.86 "
        "is about 2.7 points wide on each side, so most differences between single runs are noise."
    )


def _again(
    plan: Mapping[str, Any], source: SourceReport, ours: Mapping[str, Ours], outcomes: Mapping[str, Outcome]
) -> Iterator[Block]:
    flags = " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in plan["flags"].items() if name != "threads"
    )
    yield Commands((f"pneumo reproduce --preset {plan['preset']} {flags}".rstrip(),))
    missing = [task.name for task in source.tasks if outcomes[task.name].state != "done"]
    if missing:
        yield Paragraph(f"To run the missing tasks ({', '.join(missing)}), call it again with this folder:")
        yield Commands(("pneumo reproduce --output FOLDER",))
    runs = {task.title: ours[task.name].run for task in source.tasks if ours[task.name].report}
    if runs:
        links = tuple(f"{run}/report.html" for run in runs.values())
        yield Table(
            ("Task", "The run's own report, next to this page"),
            tuple(zip(runs, links, strict=True)),
            links=links,
        )
