"""The check of a GPU: runs its parts, writes ``check.json`` and ``check.md``, and prints the table.

Exit code 1 if a part failed; a target that is missed is shown, and is no failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.device.parts import PARTS, Bench, Failed, Figure, Part

_SECONDS = 470.0  # of all parts; the installation before them is not counted


def check(parts: Mapping[str, Part], bench: Bench) -> dict[str, Any]:
    """Run the parts one after the other; one that fails, or for which there is no time, is recorded as such."""
    results: dict[str, Any] = {}
    for name, part in parts.items():
        bench.start_part(part.seconds if not bench.tiny else 300)
        print(f"{name} …", file=sys.stderr, flush=True)
        result: dict[str, Any] = {"figures": {}, "problem": ""}
        try:
            if bench.left < min(15, part.seconds):
                raise Failed("not run: no time left")
            result["figures"] = {key: figure._asdict() for key, figure in part.work(bench).items()}
        except Exception as error:
            result["problem"] = f"{'' if isinstance(error, Failed) else type(error).__name__ + ': '}{error}"
        result["seconds"] = round(time.monotonic() - bench.began, 1)
        results[name] = result
    return results


def table(results: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| part | figure | value | target | |", "| --- | --- | ---: | --- | --- |"]
    for name, result in results.items():
        for key, values in result["figures"].items():
            figure = Figure(**values)
            number = "not measured" if figure.value is None else f"{figure.value:,.4g} {figure.unit}"
            met = {None: "", True: "met", False: "**missed**"}[figure.met]
            lines.append(f"| {name} | {key} | {number} | {figure.target} | {met} |")
        if result["problem"]:
            lines.append(f"| {name} | **failed** | {' '.join(result['problem'].split())} | | |")
    return "\n".join(lines)


def chosen(names: str) -> dict[str, Part]:
    """The parts that ``--only`` names; all if it names none.

    Raises:
        SystemExit: there is no such part.
    """
    wanted = [name for name in names.split(",") if name] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        sys.exit(f"check: there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    return {name: PARTS[name] for name in wanted}


def machine() -> dict[str, str]:
    """Device and versions."""
    import torch

    from pneumo_cli.runtime.devices import available, device_name

    device = available()[0]
    return {
        "kind": device.type,
        "device": device_name(device),
        "torch": f"torch {torch.__version__}",
        "python": f"Python {sys.version.split()[0]}",
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Checks and measures pneumo on a GPU.")
    parser.add_argument("--device", default="auto", help="as of pneumo run; auto is the GPU")
    parser.add_argument("--tiny", action="store_true", help="as small as possible: to try the check itself")
    parser.add_argument("--only", default="", metavar="PART,PART", help="these parts alone")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--out", type=Path, help="folder for the results; default: a temporary one")
    parser.add_argument("--work", type=Path, help="folder for runs and caches; default: a temporary one")
    given = parser.parse_args()
    if given.list:
        for name, part in PARTS.items():
            print(f"{name:<12} {(part.work.__doc__ or '').splitlines()[0]}")
        return 0
    parts, found = chosen(given.only), machine()
    if given.device == "auto" and not given.tiny and found["kind"] == "cpu":
        print("check: there is no GPU here; --device cpu --tiny tries the check itself", file=sys.stderr)
        return 2
    out = given.out or Path(tempfile.mkdtemp(prefix="pneumo-check-"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        ends = time.monotonic() + (_SECONDS if not given.tiny else 3_600)
        bench = Bench(given.device, given.tiny, Path(work), out.resolve(), ends)
        results = check(parts, bench)
    content = {"machine": found, "tiny": given.tiny, "parts": results}
    (out / "check.json").write_text(json.dumps(content, indent=1) + "\n")
    text = ", ".join(found.values()) + "\n\n" + table(results) + "\n"
    (out / "check.md").write_text(text)
    print(text)
    print(f"{out}/check.json, {out}/check.md")
    return 1 if any(result["problem"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
