"""What differs between accelerators (CUDA and ROCm, Intel XPU, Apple MPS), in one place.

Everything takes the device and does nothing, or returns None, on one that has no such thing, the CPU among them.
``torch.accelerator`` answers for the accelerator that torch was built for, whether or not a run uses it, and not
for the memory of MPS: therefore the modules of the devices themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from pneumo_cli.errors import UsageError


class Hardware(NamedTuple):
    """What torch finds on a machine; nothing else decides which device is chosen.

    Attributes:
        cuda, xpu: number of devices.
        mps: whether there is an Apple GPU.
    """

    cuda: int = 0
    xpu: int = 0
    mps: bool = False

    @classmethod
    def here(cls) -> Hardware:
        """That of this machine."""
        return cls(torch.cuda.device_count(), torch.xpu.device_count(), torch.backends.mps.is_available())

    @property
    def devices(self) -> list[torch.device]:
        """All devices, the preferred one first: CUDA, then XPU, then MPS, the CPU last."""
        found = [torch.device("cuda", index) for index in range(self.cuda)]
        found += [torch.device("xpu", index) for index in range(self.xpu)]
        return [*found, *([torch.device("mps")] if self.mps else []), torch.device("cpu")]

    def choose(self, wanted: str, local_rank: int = 0) -> torch.device:
        """The device for the setting ``device``.

        Args:
            local_rank: of a process on this machine, which is also the index of its device.

        Raises:
            UsageError: there is none.
        """
        chosen = self.devices[0] if wanted == "auto" else torch.device(wanted)
        if chosen.type not in {one.type for one in self.devices}:
            raise UsageError(f"device = {wanted!r}: this machine has {', '.join(map(str, self.devices))}")
        if chosen.type not in ("cuda", "xpu"):
            return chosen
        count = self.cuda if chosen.type == "cuda" else self.xpu
        index = local_rank if chosen.index is None or local_rank else chosen.index
        if index >= count:
            raise UsageError(
                f"there is no device {chosen.type}:{index}: this machine has {count} {chosen.type.upper()} devices"
            )
        return torch.device(chosen.type, index)


class Build(NamedTuple):
    """What torch was built with.

    Attributes:
        cuda, rocm, xpu: versions; empty: without.
        mps: whether with MPS.
    """

    cuda: str = ""
    rocm: str = ""
    xpu: str = ""
    mps: bool = False

    @classmethod
    def here(cls) -> Build:
        """That of the installed torch."""
        cuda, rocm, xpu = (getattr(torch.version, name, None) or "" for name in ("cuda", "hip", "xpu"))
        return cls(cuda, rocm, xpu, torch.backends.mps.is_built())


def missing_devices(build: Build | None = None, hardware: Hardware | None = None) -> dict[str, str]:
    """Why there is no GPU of each kind, in one line by ``cuda``, ``xpu`` and ``mps``; only those that are missing.

    A kind that this torch was not built for is named only if no other is there either.
    """
    build, found = build or Build.here(), hardware or Hardware.here()
    reasons = {}
    version = f"CUDA {build.cuda}" if build.cuda else f"ROCm {build.rocm}" if build.rocm else ""
    if version and not found.cuda:
        reasons["cuda"] = f"none found (torch is built for {version}; nvidia-smi or rocm-smi show the driver)"
    if not found.xpu and build.xpu:
        reasons["xpu"] = f"none found (torch is built for XPU {build.xpu}; xpu-smi shows the driver)"
    if not found.mps and build.mps:
        reasons["mps"] = "none found (it needs an Apple GPU and macOS 14 or newer)"
    if not reasons and len(found.devices) == 1:
        reasons["cuda"] = "this torch is built for the CPU alone (pytorch.org shows the others)"
    return reasons


def module_of(device: torch.device) -> Any:
    """``torch.cuda``, ``torch.xpu`` or ``torch.mps``; None for the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)


def make_current(device: torch.device) -> None:
    """Make one of several devices the one that ``cuda`` or ``xpu`` without an index means."""
    if device.type in ("cuda", "xpu"):
        module_of(device).set_device(device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "mps":
        torch.mps.synchronize()
    elif device.type != "cpu":
        module_of(device).synchronize(device)


def release_memory(device: torch.device | None = None) -> None:
    """Return memory that torch keeps for later tensors.

    Args:
        device: None: of every accelerator of this machine.
    """
    for one in [device] if device is not None else Hardware.here().devices:
        if one.type != "cpu":
            module_of(one).empty_cache()


def free_memory(device: torch.device) -> int | None:
    """Bytes of the device's own memory that are free; None: it shares that of the machine, or does not say."""
    if device.type not in ("cuda", "xpu"):
        return None
    try:
        return int(module_of(device).mem_get_info(device)[0])
    except RuntimeError:  # Intel's drivers do not all say
        return None


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure :func:`peak_memory` anew, where it can be measured."""
    if device.type in ("cuda", "xpu"):
        module_of(device).reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that torch has held on the device; of MPS, which keeps no peak, those of now; CPU: None."""
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return None if device.type == "cpu" else int(module_of(device).max_memory_reserved(device))


def most_exact(device: torch.device) -> torch.dtype:
    """The floating-point numbers of the most digits that a device surely has: single ones on MPS and XPU."""
    return torch.float32 if device.type in ("mps", "xpu") else torch.float64


@contextmanager
def kept_generators(device: torch.device) -> Iterator[None]:
    """Within it torch's generators of the CPU and of the device may be used; afterwards they are as before."""
    module, place = module_of(device), () if device.type == "mps" else (device,)
    cpu, own = torch.get_rng_state(), module.get_rng_state(*place) if module is not None else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if own is not None:
            module.set_rng_state(own, *place)
