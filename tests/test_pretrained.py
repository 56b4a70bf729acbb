"""Weights to begin with: what fits is taken, and anything else is one line that leaves the model as it was."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.pretrained import load_pretrained, read_weights


def network(outputs: int = 1, width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )


def entry(weights: str = "") -> Entry[ModelSpec]:
    spec = ModelSpec(name="net", kind="classifier", summary="A net", factory="some:factory", weights=weights)
    return Entry(spec, Provenance("pneumo-net", "1.0"))


def other_state(outputs: int = 1, **options: Any) -> dict[str, Tensor]:
    """Values that a new network does not have."""
    torch.manual_seed(9)
    state = network(outputs, **options).state_dict()
    return {name: (value + torch.randn(value.shape)).to(value.dtype) for name, value in state.items()}


def load(model: nn.Module, weights: object, weights_of: str = "") -> str:
    stages = list(model.children()) if isinstance(model, nn.Sequential) else []
    return load_pretrained(model, stages, entry(weights_of), str(weights), Progress())


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], Path]:
    """Save something with torch.save."""

    def save(content: Any) -> Path:
        path = tmp_path / "weights.pt"
        torch.save(content, path)
        return path

    return save


def differing(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    own = model.state_dict()
    return [name for name in own if name not in state or not torch.equal(own[name], state[name])]


def refused(weights: object, model: nn.Module | None = None, weights_of: str = "") -> str:
    """The one line with which weights are refused, the model unchanged bit for bit."""
    model = model or network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load(model, weights, weights_of)
    assert differing(model, before) == []
    (line,) = str(caught.value).splitlines()
    return line


# --- what is taken ---------------------------------------------------------------------------------------------


def test_none_leaves_a_model_as_it_is() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert load(model, "none") == "net begins with random weights"
    assert differing(model, before) == []


def test_weights_of_other_classes_are_taken_but_for_the_head(file: Callable[[Any], Path]) -> None:
    state = other_state(outputs=1000)
    path = file(state)
    model = network()
    fresh = model[4].weight.clone()
    assert load(model, path) == f"net begins with the weights in {path} (7 tensors; its head is new)"
    assert differing(model, state) == ["4.weight", "4.bias"]
    assert torch.equal(model[4].weight, fresh)


def test_a_head_that_fits_is_taken_too(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    assert load(model, file(state)).endswith("(9 tensors; its head too)")
    assert differing(model, state) == []


@pytest.mark.parametrize("left", ["4.weight", "4.bias"])
def test_half_a_head_is_not_taken(file: Callable[[Any], Path], left: str) -> None:
    state = other_state()
    del state[left]
    model = network()
    assert load(model, file(state)).endswith("(7 tensors; its head is new)")
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_a_head_of_another_form_is_replaced(file: Callable[[Any], Path]) -> None:
    state = {name: value for name, value in other_state().items() if not name.startswith("4.")}
    state |= {"4.1.weight": torch.zeros(1000, 8), "4.1.bias": torch.zeros(1000)}
    assert load(network(), file(state)).endswith("(7 tensors; its head is new)")


def test_a_checkpoint_of_a_run_is_taken(tmp_path: Path) -> None:
    state = other_state()
    path = Checkpoints(tmp_path).save("best", {"fingerprint": "0f", "epoch": 3, "model": state})
    model = network()
    load(model, path)
    assert differing(model, state) == []


def test_of_a_checkpoint_with_averaged_weights_the_average_is_taken(tmp_path: Path) -> None:
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


def test_the_prefix_of_data_parallel_is_taken_off(file: Callable[[Any], Path]) -> None:
    state = other_state()
    model = network()
    load(model, file({f"module.{name}": value for name, value in state.items()}))
    assert differing(model, state) == []


def test_state_dicts_that_count_no_batches_fit(file: Callable[[Any], Path]) -> None:
    state = other_state()
    del state["1.num_batches_tracked"]
    model = network()
    assert "(8 tensors" in load(model, file(state))
    assert differing(model, state) == ["1.num_batches_tracked"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_become_the_model_s(file: Callable[[Any], Path], dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in other_state().items()}
    model = network()
    load(model, file(state))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    assert differing(model, {name: state[name].to(v.dtype) for name, v in model.state_dict().items()}) == []


def test_parameters_stay_the_objects_that_an_optimizer_knows(file: Callable[[Any], Path]) -> None:
    model = network()
    before = [id(parameter) for parameter in model.parameters()]
    load(model, file({name: nn.Parameter(value, False) for name, value in other_state().items()}))
    assert [id(parameter) for parameter in model.parameters()] == before
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


def test_a_path_may_begin_with_the_home_folder(
    file: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file(other_state()).parent))
    assert load(network(), "~/weights.pt").endswith("its head too)")


# --- what is refused: files ------------------------------------------------------------------------------------


def test_a_path_without_a_file(tmp_path: Path) -> None:
    assert "nothing.pt': this file does not exist; also possible are imagenet and none" in refused(
        tmp_path / "nothing.pt"
    )
    assert "this file is a folder" in refused(tmp_path)
    assert "does not exist" in refused("~nobody-of-this-name/weights.pt")


def test_a_file_that_may_not_be_read(file: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(other_state())

    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(
        torch, "load", forbidden
    )  # root, as which tests may run, is not stopped by permissions
    assert f"the weights {path} cannot be read: Permission denied" in refused(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", bytes(range(256)) * 8, b"<html>404</html>", b"\x80\x02", b"\x80\x02K\x01."],
    ids=["empty", "a zip's first bytes", "noise", "a web page", "a pickle's first bytes", "a pickled number"],
)
def test_a_file_that_torch_save_has_not_written(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    line = refused(path)
    assert str(path) in line
    assert "the file is damaged, or no file of torch.save" in line


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_truncated_file(file: Callable[[Any], Path], share: float) -> None:
    path = file(other_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "the file is damaged" in refused(path)


@pytest.fixture(scope="module")
def saved() -> dict[bool, bytes]:
    """A state dict as torch writes it now (True), and as it did before version 1.6 (False)."""
    written = {}
    for recent in (True, False):
        buffer = io.BytesIO()
        torch.save(
            {"a": torch.ones(2, 3), "b": torch.tensor(4)}, buffer, _use_new_zipfile_serialization=recent
        )
        written[recent] = buffer.getvalue()
    return written


@settings(max_examples=300, deadline=None, derandomize=True)
@given(recent=st.booleans(), where=st.floats(0, 1), values=st.binary(min_size=1, max_size=6))
def test_any_damaged_file_is_read_or_refused_in_one_line(
    saved: dict[bool, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    recent: bool,
    where: float,
    values: bytes,
) -> None:
    content = bytearray(saved[recent])
    start = int(where * min(len(content), 1000))
    content[start : start + len(values)] = values
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(content)
    try:
        read_weights(path)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017  (whether it is raised depends on the damage)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.trace}",))


def test_code_in_a_file_is_never_run(tmp_path: Path, file: Callable[[Any], Path]) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists()  # it would work
    trace.unlink()
    line = refused(file({**other_state(), "extra": Malicious(trace)}))
    assert (
        "it holds code, or objects other than tensors, and is not loaded; save only model.state_dict()"
        in line
    )
    assert "it holds code" in refused(file({"model": other_state(), "average": Malicious(trace)}))
    for protocol in (2, 4, 5):
        path = tmp_path / "weights.pkl"
        path.write_bytes(pickle.dumps({"a": Malicious(trace)}, protocol))
        assert f"the weights {path} cannot be read" in refused(path)
    assert not trace.exists()


def test_a_whole_saved_model_says_what_to_save(file: Callable[[Any], Path]) -> None:
    assert "save only model.state_dict()" in refused(file(network()))


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        7,
        {},
        {"a": 1, "b": torch.zeros(2)},
        {0: torch.zeros(2)},
        {"state": {"a": torch.zeros(2)}},
        {"model": {"a": 1}},
        {"model": {}},
        {"model": {"a": torch.zeros(2)}, "average": {0: torch.zeros(2)}},
        {"model": {"a": torch.zeros(2)}, "average": 3},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.zeros(3, dtype=torch.complex64)},
    ],
    ids=str,
)
def test_something_other_than_a_state_dict(file: Callable[[Any], Path], content: Any) -> None:
    assert "holds no state dict: a mapping from names to" in refused(file(content))


# --- what is refused: weights of another model -----------------------------------------------------------------


def test_weights_of_another_architecture_are_counted_and_named(file: Callable[[Any], Path]) -> None:
    state = other_state(width=9)
    state["0.kernel"] = state.pop("0.weight")
    for extra in "abcd":
        state[extra] = torch.zeros(1)
    path = file(state)
    line = refused(path)
    assert line == (
        f"net: the weights in {path} do not fit, tensors: 1 missing (0.weight); "
        "5 unknown (0.kernel, a, b, …); "
        "5 of another shape (0.bias [9] for [8], 1.weight [9] for [8], 1.bias [9] for [8], …). "
        "Are they of another architecture?"
    )


def test_names_in_a_file_cannot_break_the_line(file: Callable[[Any], Path]) -> None:
    line = refused(file({**other_state(), "a\nb\x1b[31m": torch.zeros(1), "c" * 10_000: torch.zeros(1)}))
    assert r"2 unknown (a\nb\x1b[31m, cc" in line
    assert len(line) < 1000


@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_each_tensor_of_the_body_has_to_be_there(file: Callable[[Any], Path], name: str) -> None:
    state = other_state()
    del state[name]
    assert f"tensors: 1 missing ({name})." in refused(file(state))


def test_a_model_without_stages_takes_all_or_nothing(file: Callable[[Any], Path]) -> None:
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
    # Not those of a head that is not taken.
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
    """A third party's module with functions that give weights; the working folder."""
    install("pneumo-net", {}, {"net_weights": WEIGHTS})
    return fakes


def test_imagenet_weights_are_those_that_the_model_s_package_gives(their_module: Path) -> None:
    state = other_state(outputs=1000)
    torch.save(state, their_module / "weights.pt")
    model = network()
    said = load(model, "imagenet", "net_weights:given")
    assert said == "net begins with its ImageNet weights (7 tensors; its head is new)"
    assert differing(model, state) == ["4.weight", "4.bias"]


def test_imagenet_weights_that_do_not_fit_are_refused(their_module: Path) -> None:
    torch.save(other_state(width=9), their_module / "weights.pt")
    assert "net: its ImageNet weights do not fit" in refused("imagenet", weights_of="net_weights:given")


def test_a_model_without_imagenet_weights_says_what_else_there_is() -> None:
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
def test_a_package_that_cannot_give_its_weights_is_one_line(function: str, reason: str) -> None:
    line = refused("imagenet", weights_of=function)
    assert reason in line
    if reason != "the weights have moved":
        assert "the ImageNet weights of pneumo-net:net (pneumo-net 1.0) cannot be had" in line
