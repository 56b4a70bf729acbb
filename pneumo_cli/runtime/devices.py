"""Where a run computes, and in which precision.

bf16 pays only where the hardware multiplies it (AVX-512 BF16, AMX, recent CUDA); elsewhere it is emulated and
slower than fp32, so ``auto`` asks the hardware.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.threads import usable_cores

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A torch device, and how it is used.

    Attributes:
        torch: the device that tensors live on.
        precision: ``fp32``, ``bf16`` or ``fp16`` (the last with gradient scaling).
        name: what a person calls it.
    """

    torch: torch.device
    precision: str
    name: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in this precision; exact fp32 is left alone."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=_DTYPES[self.precision])

    @property
    def fused(self) -> bool:
        """Whether torch's fused optimizers run here: one kernel per update, not a dozen."""
        return self.torch.type in ("cpu", "cuda")

    @property
    def memory_format(self) -> Any:
        """The layout of images and convolution weights: the channels last wherever that is faster."""
        return torch.contiguous_format if self.torch.type == "mps" else torch.channels_last


def cpu_name() -> str:
    """The processor's marketing name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 natively."""
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return False


def precisions(device: torch.device) -> dict[str, str]:
    """What each precision is on a device: ``fast``, ``slow`` (emulated) or ``unsupported``."""
    if device.type == "mps":
        return {"fp32": "fast", "bf16": "unsupported", "fp16": "unsupported"}
    bf16 = "fast" if fast_bf16(device) else "slow"
    # A CPU's fp16 convolutions are emulated so slowly that a single batch can take minutes.
    fp16 = "fast" if device.type == "cuda" else "unsupported"
    return {"fp32": "fast", "bf16": bf16, "fp16": fp16}


def available() -> list[torch.device]:
    """Every device of this machine, the preferred one first."""
    found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [*found, torch.device("cpu")]


def device_name(device: torch.device) -> str:
    """What a person calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple GPU ({platform.machine()})"
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'' if threads == 1 else 's'}"


def set_threads(wanted: int) -> None:
    """Compute with this many CPU threads.

    Args:
        wanted: the setting ``threads``; 0 leaves the choice to ``OMP_NUM_THREADS``, or else takes one thread per
            usable core (torch itself counts the machine's, which in a container may be many more).
    """
    if wanted or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(wanted or min(usable_cores(), torch.get_num_threads()))


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that torch frees, for the next tensor of that size.

    glibc gives each freed block of some MiB back to the system and faults it in anew, page by page, for the next
    one. A network's activations are such blocks: inference of an EfficientNet on a CPU is two to three times as
    fast without. Costs memory that stays at its peak. Does nothing where the library has no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**30)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def choose_device(device: str, precision: str, local_rank: int = 0) -> Device:
    """Turn the settings ``device`` and ``precision`` into a device.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        local_rank: this process's number on this machine; each takes the CUDA device of its number.

    Raises:
        UsageError: the machine has no such device, or the device no such precision.
    """
    found = available()
    if device == "auto":
        chosen = found[0]
    else:
        chosen = torch.device(device)
        if chosen.type not in {one.type for one in found}:
            here = ", ".join(str(one) for one in found)
            raise UsageError(f"device = {device!r}: this machine has {here}")
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        index = local_rank if chosen.index is None or local_rank else chosen.index
        if index >= count:
            raise UsageError(f"device cuda:{index} is not there: this machine has {count} CUDA devices")
        chosen = torch.device("cuda", index)
        torch.cuda.set_device(chosen)
    support = precisions(chosen)
    if precision == "auto":
        if support["bf16"] == "fast":
            precision = "bf16"
        else:
            # A GPU of before 2020 has no bf16, and its fp16 units are many times faster than fp32.
            precision = "fp16" if chosen.type == "cuda" else "fp32"
    elif support[precision] == "unsupported":
        usable = " or ".join(name for name, how in support.items() if how != "unsupported")
        raise UsageError(f"precision = {precision!r}: {chosen} computes in {usable}")
    if precision == "fp32":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return Device(chosen, precision, device_name(chosen))
