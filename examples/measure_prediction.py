"""Throughput and peak memory of ``pneumo predict`` for different numbers of files.

    python examples/measure_prediction.py RUN FOLDER [--files 500 5000]

Predicts links to the images of FOLDER, repeated to the given numbers of files, with one process for each
number. Prints images per minute, including start-up, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import recording

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".dcm")


def main() -> None:
    """Measure each number of files, and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--files", type=int, nargs="+", default=[500, 5000], help="numbers of files")
    recording.add_option(parser)
    arguments = parser.parse_args()
    images = sorted(p.absolute() for p in arguments.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not images:
        parser.error(f"there are no images below {arguments.folder}")
    values: dict[str, int] = {}
    for count in arguments.files:
        with tempfile.TemporaryDirectory() as place:
            for number in range(count):
                image = images[number % len(images)]
                (Path(place) / f"{number:07}{image.suffix}").symlink_to(image)
            seconds, peak = measure(arguments.run, Path(place))
        print(f"{count:,} files: {count / seconds * 60:,.0f} images/min ({seconds:.1f} s), {peak:.0f} MiB")
        values |= {
            f"images_per_minute_{count}": round(count / seconds * 60),
            f"mebibytes_{count}": round(peak),
        }
    recording.write(arguments.record, values)


def measure(run: Path, folder: Path) -> tuple[float, float]:
    """Seconds that one process takes, and its peak memory in MiB."""
    command = [sys.executable, "-m", "pneumo_cli", "predict", str(run), str(folder), "--csv"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.monotonic() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
