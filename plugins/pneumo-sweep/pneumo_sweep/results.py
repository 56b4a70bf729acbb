"""The results of a sweep, from its trials' folders and database, written as ``sweep.json`` and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runs.report_format import read_report
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import finite, mapping, number, sequence, text
from pneumo_cli.settings.field_types import to_text
from pneumo_cli.settings.parts import flag
from pneumo_sweep.plan import Plan, SweepFolder
from pneumo_sweep.seeds import compare, ranked
from pneumo_sweep.storage import quiet
from pneumo_sweep.study import FAILED, FINISHED, REASON, STATES, Stage

_OF_TEST = ("metrics", "intervals", "images", "test_accesses")
ENOUGH = 8
"""Finished trials from which the importance of settings is estimated."""


@dataclass(frozen=True)
class Results:
    """The results of a sweep.

    Attributes:
        trials: a row per trial: ``trial``, ``state``, ``settings``, ``value`` (None: none), ``interval``,
            ``epochs``, ``best_epoch``, ``seconds``, ``reason``, ``folder``.
        ranking: the numbers of the finished trials, the best first.
        histories: of the trials, by number: a row per epoch, as in ``report.json``.
        importance: of each tried setting, from 0 to 1; empty with too few trials.
        seeds: what the repetitions with further seeds say, with their ``runs``; empty: there are none.
        test: the winner's evaluation on the test images; empty: there is none.
        setup: name and value of what all trials share, for the page: the dataset, images, model.
    """

    trials: Sequence[Mapping[str, Any]]
    ranking: Sequence[int]
    histories: Mapping[int, Sequence[Mapping[str, Any]]]
    importance: Mapping[str, float]
    seeds: Mapping[str, Any]
    setup: Mapping[str, Any]
    test: Mapping[str, Any] = field(default_factory=dict)

    @property
    def winner(self) -> Mapping[str, Any] | None:
        """The row of the best trial."""
        return self.trials[self.ranking[0]] if self.ranking else None

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed, by their folder in the sweep's."""
        rows = [*self.trials, *sequence(self.seeds.get("runs"))]
        return {row["folder"]: row["reason"] for row in rows if row["state"] == FAILED}


def read_results(folder: SweepFolder, plan: Plan, trials: Stage, seeds: Stage | None) -> Results:
    """Collect what the trials have; ``test`` is empty."""
    rows, reports, histories = [], {}, {}
    for trial in trials.trials():
        row, report = _row(folder, plan, trial)
        rows.append(row)
        reports[trial.number] = report
        histories[trial.number] = sequence(report.get("history")) or _epochs(folder.run(row["folder"]))
    ranking = ranked(plan, trials)
    first = reports[ranking[0]] if ranking else {}
    return Results(
        trials=rows,
        ranking=ranking,
        histories=histories,
        importance=_importance(plan, trials),
        seeds=_seeds(folder, plan, seeds),
        setup={name: mapping(first.get(name)) for name in ("dataset", "model", "trainer")},
    )


def _row(folder: SweepFolder, plan: Plan, trial: FrozenTrial) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a trial, and its report."""
    name = text(trial.user_attrs.get("folder"))
    report = report_of(folder.run(name))
    run, monitor = mapping(report.get("run")), mapping(report.get("monitor"))
    intervals = mapping(mapping(report.get("intervals")).get("validation"))
    history = sequence(report.get("history")) or _epochs(folder.run(name))
    state = STATES.get(trial.state, "interrupted")
    settings = mapping(trial.user_attrs.get("settings"))
    return {
        "trial": trial.number,
        "state": state,
        "settings": {k: v for k, v in settings.items() if k != "seed"},
        "value": None if state == FAILED else trial.value,
        "interval": intervals.get(plan.metric),
        "epochs": max(0, len(history) - 1),
        "best_epoch": monitor.get("epoch"),
        "seconds": run.get("seconds") or sum(number(mapping(row).get("seconds")) or 0.0 for row in history),
        "reason": text(trial.user_attrs.get(REASON)),
        "folder": name,
    }, report


def _epochs(folder: RunFolder) -> list[Mapping[str, Any]]:
    """The epochs of a run that has no report, as of one that failed."""
    try:
        rows = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict) and "epoch" in row]


def report_of(folder: RunFolder) -> dict[str, Any]:
    """The content of a run's ``report.json``; empty without one."""
    try:
        return read_report(folder.report_json)
    except (OSError, ValueError):
        return {}


