"""Start-up time of ``pneumo --help`` and ``pneumo list-models``, compared with importing typer alone.

python examples/measure_startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import typer": ["-c", "import typer"],
    "pneumo --help": ["-m", "pneumo_cli", "--help"],
    "pneumo list-models": ["-m", "pneumo_cli", "list-models"],
}


def main() -> None:
    """Run each command 15 times, in turn, and print medians and ratios."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "").parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(15):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    base = statistics.median(seconds["import typer"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<20}{1e3 * median:6.0f} ms   {median / base:.2f} x")


if __name__ == "__main__":
    main()
