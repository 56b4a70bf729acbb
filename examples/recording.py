"""Entries of ``docs/results``: what was measured, with command, commit, machine, date and values.

The scripts that measure take ``--record FILE`` (:func:`add_option`) and write their values (:func:`write`). Words
stay as an existing file has them: ``what``, and ``says``, the sentence with the values of which
``tools/results_page.py`` makes the page (``"{seconds:time}; test AUC {auc:.3f}"``).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--record FILE``."""
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the values into this JSON file")


def write(path: Path | None, values: Mapping[str, Any], *, command: Sequence[str] = (), **words: Any) -> None:
    """Write an entry; nothing, if ``path`` is None.

    Args:
        path: the file. ``what`` and ``says`` of an existing one are kept.
        values: numbers and texts by name.
        command: what was run; default: this program with its arguments.
        words: ``what``, ``says`` and further words for a new entry.
    """
    if path is None:
        return
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    says = ", ".join(f"{name} {{{name}}}" for name in values)
    entry = {
        "what": kept.get("what", path.stem),
        "command": shown(command or ["python", *without_record(sys.argv)]),
        "says": kept.get("says", says),
        **{name: word for name, word in kept.items() if name in ("table", "from")},
        **{name: word for name, word in words.items() if word},
        "values": dict(values),
        "commit": commit(),
        "version": importlib.metadata.version("pneumo-cli"),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
    }
    try:
        sentence(entry)
    except (KeyError, ValueError) as problem:  # what was measured is kept
        print(f"{path}: the sentence {entry['says']!r} does not fit the values: {problem}", file=sys.stderr)
        entry["says"] = says
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Sentence(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        text = duration(value) if format_spec == "time" else format(value, format_spec)
        return re.sub(r"e-0(\d)", r"e-\1", text)


def sentence(entry: Mapping[str, Any]) -> str:
    """What an entry says, with its values. ``{seconds:time}`` is a duration, other formats are Python's.

    Raises:
        KeyError: the sentence needs a value that is not there.
        ValueError: a format does not fit its value.
    """
    return str(_Sentence().vformat(entry["says"], (), entry["values"]))


def duration(seconds: float) -> str:
    """``28 s``, ``7 min 36 s``, ``38 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" + (f" {rest} s" if rest else "")


def without_record(arguments: Sequence[str]) -> list[str]:
    """A command line without ``--record FILE``."""
    kept = [word for word in arguments if not word.startswith("--record=")]
    if "--record" in kept:
        at = kept.index("--record")
        del kept[at : at + 2]
    return kept


def shown(command: Sequence[str]) -> str:
    """A command line for readers: files of the repository relative to it, places elsewhere as PATH, PATH2, …"""
    places: dict[str, str] = {}
    words = []
    for word in command:
        path = Path(word).expanduser()
        if path.exists() and (path.is_absolute() or os.sep in word):
            inside = path.resolve().is_relative_to(ROOT)
            number = f"{len(places) + 1}" if places else ""
            name = path.resolve().relative_to(ROOT).as_posix() if inside else f"PATH{number}"
            words.append(name if inside else places.setdefault(str(path.resolve()), name))
        else:
            words.append(word)
    return shlex.join(words)


def commit() -> str:
    """The short hash of the checkout; ``+`` behind it: with changes that are not committed. Empty: no checkout."""
    described = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, cores, GPU and versions; ``busy``: processes beside this one, by the load of the last minute."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": cores,
        "gpu": gpus(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }
    return found | ({"busy": round(load, 1)} if load > 1.5 * cores else {})


def gpus() -> str:
    """The names of NVIDIA's GPUs; empty: there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def processor() -> str:
    """Its name, as the operating system has it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
