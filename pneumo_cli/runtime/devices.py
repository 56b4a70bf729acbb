"""The device of a run and its precision.

bf16 is faster only where the hardware supports it (AVX-512 BF16, AMX, recent CUDA, XPU); elsewhere it is emulated
and slower than fp32, so ``auto`` checks the hardware.
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
from pneumo_cli.runtime.accelerators import Hardware, make_current
from pneumo_cli.runtime.threads import limit_threads, usable_cores

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A torch device and the precision used on it.

    Attributes:
        torch: the device that holds the tensors.
        precision: ``fp32``, ``bf16`` or ``fp16`` (the last with gradient scaling).
        name: readable name.
    """

    torch: torch.device
    precision: str
    name: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context that computes in this precision; does nothing for fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=_DTYPES[self.precision])

    @property
    def fused(self) -> bool:
        """Whether torch's fused optimizers run here: one kernel per update instead of a dozen."""
        return self.torch.type in ("cpu", "cuda", "xpu")

    @property
    def memory_format(self) -> Any:
        """Memory layout of images and convolution weights: channels last where that is faster."""
        return torch.contiguous_format if self.torch.type == "mps" else torch.channels_last


def cpu_name() -> str:
    """The processor's marketing name, where the system provides it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fast_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bf16 natively; of MPS, whether the system can at all."""
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_bfloat16_conversions)
    return torch.backends.mps.is_macos_or_newer(14, 0)


def precisions(device: torch.device) -> dict[str, str]:
    """Support of each precision on a device of this machine, see :func:`supported`."""
    doubles = device.type == "xpu" and bool(torch.xpu.get_device_properties(device).has_fp64)
    return supported(device.type, fast_bf16(device), doubles)


def supported(device_type: str, bf16: bool, doubles: bool = False) -> dict[str, str]:
    """Support of each precision: ``fast``, ``slow`` (emulated), ``untried`` or ``unsupported``.

    What is ``untried`` torch supports, and nobody has measured with pneumo; ``auto`` does not choose it.

    Args:
        bf16: the result of :func:`fast_bf16`.
        doubles: whether an XPU computes in double precision, as torch does to scale the loss of fp16.
    """
    if device_type == "mps":
        return {"fp32": "fast", "bf16": "untried" if bf16 else "unsupported", "fp16": "unsupported"}
    # CPUs emulate fp16 convolutions so slowly that one batch can take minutes.
    fp16 = {"cuda": "fast", "xpu": "untried" if doubles else "unsupported"}.get(device_type, "unsupported")
    return {"fp32": "fast", "bf16": "fast" if bf16 else "slow", "fp16": fp16}


def available() -> list[torch.device]:
    """All devices of this machine, the preferred one first."""
    return Hardware.here().devices


def device_name(device: torch.device) -> str:
    """Readable name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return torch.xpu.get_device_name(device)
    if device.type == "mps":
        return f"Apple GPU ({platform.machine()})"
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'' if threads == 1 else 's'}"


def set_threads(wanted: int) -> None:
    """Set the number of CPU threads, of torch and of reading and decoding.

    Args:
        wanted: the setting ``threads``; 0: as ``OMP_NUM_THREADS`` says, else one per usable core (torch counts all
            cores of the machine, which may be many more than a container may use).
    """
    limit_threads(wanted)
    if wanted or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(wanted or min(usable_cores(), torch.get_num_threads()))


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that torch frees, for the next tensor of that size.

    glibc returns each freed block of some MiB to the system, and the next one is faulted in again page by page.
    Activations are such blocks: EfficientNet inference on a CPU is two to three times as fast with this. The cost:
    memory use stays at its peak. Does nothing where the library lacks these settings.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows takes no None
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**30)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def choose_device(device: str, precision: str, local_rank: int = 0, deterministic: bool = False) -> Device:
    """Choose the device from the settings ``device`` and ``precision``.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``xpu``, ``xpu:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        local_rank: rank of this process on this machine, which is also the index of its CUDA or XPU device.
        deterministic: let torch compute the same bits each time, and raise an error where it cannot.

    Raises:
        UsageError: the machine has no such device, or the device does not support the precision.
    """
    if deterministic:
        # Read by cuBLAS when it is first used; without it torch refuses matrix products on CUDA.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    chosen = Hardware.here().choose(device, local_rank)
    make_current(chosen)
    support = precisions(chosen)
    if precision == "auto":
        # GPUs from before 2020 lack bf16, and their fp16 units are many times faster than fp32.
        fallback = "fp16" if chosen.type == "cuda" else "fp32"
        precision = "bf16" if support["bf16"] == "fast" else fallback
    elif support[precision] == "unsupported":
        usable = " or ".join(name for name, how in support.items() if how != "unsupported")
        raise UsageError(f"precision = {precision!r}: {chosen} supports {usable}")
    if precision == "fp32":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return Device(chosen, precision, device_name(chosen))
