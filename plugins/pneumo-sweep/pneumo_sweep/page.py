"""The page of a sweep: the winner and its command first, then curves, settings, further seeds, and all trials.

It is made of the same blocks as a run's report (:mod:`pneumo_cli.reports.html`).
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text
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
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.formatting import count, duration, when
from pneumo_cli.reports.html import render_document
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_sweep import figures
from pneumo_sweep.plan import Plan, SweepFolder
from pneumo_sweep.results import ENOUGH, Results, plain
from pneumo_sweep.space import Choices
from pneumo_sweep.study import FAILED, FINISHED
from pneumo_sweep.wording import OPTIMISTIC, seeds_sentence, test_sentence, winner_sentence

_NEXT = (("predict", " IMAGE.jpeg"), ("evaluate", " --on validation"), ("export", ""))
"""What can be done with the winner's run."""
_FOLDED = 30
"""Trials above which those behind are folded."""


def render(folder: SweepFolder, plan: Plan, results: Results) -> str:
    """The page as one HTML file that needs no other."""
    with tempfile.TemporaryDirectory(prefix="pneumo-sweep-") as pictures:
        return render_document(document(folder, plan, results, Path(pictures)), Path(pictures))


def document(folder: SweepFolder, plan: Plan, results: Results, pictures: Path) -> Document:
    """The content of the page; its figures are written into the folder ``pictures``."""
    content = plain(folder, plan, results)
    trainer = text(mapping(results.setup.get("trainer")).get("name"))
    sections = (
        Section("command", "The winner's settings", tuple(_commands(folder, plan, content))),
        Section("curves", "Training of all trials", tuple(_curves(plan, results, pictures))),
        Section("settings", "What the settings do", tuple(_settings(plan, results, pictures))),
        Section("seeds", "Is the lead more than chance?", tuple(_seeds(plan, results))),
        Section("trials", "All trials", tuple(_trials(plan, results))),
        Section("method", "Methods", tuple(_method(plan, results)), folded=True),
    )
    tried = ", ".join(one.name for one in plan.space.dimensions)
    return Document(
        title=f"Sweep of {trainer}: {tried}",
        byline=f"{when(datetime.now(UTC).isoformat(timespec='seconds'))} · {folder.path.name}",
        cautions=tuple(_cautions(plan, content)),
        summary=_summary(plan, results),
        verdict=f"{winner_sentence(content).removesuffix(' ' + OPTIMISTIC)} {test_sentence(content)}",
        headline_title="The winner",
        headlines=tuple(_headlines(plan, results)),
        sections=tuple(section for section in sections if section.blocks),
        version=version("pneumo-cli"),
    )


