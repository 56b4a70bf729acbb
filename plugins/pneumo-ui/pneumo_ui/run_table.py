"""Which runs a list shows: filtered, sorted, groups folded, and cut into pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from pneumo_cli.evaluation.metric_names import in_order, lower_is_better
from pneumo_cli.runs.index import EXPORTED, FINISHED, INTERRUPTED, RUNNING, ListedRun
from pneumo_cli.workflows.run_list import run_columns
from pneumo_ui.run_index import Entry, Snapshot

SIZE = 100
"""Rows of a page."""
STATES = (FINISHED, RUNNING, INTERRUPTED, EXPORTED)
COLUMNS = {
    "name": "Run",
    "state": "State",
    "epochs": "Epochs",
    "metric": "Metric",
    "test": "Test",
    "validation": "Validation",
    "started": "Started",
    "trainer": "Trainer",
    "model": "Model",
    "dataset": "Dataset",
}
"""Titles by what is sorted by. What tells how a run goes comes first: a phone shows no more."""
_DOWN_FIRST = ("started", "epochs", "validation", "test")
_LONGEST = 200  # characters of what is searched for


@dataclass(frozen=True)
class Query:
    """What a list is asked for, as in its address.

    Attributes:
        text: words that a run's name, trainer, model, dataset or state has to contain.
        trainer, dataset, state: only runs with this one; empty: all.
        sort: a key of :data:`COLUMNS`; ``down``: the largest, newest or best first.
        page: from 1.
        unfolded: ids of groups whose runs are shown.
    """

    text: str = ""
    trainer: str = ""
    dataset: str = ""
    state: str = ""
    sort: str = "started"
    down: bool = True
    page: int = 1
    unfolded: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[tuple[str, str]]) -> Query:
        """The query of an address; what it does not know is ignored."""
        pairs = list(values)
        given = {name: value[:_LONGEST] for name, value in pairs}
        page = given.get("page", "")
        sort = given.get("sort", "")
        sort = sort if sort in COLUMNS else "started"
        return cls(
            text=given.get("text", ""),
            trainer=given.get("trainer", ""),
            dataset=given.get("dataset", ""),
            state=given.get("state", ""),
            sort=sort,
            down=given["order"] == "down" if "order" in given else sort in _DOWN_FIRST,
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
            unfolded=tuple(value for name, value in pairs if name == "unfold")[:SIZE],
        )

    def address(self, **changed: Any) -> str:
        """The address of the list with some values changed."""
        other = replace(self, **changed)
        pairs = [(name, getattr(other, name)) for name in ("text", "trainer", "dataset", "state")]
        if (other.sort, other.down) != ("started", True):
            pairs += [("sort", other.sort), ("order", "down" if other.down else "up")]
        pairs += [("page", str(other.page))] if other.page > 1 else []
        pairs += [("unfold", group) for group in other.unfolded]
        written = urlencode([pair for pair in pairs if pair[1]])
        return f"/?{written}" if written else "/"

    def sorted_by(self, column: str) -> str:
        """The address of the list sorted by a column; the other way round if it is already."""
        down = not self.down if self.sort == column else column in _DOWN_FIRST
        return self.address(sort=column, down=down, page=1)

    def toggled(self, group: str) -> str:
        """The address of the list with a group folded or unfolded."""
        folded = tuple(one for one in self.unfolded if one != group)
        return self.address(unfolded=folded if group in self.unfolded else (*folded, group))


@dataclass(frozen=True)
class Row:
    """A line of the list: an entry, and the texts of its cells by column; without a run, only its name.

    Attributes:
        members: of a group, the number of its runs that were found.
        inner: whether it belongs to the group above it.
    """

    entry: Entry
    cells: Mapping[str, str]
    members: int = 0
    inner: bool = False


@dataclass(frozen=True)
class RunTable:
    """A page of the list.

    Attributes:
        rows: of this page.
        matching: the number of runs and groups that meet the conditions.
        all: the number of runs and groups below the folder.
        page, pages: from 1.
        trainers, datasets: that occur.
        problems: folders that cannot be read.
    """

    rows: Sequence[Row]
    matching: int
    all: int
    page: int
    pages: int
    trainers: Sequence[str]
    datasets: Sequence[str]
    problems: Sequence[Entry]


def run_table(snapshot: Snapshot, query: Query) -> RunTable:
    """The page of the list that is asked for."""
    groups = {entry.id for entry in snapshot.entries.values() if entry.is_group and entry.run}
    outer, problems, members = [], [], dict[str, list[Entry]]()
    for entry in snapshot.entries.values():
        if entry.run is None:
            problems.append(entry)
        elif entry.group in groups and entry.group != ".":  # the runs of a group that is itself looked at
            members.setdefault(entry.group, []).append(entry)
        else:
            outer.append((entry, entry.run))
    words = query.text.casefold().split()
    chosen = [entry for entry, run in outer if _meets(run, query, words)]
    chosen.sort(key=lambda entry: entry.id)
    chosen.sort(key=lambda entry: _place(entry, query))
    pages = max(1, -(-len(chosen) // SIZE))
    page = min(query.page, pages)
    rows = []
    for entry in chosen[(page - 1) * SIZE : page * SIZE]:
        below = sorted(members.get(entry.id, ()), key=lambda one: one.id)
        rows.append(_row(entry, members=len(below)))
        if entry.id in query.unfolded:
            rows += [_row(one, inner=True) for one in below]
    return RunTable(
        rows=rows,
        matching=len(chosen),
        all=len(outer),
        page=page,
        pages=pages,
        trainers=sorted({run.trainer for _, run in outer} - {""}),
        datasets=sorted({run.dataset for _, run in outer} - {""}),
        problems=sorted(problems, key=lambda entry: entry.id)[:SIZE],
    )


def _meets(run: ListedRun, query: Query, words: Sequence[str]) -> bool:
    if query.trainer not in ("", run.trainer) or query.dataset not in ("", run.dataset):
        return False
    if query.state not in ("", run.state):
        return False
    text = f"{run.name} {run.trainer} {run.model} {run.dataset} {run.state}".casefold()
    return all(word in text for word in words)


def _place(entry: Entry, query: Query) -> Any:
    """What an entry is sorted by. Runs without a value come last, whichever way they are sorted."""
    run = entry.run
    assert run is not None
    if query.sort in ("validation", "test"):
        # Values of different metrics are not comparable: each metric has its place, as in reports.
        value, metric = run.value(query.sort, run.headline), run.headline
        sign = 1 if lower_is_better(metric) else -1
        order = _METRICS.get(metric, len(_METRICS))
        return (value is None, order, metric, (sign if query.down else -sign) * (value or 0.0))
    if query.sort == "epochs":
        return (False, -run.epochs if query.down else run.epochs)
    text = str({"metric": run.headline}.get(query.sort) or getattr(run, query.sort, ""))
    return (not text, _Reversed(text) if query.down else text)


_METRICS = {name: place for place, name in enumerate(in_order(["auc", "loss", "psnr", "ssim", "mse"]))}


@dataclass(frozen=True)
class _Reversed:
    """A text that is sorted the other way round."""

    text: str

    def __lt__(self, other: _Reversed) -> bool:
        return other.text < self.text


def _row(entry: Entry, members: int = 0, inner: bool = False) -> Row:
    assert entry.run is not None
    columns = run_columns([entry.run])
    cells = {key: columns["run" if key == "name" else key][0] for key in COLUMNS}
    return Row(entry, cells, members, inner)
