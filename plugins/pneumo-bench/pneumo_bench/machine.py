"""What the machine can do: its matrix product and memory, the start of a program, and who else is busy on it."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pneumo_bench.rounds import Work
from pneumo_cli.data.decoding import decode
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime.accelerators import (
    peak_memory,
    release_memory,
    reset_peak_memory,
    synchronize,
)
from pneumo_cli.runtime.devices import Device, cpu_name
from pneumo_cli.runtime.load import counters, others
from pneumo_cli.runtime.threads import affine_cores, ordered_map, usable_cores

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BUSY = 0.1
"""Share of the usable cores that others may take before a machine counts as busy."""

_SMALLEST, _LARGEST = 1024, 8192  # rows of the matrices
_LONG_ENOUGH = 0.02  # seconds of a product
_COPIED = 2**27  # bytes
_STARTS = 3
_PATIENCE = 120  # seconds for a program that only starts
_FILES = 32
_MADE = (1200, 1500)  # pixels of a radiograph
_DECODED = 256  # pixels


def facts(device: Device) -> dict[str, Any]:
    """Processor, cores, threads, device and versions."""
    return {
        "processor": cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": str(device.torch),
        "device_name": device.name,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pneumo": version("pneumo-cli"),
    }


def product(device: torch.device, precision: str) -> Work:
    """The product of two square matrices in a precision; its amount is the number of operations.

    The matrices are large enough that one product takes some milliseconds.
    """
    size = _SMALLEST
    while True:
        # Small values: a product of ones overflows fp16.
        first = torch.full((size, size), 0.01, dtype=DTYPES[precision], device=device)
        second = first.clone()
        result = first @ second
        synchronize(device)
        began = time.perf_counter()
        torch.mm(first, second, out=result)
        synchronize(device)
        if size >= _LARGEST or time.perf_counter() - began > _LONG_ENOUGH:
            break
        size *= 2

    def work(repetitions: int) -> float:
        for _ in range(repetitions):
            torch.mm(first, second, out=result)
        return 2.0 * size**3 * repetitions

    return work


def copying(device: torch.device) -> Work:
    """A copy of memory; its amount is the number of bytes read and written."""
    source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)

    def work(repetitions: int) -> float:
        for _ in range(repetitions):
            target.copy_(source)
        return 2.0 * _COPIED * repetitions

    return work


def decoding(images: Path | None) -> tuple[Work, str]:
    """Reading some images and reducing them to 256 px, in threads, and what they are; the amount is their number.

    Args:
        images: a folder or an archive; None: a JPEG of the size of a radiograph, made here.

    Raises:
        DataError: there is no image that can be read.
    """
    contents = [_made()] * _FILES if images is None else list(_contents(images))
    what = f"{len(contents)} of {images}" if images is not None else "a gray JPEG of 1500 x 1200 px"

    def one(data: bytes) -> None:
        decode(data, _DECODED)

    def work(repetitions: int) -> float:
        for _ in range(repetitions):
            with closing(ordered_map(one, contents)) as decoded:
                for _ in decoded:
                    pass
        return float(repetitions * len(contents))

    try:
        one(contents[0])
    except UnreadableImage as error:
        raise DataError(f"the first image of {images} cannot be read: {error}") from None
    return work, f"{what}, to {_DECODED} px"


def _contents(images: Path) -> Iterator[bytes]:
    files = ImageFiles(images)
    names = files.names()[:_FILES]
    if not names:
        raise DataError(f"{images} holds no images")
    for name in names:
        try:
            data = files.read_bytes(name)
            decode(data, _DECODED)
        except UnreadableImage as error:
            raise DataError(f"{name} of {images} cannot be read: {error}") from None
        yield data


def _made() -> bytes:
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (30, 38), dtype=np.uint8)
    height, width = _MADE
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def start_seconds(seconds: float, check: Callable[[], None]) -> dict[str, float | None]:
    """Seconds of ``pneumo --version``, and of a program that imports torch: the median of up to three starts.

    None: it could not be started, or failed.
    """
    commands = {"version": ["-m", "pneumo_cli", "--version"], "torch": ["-c", "import torch"]}
    # -P: a file random.py where the user stands is not part of these programs.
    return {
        name: _started([sys.executable, "-P", *words], seconds, check) for name, words in commands.items()
    }


def _started(command: list[str], seconds: float, check: Callable[[], None]) -> float | None:
    taken: list[float] = []
    while len(taken) < _STARTS and (not taken or sum(taken) < seconds):
        check()
        began = time.perf_counter()
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE)
        except (subprocess.SubprocessError, OSError):
            check()  # Ctrl-C in a terminal ends this program, too
            return None
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken), 3)


def seconds_since_start() -> float | None:
    """How long this process has been running; None: the system does not tell."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        now = float(Path("/proc/uptime").read_text().split()[0])
        return round(now - ticks / os.sysconf("SC_CLK_TCK"), 2)
    except (OSError, ValueError, IndexError):
        return None


class Memory:
    """What is added to the memory in use from its creation on, of an accelerator or of this process.

    In a notebook a process holds what was computed before, and its peak may be an hour old: hence the difference.
    It is that of a peak, as blocks are kept that a run frees; those that were kept before are returned first.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        release_memory(device)
        reset_peak_memory(device)
        with suppress(OSError, AttributeError, TypeError):  # of glibc; Windows takes no None
            ctypes.CDLL(None).malloc_trim(0)
        self._before = self._held()

    def content(self) -> dict[str, int] | None:
        """Bytes: ``before``, and ``added`` since; None: the system does not tell."""
        before, now = self._before, self._held()
        if before is None or now is None:
            return None
        return {"before": before, "added": max(now - before, 0)}

    def _held(self) -> int | None:
        if self._device.type != "cpu":
            return peak_memory(self._device)
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None


class Load:
    """How many of the usable cores others keep busy, from its creation on; known on Linux alone."""

    def __init__(self) -> None:
        self._first = counters(nice=True)

    def content(self) -> dict[str, Any]:
        """``others``, cores that others kept busy, of ``cores``; ``busy``: too many of them to measure well."""
        cores, last = affine_cores(), counters(nice=True)
        if self._first is None or last is None:
            return {"others": None, "cores": cores, "busy": False}
        found = min(others(self._first, last), cores)
        return {"others": round(found, 2), "cores": cores, "busy": found > BUSY * cores}
