"""Two to four runs beside one another: settings that differ, results, and curves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.metric_names import in_order, metric_label
from pneumo_cli.runs.group_index import read_group
from pneumo_cli.runs.index import WHOLE, ListedRun, read_run
from pneumo_cli.workflows.run_list import metric_cell, run_columns
from pneumo_ui.pages import page
from pneumo_ui.run_index import Entry
from pneumo_ui.run_page import entry_of, listed, settings_of
from pneumo_ui.state import State, state_of

if TYPE_CHECKING:
    from starlette.requests import Request

MOST = 4
"""Runs that are compared at once."""
_METRICS = 40
_OTHERS = 200  # runs to choose from
_PLACES = ("output", "cache", "data_home", "data_root")
"""Settings that say where files are, and not how a run was trained."""


_EXPONENT = re.compile(r"e([+-]\d+)")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Compared:
    """A table of texts with a row per name and a column per run."""

    title: str
    rows: Sequence[tuple[str, Sequence[str]]]


def routes() -> Sequence[BaseRoute]:
    """The comparison; without runs it says how to choose them."""
    return [Route("/compare", compare)]


def compare(request: Request) -> Response:
    """The page."""
    state = state_of(request)
    chosen = list(dict.fromkeys(request.query_params.getlist("run")))
    if len(chosen) > MOST:
        raise UsageError(f"Choose two to four different runs: these are {len(chosen)}.")
    entries = [entry_of(request, identity) for identity in chosen]
    if len(entries) < 2:
        return page(request, "choose.html", active="/compare", chosen=entries, others=_others(state, entries))
    runs = [_whole(state, entry) for entry in entries]
    facts = [{title: cells[0] for title, cells in run_columns([run]).items()} for run in runs]
    command = ["pneumo", "compare", *(str(entry.path) for entry in entries)]
    return page(
        request,
        "compare.html",
        active="/compare",
        entries=entries,
        runs=runs,
        facts=facts,
        results=_results(runs),
        settings=_settings(state, entries),
        command=shlex.join(command) if find_spec("pneumo_compare") else "",
    )


def _others(state: State, chosen: Sequence[Entry]) -> list[Entry]:
    """Runs to compare the chosen one with, those of the same dataset and the newest first."""
    if not chosen:
        return []
    dataset = listed(chosen[0]).dataset
    known = ((entry.run, entry) for entry in state.index.snapshot().entries.values() if entry not in chosen)
    found = [(run.dataset == dataset, run.started, entry.id, entry) for run, entry in known if run]
    return [entry for *_, entry in sorted(found, key=lambda one: one[:3], reverse=True)[:_OTHERS]]


def _whole(state: State, entry: Entry) -> ListedRun:
    """A run with all its metrics, which the index does not keep."""
    listed(entry)
    return read_group(entry.path) if entry.is_group else read_run(entry.path, state.folder)


def _results(runs: Sequence[ListedRun]) -> list[Compared]:
    """A table per split that at least one run was evaluated on."""
    tables = []
    for split, title in (("test", "On the test images"), ("validation", "On the validation images")):
        names = {
            name
            for run in runs
            for part in ({split, WHOLE} if split == "test" else {split})
            for name in run.evaluations.get(part, {})
        }
        task = runs[0].task if len({run.task for run in runs}) == 1 else "binary"
        rows = [
            (metric_label(name, task).label, [_value(run, split, name) for run in runs])
            for name in in_order(sorted(names))[:_METRICS]
        ]
        if rows:
            tables.append(Compared(title, rows))
    return tables


def _value(run: ListedRun, split: str, name: str) -> str:
    """A metric as lists show it, with signs and exponents as pages do."""
    shown = metric_cell(run, split, name)
    return _EXPONENT.sub(lambda found: f" × 10{str(int(found[1])).translate(_RAISED)}", shown).replace(
        "-", "−"
    )


def _settings(state: State, entries: Sequence[Entry]) -> Compared:
    """The settings that are not the same in all runs."""
    values = [{one.name: one.value for one in settings_of(state, entry)} for entry in entries]
    names = dict.fromkeys(name for settings in values for name in settings if name not in _PLACES)
    rows = [(name, [settings.get(name, "–") for settings in values]) for name in names]
    return Compared("Settings that differ", [row for row in rows if len(set(row[1])) > 1])
