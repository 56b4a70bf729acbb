"""The first section of a reproduction's page: how the classifiers compare, and the state of the five tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_cli.evaluation.metric_names import metric_text
from pneumo_cli.reports.document import Block, Headline, Pictures, Table
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import count, duration
from pneumo_cli.reports.images import inside
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_reproduce.figures import Pair, beside_the_report
from pneumo_reproduce.source_report import SourceReport, Task
from pneumo_reproduce.tasks import OTHER_DATA
from pneumo_reproduce.values import NONE, Ours

if TYPE_CHECKING:
    from pneumo_reproduce.reproduction import Outcome

_METRICS = ("accuracy", "precision", "recall", "f1")
_OVERVIEW = "figures/beside-the-report.png"
STATES = {"done": "done", "failed": "failed", "stopped": "interrupted", "waiting": "not run"}


def verdict(source: SourceReport, ours: Mapping[str, Ours], done: int, *, other_images: bool) -> str:
    """How many tasks have results, and how our accuracy compares with the report's, in two sentences.

    Args:
        done: number of tasks with results.
        other_images: our images are not the report's, so that neither result can be called better.
    """
    state = f"{done} of {len(source.tasks)} tasks have been run."
    compared = [
        pairs["accuracy"] for task in source.tasks if "accuracy" in (pairs := pairs_of(task, ours[task.name]))
    ]
    values = [(pair.report, *pair.interval) for pair in compared if pair.interval is not None]
    counts = {
        "is higher than the report's": sum(report < low for report, low, _ in values),
        "does not differ significantly from the report's": sum(
            low <= report <= high for report, low, high in values
        ),
        "is lower than the report's": sum(report > high for report, _, high in values),
    }
    clauses = [(words, total) for words, total in counts.items() if total]
    if other_images:
        return f"{state} The images are not the report's, so its numbers and ours are not comparable."
    if not clauses:
        return state
    if len(clauses) == 1:
        which = "the one classifier" if len(values) == 1 else f"all {len(values)} classifiers"
        return f"{state} For {which} evaluated, accuracy here {clauses[0][0]}."
    listed = ", ".join(f"{words} for {total}" for words, total in clauses)
    return f"{state} Of {len(values)} classifiers, accuracy here {listed}."


def headlines(source: SourceReport, ours: Mapping[str, Ours], *, other_images: bool) -> Iterator[Headline]:
    """The accuracy of each classifier, with its interval and the report's."""
    where = ", on other images" if other_images else ""
    for task in source.tasks:
        pair = pairs_of(task, ours[task.name]).get("accuracy")
        if pair is None:
            continue
        ends = pair.interval
        yield Headline(
            task.title,
            metric_text("accuracy", pair.ours),
            f"the report has {pair.report:.3f}{where}",
            f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "",
        )


def pairs_of(task: Task, mine: Ours) -> dict[str, Pair]:
    """The test metrics of a classifier, the report's and ours."""
    pairs = {}
    for asked in (asked for group in task.groups for asked in group.numbers):
        if asked.ours.startswith("report.evaluations.test.") and not isinstance(asked.value, str):
            pairs[asked.metric] = Pair(asked.value, number(mine.value(asked.ours)), mine.interval(asked))
    return pairs


def draw_overview(folder: Path, source: SourceReport, ours: Mapping[str, Ours]) -> None:
    """Write the figure of all test metrics into the folder."""
    tasks = {task.title: pairs_of(task, ours[task.name]) for task in source.tasks}
    tasks = {title: pairs for title, pairs in tasks.items() if set(_METRICS) <= set(pairs)}
    (folder / "figures").mkdir(exist_ok=True)
    save(beside_the_report(tasks, _METRICS), folder / _OVERVIEW)


def pictures_of(folder: Path, source: SourceReport, ours: Mapping[str, Ours]) -> Iterator[dict[str, str]]:
    """Of each generative task the run's own first picture, or else its last images, as in ``report["figures"]``."""
    for task in source.tasks:
        mine = ours[task.name]
        if task.kind != "generation" or not mine.report:
            continue
        figures = [mapping(item) for item in sequence(mine.report.get("figures"))]
        first = next((item for item in figures if item.get("group") == "opening"), None) or next(
            (item for item in figures if text(item.get("file")) in _INSTEAD), {}
        )
        file = text(first.get("file")) or _last_samples(folder, mine)
        if inside(folder, f"{mine.run}/{file}") is not None:
            caption = text(first.get("caption")) or "Images that our run generated after its last epoch."
            said = text(first.get("alternative")) or caption
            yield {
                "file": f"{mine.run}/{file}",
                "caption": f"{task.title}. {caption}",
                "alternative": f"{task.title}. {said}",
            }


_INSTEAD = ("figures/reconstructions.png",)
"""First pictures of runs of earlier versions."""


def _last_samples(folder: Path, mine: Ours) -> str:
    files = sorted(
        (folder / mine.run / "samples").glob("epoch-*.png"), key=lambda file: (len(file.name), file)
    )
    return f"samples/{files[-1].name}" if files else ""


def results(
    source: SourceReport, ours: Mapping[str, Ours], outcomes: Mapping[str, Outcome], *, other_images: bool
) -> Iterator[Block]:
    """Final results of the classifiers, each of the report's above ours, and their figure."""
    rows = []
    for task in source.tasks:
        mine, pairs = ours[task.name], pairs_of(task, ours[task.name])
        if not pairs:
            continue
        rows.append((task.title, "the report", *(f"{pairs[name].report:.4f}" for name in _METRICS)))
        cells = [
            metric_text(name, pairs[name].ours) + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")
            for name in _METRICS
            for ends in [pairs[name].interval]
        ]
        model = text(mapping(mine.report.get("model")).get("name"))
        rows.append(("", f"here, {model}" if model else f"here: {STATES[outcomes[task.name].state]}", *cells))
    note = (
        "In brackets: 95 % intervals over patients. Classes are predicted at each run's operating point, by "
        "default a probability of 0.5 as in the report, which has one run, one seed and no interval."
    )
    yield Table(
        ("Task", "", "Accuracy", "Precision", "Recall", "F1"),
        tuple(rows),
        frozenset({2, 3, 4, 5}),
        title="Final results on the test images",
        note=f"{note} {OTHER_DATA}" if other_images else note,
    )
    caption = "Test metrics of the three classifiers: ours with their 95 % intervals, and the report's."
    here = ", ".join(
        f"{task.title} {metric_text('accuracy', pair.ours)} here and {pair.report:.3f} in the report"
        for task in source.tasks
        if (pair := pairs_of(task, ours[task.name]).get("accuracy")) is not None
    )
    yield Pictures(((_OVERVIEW, caption),), alternatives=(f"Accuracy: {here}.",))


def states(
    source: SourceReport, ours: Mapping[str, Ours], outcomes: Mapping[str, Outcome]
) -> Iterator[Block]:
    """The state of each task."""
    yield Table(
        ("Task", "State", "Network", "Training images", "Epochs", "Duration", "Estimate"),
        tuple(_state(task, ours[task.name], outcomes[task.name]) for task in source.tasks),
        frozenset({3, 4, 5, 6}),
    )


def _state(task: Task, mine: Ours, outcome: Outcome) -> tuple[str, ...]:
    return (
        task.title,
        STATES[outcome.state],
        text(mapping(mine.report.get("model")).get("name")) or NONE,
        count(mine.value("derived.train_images")),
        count(mine.value("plan.settings.epochs")),
        duration(mine.value("report.run.seconds")) or NONE,
        duration(mine.plan.get("estimate")) or NONE,
    )