def _cautions(plan: Plan, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"{OPTIMISTIC} Only what is measured on other images, such as the test images, is not."
    if mapping(content["dataset"]).get("synthetic"):
        yield "The images are synthetic: which settings are best here need not be best on radiographs."
    states = [row["state"] for row in content["trials"]]
    if failed := states.count(FAILED):
        yield f"{failed} of {len(states)} trials failed; the table has the reasons."
    if plan.prune:
        yield (
            f"Trials were stopped early ({plan.prune}) when others were ahead at that time. With several workers "
            "another time may prune others."
        )
    if not plan.with_seeds and states.count(FINISHED) > 1:
        yield "All trials have one seed. Whether a small lead is more than chance, --with-seeds 3 would say."


def _summary(plan: Plan, results: Results) -> str:
    data, model = mapping(results.setup.get("dataset")), mapping(results.setup.get("model"))
    rows = {
        text(row.get("split")): row.get("images") for row in sequence(mapping(data.get("split")).get("rows"))
    }
    return (
        f"The model {text(model.get('name'))} was trained on {text(data.get('name'))} with {len(results.trials)} "
        f"choices of {', '.join(one.name for one in plan.space.dimensions)}, each on the same "
        f"{count(rows.get('train'))} training images, and compared by the "
        f"{metric_label(plan.metric).label} on the same {count(rows.get('validation'))} validation images."
    )


def _headlines(plan: Plan, results: Results) -> Iterator[Headline]:
    winner, metric = results.winner, plan.metric
    assert winner is not None
    label = metric_label(metric).label
    yield Headline(
        f"{label}, validation",
        metric_text(metric, winner["value"]),
        f"trial {winner['trial']}, epoch {winner['best_epoch']}; optimistic, as it was chosen by it",
        interval_text(metric, winner["interval"], " to "),
    )
    test = mapping(results.test.get("metrics"))
    if metric in test:
        yield Headline(
            f"{label}, test",
            metric_text(metric, test[metric]),
            "on images that no choice was made by",
            interval_text(metric, mapping(results.test.get("intervals")).get(metric), " to "),
        )
    if len(results.ranking) > 1:
        second = results.trials[results.ranking[1]]
        yield Headline(
            "Lead on the runner-up",
            _lead(metric, abs(winner["value"] - second["value"])),
            f"trial {second['trial']}, with the same seed",
        )
    if results.seeds.get("interval"):
        yield Headline(
            "Lead with further seeds",
            _lead(metric, results.seeds["difference"]),
            f"mean of {len(results.seeds['seeds'])} paired differences",
            interval_text(metric, results.seeds["interval"], " to "),
        )


def _lead(metric: str, value: float) -> str:
    """A difference of two values in the digits of their metric.

    >>> _lead("auc", 0.000914), _lead("auc", -0.0121)
    ('+0.001', '-0.012')
    """
    label = metric_label(metric)
    return f"{value * label.scale:+.{label.digits}f}"


def _commands(folder: SweepFolder, plan: Plan, content: Mapping[str, Any]) -> Iterator[Block]:
    winner = content["winner"]
    yield Table(
        ("Setting", "Value"),
        tuple((name, text(value)) for name, value in winner["settings"].items()),
        frozenset({1}),
    )
    yield Commands((shlex.join(winner["command"]),))
    run = folder.path / winner["folder"]
    yield Folded(
        "Its files",
        (
            Paragraph(f"The winner's run is {run}:"),
            Commands(tuple(f"pneumo {verb} {shlex.quote(str(run))}{more}" for verb, more in _NEXT)),
        ),
    )


def _curves(plan: Plan, results: Results, pictures: Path) -> Iterator[Block]:
    setting = _leading(plan, results)
    best = results.ranking[0]
    drawn = [
        figures.Curve(results.histories[row["trial"]], row["settings"][setting], row["trial"] == best)
        for row in results.trials
        if results.histories[row["trial"]] and setting in row["settings"]
    ]
    panels = [("train", "loss"), ("validation", "loss")]
    panels += [("validation", plan.metric)] if plan.metric != "loss" else []
    save(figures.curves(drawn, setting, panels), pictures / "curves.png")
    caption = (
        f"Training and validation by epoch; colors are values of {setting}, the thick line is the winner."
    )
    winner = results.trials[best]
    yield Pictures(
        (("curves.png", f"{caption} Epoch 0 is untrained; a loss far above the others is cut."),),
        alternatives=(
            f"Losses and {metric_label(plan.metric).label} of {len(drawn)} trials by epoch. The winner reaches "
            f"{metric_text(plan.metric, winner['value'])} in epoch {winner['best_epoch']}.",
        ),
    )


def _leading(plan: Plan, results: Results) -> str:
    """The setting that matters most, or the first one."""
    names = [one.name for one in plan.space.dimensions]
    return max(results.importance, key=results.importance.__getitem__, default=names[0])


def _settings(plan: Plan, results: Results, pictures: Path) -> Iterator[Block]:
    rows = [row for row in results.trials if row["value"] is not None]
    shown = plan.space.dimensions[: figures.MOST_SETTINGS]
    names = {one.name: isinstance(one, Choices) for one in shown}
    scatter = figures.settings_scatter(rows, names, plan.metric, results.ranking[0])
    save(scatter, pictures / "settings.png")
    values = [row["value"] for row in rows]
    yield Pictures(
        (("settings.png", "The validation metric of each trial against each tried setting."),),
        alternatives=(
            f"Validation {metric_label(plan.metric).label} of {len(rows)} trials against {', '.join(names)}: from "
            f"{metric_text(plan.metric, min(values))} to {metric_text(plan.metric, max(values))}.",
        ),
    )
    if results.importance:
        save(figures.importance_bars(results.importance), pictures / "importance.png")
        caption = "Importance of each setting for a result among the best (PED-ANOVA, Watanabe et al. 2023)."
        shares = ", ".join(f"{name} {value:.2f}" for name, value in results.importance.items())
        yield Pictures((("importance.png", caption),), alternatives=(f"Importance: {shares}.",))
        if len(results.ranking) < 4 * ENOUGH:
            yield Paragraph(f"From {len(results.ranking)} finished trials, importance is a rough estimate.")
    elif len(names) > 1:
        yield Paragraph(f"The importance of settings is estimated from {ENOUGH} finished trials on.")


def _seeds(plan: Plan, results: Results) -> Iterator[Block]:
    found = results.seeds
    if not found:
        return
    yield Paragraph(seeds_sentence({"seeds": found}))
    rows = [
        (
            str(seed),
            metric_text(plan.metric, first),
            metric_text(plan.metric, second),
            _lead(plan.metric, plan.sign * (first - second)),
        )
        for seed, first, second in zip(found["seeds"], found["winner"], found["runner_up"], strict=True)
    ]
    if rows:
        label = metric_label(plan.metric).label
        yield Table(
            ("Seed", "Winner", "Runner-up", "Lead of the winner"),
            tuple(rows),
            frozenset({0, 1, 2, 3}),
            title=f"Validation {label} with further seeds",
            note="Both settings were trained with the same seeds. The interval is Student's t of the paired leads; "
            "it covers the chance of initial weights, order and augmentation, not that of the images.",
        )


def _trials(plan: Plan, results: Results) -> Iterator[Block]:
    names = [one.name for one in plan.space.dimensions]
    order = [results.trials[place] for place in results.ranking]
    order += [row for row in results.trials if row["state"] != FINISHED]
    head = (
        "Trial",
        *names,
        f"Validation {metric_label(plan.metric).label}",
        "Epochs",
        "Best",
        "Time",
        "State",
    )
    rows = [
        (
            str(row["trial"]),
            *(text(row["settings"].get(name)) for name in names),
            _value(plan, row),
            count(row["epochs"]),
            "–" if number(row["best_epoch"]) is None else count(row["best_epoch"]),
            duration(row["seconds"]) or "–",
            row["state"] + (f": {row['reason']}" if row["reason"] else ""),
        )
        for row in order
    ]
    numeric = frozenset({0, *range(1, len(names) + 5)})
    links = tuple(
        f"{row['folder']}/report.html" if plan.reports and row["state"] != FAILED else "" for row in order
    )
    top = slice(_FOLDED) if len(rows) > _FOLDED else slice(None)
    yield Table(head, tuple(rows[top]), numeric, marked=0, links=links[top] if plan.reports else ())
    if len(rows) > _FOLDED:
        rest = Table(head, tuple(rows[_FOLDED:]), numeric, links=links[_FOLDED:] if plan.reports else ())
        yield Folded(f"{len(rows) - _FOLDED} more trials", (rest,))


def _value(plan: Plan, row: Mapping[str, Any]) -> str:
    ends = interval_text(plan.metric, row["interval"])
    return metric_text(plan.metric, row["value"]) + (
        f" ({ends})" if ends and row["value"] is not None else ""
    )


def _method(plan: Plan, results: Results) -> Iterator[Block]:
    draws = "The settings of a trial depend on the seed of the sweep and the trial's number alone"
    if plan.space.search and plan.sampler == "tpe":
        draws = "Settings were drawn by Optuna's TPE, which depends on the trials that were finished before"
    yield Paragraph(
        f"{draws}. Every trial is an ordinary run with seed {plan.seed}, without the test images. A trial's value "
        f"is the validation {metric_label(plan.metric).label} of its best checkpoint; of equal ones the smaller "
        "number wins. In brackets: 95 % intervals over patients; all trials have the same patients, so do not "
        "conclude from their overlap whether two differ."
    )
    if results.test:
        yield Paragraph("The winner alone was evaluated on the test images, once, after it had been chosen.")
    rows = []
    for one in plan.space.dimensions:
        kind = "set" if one in plan.space.grid else "search"
        if isinstance(one, Choices):
            rows.append((one.name, kind, ", ".join(map(str, one.values))))
        else:
            rows.append((one.name, kind, f"{'log:' if one.log else ''}{one.low}..{one.high}"))
    yield Table(("Setting", "Tried by", "Values"), tuple(rows), title="What was tried")
    yield Folded("The command of the sweep", (Commands((shlex.join(plan.command),)),))
