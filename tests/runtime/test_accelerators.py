"""Which device is chosen, of machines that are only described; what is the same on a CPU as on any accelerator."""

from __future__ import annotations

import pytest
import torch

from pneumo_cli import UsageError
from pneumo_cli.runtime.accelerators import (
    Build,
    Hardware,
    free_memory,
    kept_generators,
    make_current,
    missing_devices,
    most_exact,
    peak_memory,
    release_memory,
    reset_peak_memory,
    synchronize,
)
from pneumo_cli.runtime.devices import Device, available, choose_device, supported
from pneumo_cli.runtime.distributed import accelerator_of_ranks
from pneumo_cli.settings.schema import MachineSettings

EVERYTHING = Hardware(cuda=2, xpu=2, mps=True)


@pytest.mark.parametrize(
    ("hardware", "wanted", "chosen"),
    [
        (EVERYTHING, "auto", "cuda:0"),
        (Hardware(xpu=2, mps=True), "auto", "xpu:0"),
        (Hardware(mps=True), "auto", "mps"),
        (Hardware(), "auto", "cpu"),
        (EVERYTHING, "cpu", "cpu"),
        (EVERYTHING, "mps", "mps"),
        (EVERYTHING, "xpu", "xpu:0"),
        (EVERYTHING, "xpu:1", "xpu:1"),
        (EVERYTHING, "cuda:1", "cuda:1"),
    ],
)
def test_the_best_device_is_chosen_unless_another_is_named(
    hardware: Hardware, wanted: str, chosen: str
) -> None:
    assert hardware.choose(wanted) == torch.device(chosen)


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_each_process_of_a_machine_has_a_device_of_its_own(wanted: str) -> None:
    chosen = [str(Hardware(cuda=2).choose(wanted, rank)) for rank in range(2)]
    assert chosen == ["cuda:0", "cuda:1"]
    assert [str(Hardware(xpu=2).choose("auto", rank)) for rank in range(2)] == ["xpu:0", "xpu:1"]


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "xpu", "xpu:0", "mps"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UsageError, match=rf"device = '{wanted}': this machine has cpu$"):
        Hardware().choose(wanted)


def test_a_number_that_is_too_high_is_refused() -> None:
    with pytest.raises(UsageError, match="no device xpu:2: this machine has 2 XPU devices"):
        EVERYTHING.choose("xpu:2")
    with pytest.raises(UsageError, match="no device cuda:1: this machine has 1 CUDA devices"):
        Hardware(cuda=1).choose("auto", 1)


def test_the_settings_take_what_can_be_chosen_and_nothing_else() -> None:
    for name in ("auto", *map(str, EVERYTHING.devices), "cuda", "xpu"):
        assert MachineSettings(device=name).device == name
    for name in ("gpu", "xpu:", "xpu:a", "mps:0", "cpu:0", "cuda:-1"):
        with pytest.raises(ValueError, match="a device is auto, cpu, cuda, cuda:N, xpu, xpu:N or mps"):
            MachineSettings(device=name)


def test_a_precision_that_nobody_has_measured_is_not_called_fast() -> None:
    assert supported("cuda", bf16=True) == {"fp32": "fast", "bf16": "fast", "fp16": "fast"}
    assert supported("cuda", bf16=False)["bf16"] == "slow"
    assert supported("cpu", bf16=True) == {"fp32": "fast", "bf16": "fast", "fp16": "unsupported"}
    assert supported("mps", bf16=False)["bf16"] == "unsupported"  # before macOS 14
    assert supported("mps", bf16=True)["bf16"] == "untried"
    # The scaler of fp16 computes in double precision, which some Intel GPUs lack.
    assert supported("xpu", bf16=True, doubles=False)["fp16"] == "unsupported"
    assert supported("xpu", bf16=True, doubles=True) == {"fp32": "fast", "bf16": "fast", "fp16": "untried"}


def test_ranks_speak_over_what_their_devices_have() -> None:
    assert [accelerator_of_ranks(name, EVERYTHING) for name in ("auto", "cuda:1", "xpu", "mps", "cpu")] == [
        *("cuda", "cuda", "xpu", "", "")
    ]
    assert accelerator_of_ranks("auto", Hardware(xpu=1)) == "xpu"
    assert accelerator_of_ranks("auto", Hardware()) == ""
    assert accelerator_of_ranks("cuda", Hardware()) == ""  # refused where the device is chosen


def test_what_is_missing_is_said_for_what_torch_was_built_for() -> None:
    assert "CUDA 13.0" in missing_devices(Build(cuda="13.0"), Hardware())["cuda"]
    assert "ROCm 7" in missing_devices(Build(rocm="7"), Hardware())["cuda"]
    assert list(missing_devices(Build(xpu="2025"), Hardware())) == ["xpu"]
    assert "macOS 14" in missing_devices(Build(mps=True), Hardware())["mps"]
    assert "the CPU alone" in missing_devices(Build(), Hardware())["cuda"]
    assert missing_devices(Build(cuda="13.0"), Hardware(cuda=1)) == {}
    assert missing_devices(Build(mps=True), Hardware(mps=True)) == {}


def test_nothing_is_to_be_done_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    make_current(cpu), synchronize(cpu), release_memory(cpu), release_memory(), reset_peak_memory(cpu)
    assert free_memory(cpu) is None
    assert peak_memory(cpu) is None


@pytest.mark.parametrize("device", available(), ids=str)
def test_generators_are_as_before(device: torch.device) -> None:
    def draws() -> list[float]:
        return [*torch.rand(2).tolist(), *torch.rand(2, device=device).tolist()]

    torch.manual_seed(1)
    expected = draws()
    torch.manual_seed(1)
    with kept_generators(device):
        draws()
    assert draws() == expected


def test_the_layout_and_the_optimizer_are_those_that_a_device_has() -> None:
    apple, intel = (Device(torch.device(name), "fp32", "") for name in ("mps", "xpu:0"))
    assert (apple.fused, apple.memory_format) == (False, torch.contiguous_format)
    assert (intel.fused, intel.memory_format) == (True, torch.channels_last)


def test_deterministic_algorithms_are_used_where_they_are_asked_for() -> None:
    before, workspace = torch.get_deterministic_debug_mode(), pytest.MonkeyPatch()
    workspace.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        choose_device("cpu", "fp32")
        assert torch.get_deterministic_debug_mode() == before
        choose_device("cpu", "fp32", deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.set_deterministic_debug_mode(before)
        workspace.undo()


def test_double_precision_is_used_where_every_device_has_it() -> None:
    exact = {name: most_exact(torch.device(name)) for name in ("cpu", "cuda", "xpu", "mps")}
    assert exact == {"cpu": torch.float64, "cuda": torch.float64, "xpu": torch.float32, "mps": torch.float32}
