"""Print docs/results.md: ``docs/results/page.template`` with the entries of the data files beside it.

    python -m tools.results_page > docs/results.md

A line ``[[entries: NAME NAME]]`` of the template becomes a table of entries, ``[[table: NAME]]`` the rows of one,
``[[machines]]`` the list of machines. The scripts in ``examples`` write the entries (``examples/recording.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from examples.recording import sentence
from tools.distributions import ROOT

FOLDER = ROOT / "docs" / "results"
TEMPLATE = FOLDER / "page.template"
Entry = Mapping[str, Any]


def entries() -> dict[str, Entry]:
    """The entries by the names of their files."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def page() -> str:
    """The page."""
    known = entries()
    machines = machines_of(known.values())

    def made(found: re.Match[str]) -> str:
        kind, names = found[1], (found[2] or "").split()
        if kind == "machines":
            return "\n".join(f"{number}. {text}" for number, text in enumerate(machines, 1))
        if kind == "table":
            return table(known[names[0]], machines)
        rows: list[tuple[str, ...]] = [("what", "command", "seen", "with")]
        rows += [row(known[name], machines) for name in names]
        return markdown(rows)

    return re.sub(
        r"^\[\[(entries|table|machines)(?::([\w\- ]+))?\]\]$",
        made,
        TEMPLATE.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )


def row(entry: Entry, machines: list[str]) -> tuple[str, str, str, str]:
    """What, command, seen, and with which version, where."""
    return entry["what"], f"`{entry['command']}`", sentence(entry), origin(entry, machines)


def table(entry: Entry, machines: list[str]) -> str:
    """The command of an entry, with its origin, and its rows below it."""
    columns = entry["table"]
    rows: list[tuple[str, ...]] = [tuple(columns)]
    rows += [tuple(text.format(**one) for text in columns.values()) for one in entry["values"]["rows"]]
    return f"`{entry['command']}` ({origin(entry, machines)}):\n\n{markdown(rows)}"


def origin(entry: Entry, machines: list[str]) -> str:
    """Version, commit and day, and the machine's number; a star where no script wrote the entry."""
    star = r" \*" if entry.get("transcribed") else ""
    number = machines.index(machine_text(entry["machine"])) + 1
    return f"{entry['version']}, {entry['commit']}, {entry['date']}, machine {number}{star}"


def machines_of(known: Iterable[Entry]) -> list[str]:
    """The machines, in the order in which they were used first."""
    by_date = sorted(known, key=lambda entry: (entry["date"], not entry.get("transcribed")))
    return list(dict.fromkeys(machine_text(entry["machine"]) for entry in by_date))


def machine_text(machine: Mapping[str, Any]) -> str:
    """One line on a machine."""
    cores = f"{machine['cores']} cores" if machine["cores"] != 1 else "1 core"
    busy = ", beside other processes" if machine.get("busy") else ""
    return (
        f"{cores} of {machine['processor']}, {machine['gpu'] or 'no GPU'}, Python {machine['python']}, "
        f"torch {machine['torch']}{busy}"
    )


def markdown(rows: list[tuple[str, ...]]) -> str:
    """A table; the first row is its head."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    print(page(), end="")
