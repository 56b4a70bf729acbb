"""Pretrained weights: those that fit are loaded; others are a one-line error that leaves the model unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pneumo_cli.runs.checkpoints import Checkpoints
from tests.trainers.small_network import differing, load, network, other_state, refused


def test_none_leaves_a_model_as_it_is() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert load(model, "none") == "net begins with random weights"
    assert differing(model, before) == []


def test_weights_for_other_classes_are_loaded_except_those_of_the_head(file: Callable[[Any], Path]) -> None:
    state = other_state(outputs=1000)
    path = file(state)
    model = network()
    fresh = model[4].weight.clone()
    assert load(model, path) == f"net begins with the weights in {path} (7 tensors; its head is new)"
    assert differing(model, state) == ["4.weight", "4.bias"]
    assert torch.equal(model[4].weight, fresh)


def test_a_head_that_fits_is_loaded_too(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    assert load(model, file(state)).endswith("(9 tensors; its head too)")
    assert differing(model, state) == []


@pytest.mark.parametrize("left", ["4.weight", "4.bias"])
def test_an_incomplete_head_is_not_loaded(file: Callable[[Any], Path], left: str) -> None:
    state = other_state()
    del state[left]
    model = network()
    assert load(model, file(state)).endswith("(7 tensors; its head is new)")
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_a_head_of_another_structure_is_not_loaded(file: Callable[[Any], Path]) -> None:
    state = {name: value for name, value in other_state().items() if not name.startswith("4.")}
    state |= {"4.1.weight": torch.zeros(1000, 8), "4.1.bias": torch.zeros(1000)}
    assert load(network(), file(state)).endswith("(7 tensors; its head is new)")


def test_a_checkpoint_of_a_run_is_loaded(tmp_path: Path) -> None:
    state = other_state()
    path = Checkpoints(tmp_path).save("best", {"fingerprint": "0f", "epoch": 3, "model": state})
    model = network()
    load(model, path)
    assert differing(model, state) == []


def test_the_average_is_loaded_from_a_checkpoint_with_averaged_weights(tmp_path: Path) -> None:
    state = other_state()
    average = {**{f"module.{name}": value for name, value in state.items()}, "n_averaged": torch.tensor(7)}
    raw = network().state_dict()
    path = Checkpoints(tmp_path).save("last", {"epoch": 3, "model": raw, "average": average})
    model = network()
    load(model, path)
    assert differing(model, state) == []
    path = Checkpoints(tmp_path).save("last", {"epoch": 3, "model": raw, "average": {}})
    load(model, path)
    assert differing(model, raw) == []


def test_the_prefix_of_data_parallel_is_removed(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    load(model, file({f"module.{name}": value for name, value in state.items()}))
    assert differing(model, state) == []


def test_state_dicts_without_batch_counts_fit(file: Callable[[Any], Path]) -> None:
    state = other_state()
    del state["1.num_batches_tracked"]
    model = network()
    assert "(8 tensors" in load(model, file(state))
    assert differing(model, state) == ["1.num_batches_tracked"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_converted_to_the_model_s(file: Callable[[Any], Path], dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in other_state().items()}
    model = network()
    load(model, file(state))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    assert differing(model, {name: state[name].to(v.dtype) for name, v in model.state_dict().items()}) == []


def test_parameters_stay_the_same_objects(file: Callable[[Any], Path]) -> None:
    model = network()
    before = [id(parameter) for parameter in model.parameters()]
    load(model, file({name: nn.Parameter(value, False) for name, value in other_state().items()}))
    assert [id(parameter) for parameter in model.parameters()] == before
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


def test_a_path_may_start_with_the_home_folder(
    file: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file(other_state()).parent))
    assert load(network(), "~/weights.pt").endswith("its head too)")


# --- weights of another model -----------------------------------------------------------------


def test_tensors_of_another_architecture_are_counted_and_named(file: Callable[[Any], Path]) -> None:
    state = other_state(width=9)
    state["0.kernel"] = state.pop("0.weight")
    for extra in "abcd":
        state[extra] = torch.zeros(1)
    path = file(state)
    line = refused(path)
    assert line == (
        f"net: the weights in {path} do not fit: 1 of 7 tensors match, 1 missing (0.weight); "
        "5 unknown (0.kernel, a, b, …); "
        "5 of another shape (0.bias [9] for [8], 1.weight [9] for [8], 1.bias [9] for [8], …). "
        "Are they of another architecture?"
    )


def test_names_in_a_file_cannot_break_the_line(file: Callable[[Any], Path]) -> None:
    line = refused(file({**other_state(), "a\nb\x1b[31m": torch.zeros(1), "c" * 10_000: torch.zeros(1)}))
    assert r"2 unknown (a\nb\x1b[31m, cc" in line
    assert len(line) < 1000


@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_each_tensor_of_the_body_is_required(file: Callable[[Any], Path], name: str) -> None:
    state = other_state()
    del state[name]
    assert f"do not fit: 6 of 7 tensors match, 1 missing ({name})." in refused(file(state))


def test_a_model_without_stages_loads_all_weights_or_none(file: Callable[[Any], Path]) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

    assert "1 of another shape (layer.weight [5, 2] for [1, 2])" in refused(
        file({"layer.weight": torch.zeros(5, 2), "layer.bias": torch.zeros(1)}), Whole()
    )
    state = {"layer.weight": torch.ones(1, 2), "layer.bias": torch.ones(1)}
    model = Whole()
    load(model, file(state))
    assert differing(model, state) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(file: Callable[[Any], Path], value: float) -> None:
    state = other_state()
    state["1.running_var"][3] = value
    assert "are not finite: 1.running_var holds NaN or infinity" in refused(file(state))
    # Those of a head that is not loaded do not matter.
    state = other_state(outputs=1000)
    state["4.bias"][3] = value
    assert "its head is new" in load(network(), file(state))


def test_weights_too_large_for_the_model_s_dtype_are_refused(file: Callable[[Any], Path]) -> None:
    state = {name: value.double() for name, value in other_state().items()}
    state["0.bias"][0] = 1e300
    assert "0.bias holds NaN or infinity" in refused(file(state))


# --- ImageNet --------------------------------------------------------------------------------------------------

WEIGHTS = """
import torch
from pneumo_cli.errors import UsageError

