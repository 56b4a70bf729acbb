"""Run any command, and write an entry of docs/results with its time and with values of its JSON or of its report.

    python examples/record.py docs/results/demo.json --what "the demo" --value auc=evaluations.test.auc \
        --says "{seconds:time}; test AUC {auc:.3f}" -- pneumo run cnn --preset quick --dataset phantom

A value is a place in what the command prints as JSON, or else in the ``report.json`` that it writes; items of lists
have numbers from 0, and ``#`` is how many there are. An entry that is there already keeps its words and places. The
value ``seconds`` is the time of the command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recording


def main() -> int:
    """Run the command, write the entry, and return the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path, help="the entry")
    parser.add_argument("command", nargs="+", help="after --")
    parser.add_argument("--what", default="", help="what is measured")
    parser.add_argument("--says", default="", help="a sentence with {names} of values")
    parser.add_argument("--value", action="append", default=[], metavar="NAME=PLACE", help="repeatable")
    parser.add_argument("--exit-code", type=int, default=0, help="that is expected")
    arguments = parser.parse_args()
    places = dict(pair.split("=", 1) for pair in arguments.value)
    if not places and arguments.file.exists():
        places = json.loads(arguments.file.read_text(encoding="utf-8")).get("from", {})
    began, started = time.monotonic(), time.time()
    with tempfile.TemporaryFile("w+") as stdout:
        done = subprocess.run(arguments.command, stdout=stdout, text=True, check=False)
        seconds = time.monotonic() - began
        stdout.seek(0)
        printed = stdout.read()
    print(printed, end="")
    if done.returncode != arguments.exit_code:
        print(f"exit code {done.returncode}: nothing is recorded", file=sys.stderr)
        return done.returncode or 1
    content = printed_json(printed) or report_since(arguments.command, started)
    values = {"seconds": round(seconds, 2), **{name: at(content, place) for name, place in places.items()}}
    words = {"what": arguments.what, "says": arguments.says, "from": places}
    recording.write(arguments.file, values, command=arguments.command, **words)
    return 0


def printed_json(text: str) -> Any:
    """What was printed, if it is JSON; else None."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def report_since(command: Sequence[str], started: float) -> Any:
    """The report of the run that the command made, in the folder of its ``--output``; None: there is none."""
    given = list(command)
    output = Path(given[given.index("--output") + 1] if "--output" in given else "runs")
    reports = [path for path in output.glob("*/*/report.json") if path.stat().st_mtime >= started]
    return json.loads(max(reports, key=lambda path: path.stat().st_mtime).read_text()) if reports else None


def at(content: Any, place: str) -> Any:
    """The value at ``evaluations.test.auc``.

    Raises:
        SystemExit: nothing is there.
    """
    for name in place.split("."):
        try:
            if name == "#":
                content = len(content)
            else:
                content = content[int(name) if isinstance(content, list) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SystemExit(f"there is no {place}: nothing is recorded") from None
    return content


if __name__ == "__main__":
    sys.exit(main())
