"""Start-up time of ``pneumo --help`` and ``pneumo list-models``, compared with importing typer alone.

python examples/measure_startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import recording

COMMANDS = {
    "import typer": ["-c", "import typer"],
    "pneumo --help": ["-m", "pneumo_cli", "--help"],
    "pneumo list-models": ["-m", "pneumo_cli", "list-models"],
}


def main() -> None:
    """Run each command 15 times, in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    recording.add_option(parser)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(15):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = medians["import typer"]
    for name, median in medians.items():
        print(f"{name:<20}{1e3 * median:6.0f} ms   {median / base:.2f} x")
    values = {"typer_milliseconds": round(1e3 * base)}
    values |= {
        "help_ratio": round(medians["pneumo --help"] / base, 2),
        "list_models_ratio": round(medians["pneumo list-models"] / base, 2),
    }
    recording.write(arguments.record, values)


if __name__ == "__main__":
    main()