def given(name, progress):
    assert name == "net"
    with progress.stage("weights", 1) as advance:
        advance(1)
    return torch.load("weights.pt", weights_only=True)

def refusing(name, progress):
    raise UsageError("the weights have moved")

def needing(name, progress):
    import library_of_theirs

def failing(name, progress):
    raise RuntimeError("no such\\nserver")

def wrong(name, progress):
    return 7
"""


@pytest.fixture
def their_module(install: Callable[..., None], fakes: Path) -> Path:
    """A third party's module with functions that return weights; returns the working folder."""
    install("pneumo-net", {}, {"net_weights": WEIGHTS})
    return fakes


def test_imagenet_weights_are_those_of_the_model_s_package(their_module: Path) -> None:
    state = other_state(outputs=1000)
    torch.save(state, their_module / "weights.pt")
    model = network()
    summary = load(model, "imagenet", "net_weights:given")
    assert summary == "net begins with its ImageNet weights (7 tensors; its head is new)"
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_imagenet_weights_that_do_not_fit_are_refused(their_module: Path) -> None:
    torch.save(other_state(width=9), their_module / "weights.pt")
    assert "net: its ImageNet weights do not fit" in refused("imagenet", weights_of="net_weights:given")


def test_a_model_without_imagenet_weights_is_an_error_that_names_the_alternatives() -> None:
    assert refused("imagenet") == (
        "the model pneumo-net:net has no ImageNet weights: use --weights none, or --weights PATH"
    )


@pytest.mark.usefixtures("their_module")
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("net_weights:refusing", "the weights have moved"),
        ("net_weights:needing", "ModuleNotFoundError: No module named 'library_of_theirs'"),
        ("net_weights:failing", "RuntimeError: no such server"),
        ("net_weights:absent", "AttributeError: module 'net_weights' has no attribute 'absent'"),
        ("net_weights:wrong", "TypeError: "),
        ("no_module:given", "ModuleNotFoundError: No module named 'no_module'"),
    ],
)
def test_a_package_that_fails_to_return_weights_is_a_one_line_error(function: str, reason: str) -> None:
    line = refused("imagenet", weights_of=function)
    assert reason in line
    if reason != "the weights have moved":
        assert "the ImageNet weights of pneumo-net:net (pneumo-net 1.0) cannot be loaded" in line