def _importance(plan: Plan, trials: Stage) -> dict[str, float]:
    """The importance of the tried settings for a good result (PED-ANOVA, Watanabe et al., IJCAI 2023).

    The evaluator that needs no library beside Optuna's own.
    """
    done = [one for one in trials.trials() if STATES.get(one.state) == FINISHED]
    if len(done) < ENOUGH or len({one.value for one in done}) < 2 or len(plan.space.dimensions) < 2:
        return {}
    from optuna.importance import (  # takes a second to import
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    with quiet():
        try:
            found = get_param_importances(trials.study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError, optuna.exceptions.OptunaError):
            return {}
    return {name: float(share) for name, share in found.items()}


def _seeds(folder: SweepFolder, plan: Plan, stage: Stage | None) -> dict[str, Any]:
    if stage is None:
        return {}
    runs = []
    for trial in stage.trials():
        row, _ = _row(folder, plan, trial)
        runs.append({**row, "seed": mapping(trial.user_attrs.get("settings")).get("seed")})
    return {**compare(plan, runs), "runs": runs}


def recorded_test(folder: RunFolder) -> dict[str, Any]:
    """The evaluation of a run's best checkpoint on the test images of its own data; empty: there is none."""
    fingerprint = mapping(report_of(folder).get("dataset")).get("fingerprint")
    for file in sorted(folder.evaluations.glob("*.json")):
        found = read_json(file)
        if (found.get("split"), found.get("checkpoint"), found.get("fingerprint")) == (
            "test",
            "best",
            fingerprint,
        ):
            return found
    return {}


def winner_command(plan: Plan, settings: Mapping[str, Any]) -> list[str]:
    """The words of the command that runs the winner's settings."""
    words = list(plan.shown)
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{flag(name).removeprefix('--')}")
        else:
            words += [flag(name), to_text(value)]
    return words


def write_results(folder: SweepFolder, plan: Plan, results: Results) -> None:
    """Write the page, then ``sweep.json``, by which a sweep is finished.

    Raises:
        PneumoError: the folder cannot be written.
    """
    from pneumo_sweep.page import render

    try:
        atomic.write_text(folder.report_html, render(folder, plan, results))
        atomic.write_json(folder.report_json, plain(folder, plan, results))
    except OSError as error:
        raise PneumoError(f"{folder.path} cannot be written: {error.strerror}") from error


def plain(folder: SweepFolder, plan: Plan, results: Results) -> dict[str, Any]:
    """The content of ``sweep.json``."""
    assert results.winner is not None
    content: dict[str, Any] = finite(
        {
            "sweep": folder.path.name,
            "metric": plan.metric,
            "mode": plan.mode,
            "sampler": plan.sampler,
            "prune": plan.prune,
            "seed": plan.seed,
            "space": plan.to_table()["space"],
            "command": list(plan.command),
            "dataset": {
                name: mapping(results.setup.get("dataset")).get(name) for name in ("name", "synthetic")
            },
            "winner": {**results.winner, "command": winner_command(plan, results.winner["settings"])},
            "ranking": list(results.ranking),
            "trials": [dict(row) for row in results.trials],
            "importance": dict(results.importance),
            "seeds": dict(results.seeds),
            "test": {
                k: results.test[k]
                for k in ("metrics", "intervals", "images", "test_accesses")
                if k in results.test
            },
        }
    )
    return content


def read_content(folder: SweepFolder) -> dict[str, Any]:
    """The content of ``sweep.json``.

    Raises:
        PneumoError: it is missing or damaged.
    """
    try:
        content = json.loads(folder.report_json.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "winner" not in content:
            raise ValueError("it has no winner")
    except (OSError, ValueError) as error:
        raise PneumoError(f"{folder.report_json} cannot be read: {error}") from None
    return content
