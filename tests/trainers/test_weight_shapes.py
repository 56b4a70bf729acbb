"""Weights as people save them: within entries, under prefixes, as safetensors; the one that fits best is taken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pneumo_cli.trainers.pretrained import read_weights
from tests.trainers.small_network import differing, load, network, other_state, refused

safetensors = pytest.importorskip("safetensors.torch")


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "entry", ["state_dict", "model_state_dict", "model", "network", "weights", "state_dict_ema", "net_G"]
)
def test_a_state_dict_may_be_in_an_entry(file: Callable[[Any], Path], entry: str) -> None:
    state = other_state()
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    path = file({"epoch": 3, "args": {"lr": 0.1}, "optimizer": optimizer, entry: state, "best": 0.9})
    model = network()
    assert load(model, path) == (
        f"net begins with the weights in {path}, entry {entry} (9 tensors; its head too)"
    )
    assert differing(model, state) == []
    assert read_weights(path).keys() == state.keys()


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "their_name."),
        *("module._orig_mod.model.", "_orig_mod.module.", "model.encoder.backbone.net."),
    ],
)
def test_names_may_begin_with_those_of_the_modules_around_the_model(
    file: Callable[[Any], Path], prefix: str
) -> None:
    state = other_state()
    model = network()
    load(model, file({"checkpoint": {"state_dict": prefixed(prefix, state)}}))
    assert differing(model, state) == []


def test_modules_that_were_compiled_one_by_one_are_recognized(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    load(model, file({name.replace(".", "._orig_mod."): value for name, value in state.items()}))
    assert differing(model, state) == []


def test_a_model_s_own_names_are_no_prefix(file: Callable[[Any], Path]) -> None:
    def wrapped() -> nn.Module:
        return nn.ModuleDict({"model": network(), "backbone": network()})

    torch.manual_seed(5)
    state = wrapped().state_dict()
    for saved in (state, prefixed("module.", state), prefixed("model.", state)):
        model = wrapped()
        load(model, file(saved))
        assert differing(model, state) == []


def test_tensors_beside_the_model_are_counted_and_left_out(file: Callable[[Any], Path]) -> None:
    state = other_state(outputs=1000)
    others = {"loss.pos_weight": torch.ones(1), "projector.0.weight": torch.ones(3, 3)}
    path = file({"state_dict": {**prefixed("backbone.", state), **others}})
    model = network()
    assert load(model, path).endswith(
        "entry state_dict (7 tensors; its head is new; 2 that are not under backbone. are unused)"
    )
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_a_head_beside_its_backbone_is_found(file: Callable[[Any], Path]) -> None:
    state = other_state()
    saved = {name if name.startswith("4.") else f"encoder.{name}": value for name, value in state.items()}
    model = network()
    assert load(model, file(saved)).endswith("(9 tensors; its head too)")
    assert differing(model, state) == []


def test_of_several_state_dicts_the_one_that_fits_best_is_taken(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    critic = {"0.weight": torch.zeros(2, 2), "9.weight": torch.zeros(1)}
    load(model, file({"critic": critic, "teacher": other_state(width=9), "student": state}))
    assert differing(model, state) == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_equals_the_moving_average_is_taken(file: Callable[[Any], Path], order: int) -> None:
    raw, average = other_state(), network().state_dict()
    entries = [("model", raw), ("model_ema", average)][::order]
    path = file(dict(entries))
    model = network()
    assert "entry model_ema (" in load(model, path)
    assert differing(model, average) == []
    assert differing(model, read_weights(path)) == []


@pytest.mark.parametrize("name", ["model.safetensors", "weights.pt", "pytorch_model.bin"])
def test_safetensors_are_read_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    state = other_state(outputs=1000)
    path = tmp_path / name
    safetensors.save_file(prefixed("module.", state), path)
    model = network()
    assert load(model, path) == f"net begins with the weights in {path} (7 tensors; its head is new)"
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_without_safetensors_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.save_file(other_state(), path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert refused(path) == f"{path} is a file of safetensors: pip install safetensors to read it"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(where=st.floats(0, 1), values=st.binary(min_size=1, max_size=6), share=st.floats(0, 1))
def test_a_damaged_file_of_safetensors_is_read_or_is_a_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, where: float, values: bytes, share: float
) -> None:
    from pneumo_cli.errors import UsageError

    content = bytearray(safetensors.save({"a": torch.ones(2, 3), "b": torch.tensor(4)}))
    start = int(where * len(content))
    content[start : start + len(values)] = values
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(content[: int(share * len(content)) + 1])
    try:
        read_weights(path)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017  (whether it is raised depends on the damage)


def test_what_does_not_fit_names_what_was_found_and_what_was_expected(file: Callable[[Any], Path]) -> None:
    path = file({"model_state_dict": {"module.features.weight": torch.zeros(2), "x": torch.zeros(1)}})
    assert refused(path) == (
        f"net: the weights in {path}, entry model_state_dict, do not fit: 0 of 7 tensors match, "
        "6 missing (0.weight, 0.bias, 1.weight, …); 2 unknown (module.features.weight, x). "
        "Are they of another architecture?"
    )


def test_a_file_without_a_state_dict_names_what_it_holds(file: Callable[[Any], Path]) -> None:
    line = refused(file({"epoch": 3, "a\nb": {"lr": 0.1}}))
    assert line.endswith(r"dense tensors of real numbers; its entries are epoch, a\nb")
    assert refused(file(torch.tensor(3.0))).endswith("; it holds one Tensor")


def test_a_mapping_within_itself_ends(file: Callable[[Any], Path]) -> None:
    loop: dict[str, Any] = {f"entry{n}": 0 for n in range(100)}
    for name in loop:
        loop[name] = loop
    assert "holds no state dict" in refused(file(loop))
    deep: dict[str, Any] = {"weight": torch.zeros(1)}
    for _ in range(50):
        deep = {"inner": deep}
    assert "holds no state dict" in refused(file(deep))
