"""How fast ``pneumo ui`` shows its first page, over a folder of thousands of runs made from a few finished ones.

python examples/measure_page.py RUN... [--runs 5000]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import recording

FILES = ("run.toml", "report.json", "metrics.jsonl", ".lock", "log.txt")


def main() -> None:
    """Make the folder, start the server, and print seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", nargs="+", type=Path, help="finished runs, on the disk of the temporary files")
    parser.add_argument("--runs", type=int, default=5000)
    recording.add_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = many(arguments.run, Path(folder) / "runs", arguments.runs)
        values = measured(made)
    for name, value in values.items():
        print(f"{name:<28}{value}")
    recording.write(arguments.record, values)


def many(runs: Sequence[Path], folder: Path, count: int) -> Path:
    """A folder with ``count`` runs, whose files are hard links to those of ``runs``."""
    for number in range(count):
        source = runs[number % len(runs)]
        run = folder / source.parent.name / f"2026-01-{1 + number % 28:02}-{number:04x}"
        (run / "figures").mkdir(parents=True)
        for name in FILES:
            if (source / name).exists():
                os.link(source / name, run / name)
    return folder


def measured(folder: Path) -> dict[str, float]:
    """Seconds to the first page with runs and until all are read, of later pages, and memory in MB."""
    command = [sys.executable, "-m", "pneumo_cli", "ui", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(word for word in process.stderr.readline().split() if word.startswith("http"))
        try:
            began = time.perf_counter()
            first = _get(address)
            values = {
                "first_page_seconds": time.perf_counter() - began,
                "first_page_rows": first.count('name="run"'),
            }
            while "reading" in (page := _get(address)):
                time.sleep(0.2)
            values["all_read_seconds"] = time.perf_counter() - began
            began = time.perf_counter()
            for query in ("", "?sort=test", "?text=cnn&sort=name", "?page=20"):
                page = _get(address + query)
            values["later_page_seconds"] = (time.perf_counter() - began) / 4
            assert re.search(r"[\d,]+ runs", page)
            values["memory_mb"] = _resident(process.pid) / 2**20
        finally:
            process.terminate()
    return {name: round(value, 3) for name, value in values.items()}


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - of our own server
        content: bytes = answer.read()
    return content.decode()


def _resident(process: int) -> int:
    """Bytes of memory of a process; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    main()
