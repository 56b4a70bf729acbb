"""Compilation: what is compiled and for how long, and that runs, checkpoints and predictions are as ever."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pneumo_cli import UsageError
from pneumo_cli.data import Batch
from pneumo_cli.testing import Invocation
from pneumo_cli.training import measurement
from pneumo_extensions.compiled import Compile, missing_compiler, once_differentiable, replaced, whole_batch
from pneumo_extensions.settings import CompileSettings


class Uncompiled(Compile):
    """Traces the graphs and computes them without a compiler."""

    backend = "aot_eager"


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.right = nn.Sequential(nn.Linear(4, 1))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.right(self.left(values))
        return result


def run_of(model: nn.Module, size: int = 4, rank: int = 0, world: int = 1) -> Any:
    return SimpleNamespace(
        model=model,
        settings=SimpleNamespace(batch_size=size),
        images_per_epoch=10,
        ranks=SimpleNamespace(rank=rank, world=world),
        device=SimpleNamespace(torch=torch.device("cpu")),
    )


def batch_of(count: int) -> Batch:
    return Batch(torch.rand(count, 4), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_the_parts_that_a_step_calls_are_compiled_as_a_whole_each() -> None:
    model = Pair()
    names = list(model.state_dict())
    called: list[object] = []

    def step(batch: Batch) -> Mapping[str, Tensor]:
        called.append([*(name for name, module in model.named_modules() if "forward" in vars(module))])
        loss = model.right(model.left(batch.images)).mean()
        loss.backward()
        return {"loss": loss.detach()}

    compile_ = Uncompiled(CompileSettings())
    around = compile_.around_train_step(run_of(model))
    batch = batch_of(4)
    first = around(step, batch)
    expected = model(batch.images).mean()
    torch.testing.assert_close(first["loss"], expected.detach())
    assert compile_._used == {model.left, model.right}
    around(step, batch)
    assert called == [["", "left", "left.0", "left.1", "right", "right.0"], ["left", "right"]]
    assert not any("forward" in vars(module) for module in model.modules())  # evaluation knows nothing of it
    assert list(model.state_dict()) == names
    assert list(copy.deepcopy(model).state_dict()) == names  # as for the moving average


def test_a_model_that_is_called_as_a_whole_is_one_graph() -> None:
    model = Pair()
    compile_ = Uncompiled(CompileSettings())
    around = compile_.around_train_step(run_of(model))
    around(lambda batch: {"loss": model(batch.images).mean()}, batch_of(4))
    assert compile_._used == {model}


@pytest.mark.parametrize(("dynamic", "used"), [(False, 0), (True, 1)])
def test_the_last_smaller_batch_is_computed_as_without_it(dynamic: bool, used: int) -> None:
    model = Pair()
    compile_ = Uncompiled(CompileSettings(dynamic=dynamic))
    around = compile_.around_train_step(run_of(model))
    around(lambda batch: {"loss": model(batch.images).mean()}, batch_of(2))
    assert len(compile_._used) == used


def test_a_whole_batch_is_that_of_the_rank() -> None:
    assert whole_batch(run_of(Pair(), size=4)) == 4
    assert whole_batch(run_of(Pair(), size=64)) == 10  # all images of an epoch
    assert [whole_batch(run_of(Pair(), size=5, rank=rank, world=2)) for rank in range(2)] == [3, 2]


def test_a_forward_is_put_back_after_an_error() -> None:
    model = Pair()

    def fail() -> None:
        with replaced([(model, lambda values: values)]):
            assert model(1) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model(torch.rand(2, 4)).shape == (2, 1)


def test_a_machine_without_a_compiler_is_told_what_to_install(
    pneumo: Callable[..., Invocation], fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing_compiler("mps") == ""
    monkeypatch.setenv("CXX", "no-such-compiler")
    ended = pneumo("run", "fake", "--epochs", 1, "--with", "compile", "--device", "cpu")
    assert ended.code == 2, ended.stderr
    (line,) = ended.stderr.splitlines()[-1:]
    assert "no no-such-compiler" in line
    assert "leave it out" in line
    assert not (fakes / "runs").exists()


@pytest.mark.skipif(missing_compiler("cpu") != "", reason="there is no C++ compiler here")
@pytest.mark.slow
def test_a_compiled_run_is_repeatable_resumes_and_predicts_without_a_compiler(
    start_run: Callable[..., Any],
    pneumo: Callable[..., Invocation],
    fakes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(fakes / "inductor"))
    flags = ("run", "fake", "--precision", "fp32", "--ema", 0.9)
    for name, further in {"a": ("--epochs", 2), "b": ("--epochs", 1)}.items():
        ended = pneumo(*flags, "--with", "compile", *further, "--output", name)
        assert ended.code == 0, ended.stderr
    plain = pneumo(*flags, "--epochs", 1, "--output", "plain")
    assert plain.code == 0, plain.stderr
    folders = {name: next((fakes / name).glob("*/*")) for name in ("a", "b", "plain")}
    again = pneumo("resume", folders["b"], "--epochs", 2)
    assert again.code == 0, again.stderr

    def last(name: str) -> dict[str, Any]:
        path = folders[name] / "checkpoints" / "last.pt"
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state

    states = {name: last(name) for name in folders}
    for part in ("model", "average"):
        assert list(states["a"][part]) == list(states["plain"][part])  # without _orig_mod
        for one, other in zip(states["a"][part].values(), states["b"][part].values(), strict=True):
            assert torch.equal(one, other)
    monkeypatch.setenv("CXX", "no-such-compiler")
    from PIL import Image

    Image.new("L", (40, 40), 90).save(fakes / "one.png")
    predicted = pneumo("predict", folders["a"], fakes / "one.png", "--json")
    assert predicted.code == 0, predicted.stderr
    assert len(json.loads(predicted.stdout)) >= 1


def penalty(logits: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().mean()


def test_a_penalty_on_gradients_is_refused_and_not_left_out() -> None:
    model, batch = Pair(), batch_of(4)

    def step(batch: Batch) -> Mapping[str, Tensor]:
        images = batch.images.requires_grad_()
        logits = model(images)
        loss = logits.mean() + penalty(logits, images)
        loss.backward(inputs=list(model.parameters()))  # as run.optimize does, where torch raises no error
        return {"loss": loss.detach()}

    with pytest.raises(UsageError, match="it differentiates a gradient") as caught:
        Uncompiled(CompileSettings()).around_train_step(run_of(model))(step, batch)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [tuple, lambda values: {"left": values[0], "right": list(values[1:])}])
def test_outputs_of_any_shape_refuse_a_second_derivative_alone(kind: Callable[[Any], Any]) -> None:
    images = torch.rand(4, 4, requires_grad=True)
    values = (images**2, images**3, torch.zeros(1))
    assert once_differentiable(kind(values)) is not None
    values[1].sum().backward(retain_graph=True)
    for value in values[:2]:
        with pytest.raises(UsageError, match="differentiates a gradient"):
            penalty(value, images)


def test_an_estimate_does_not_take_the_compilation_for_a_usual_step(
    pneumo: Callable[..., Invocation], fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[object] = []
    seconds = measurement._Probe.seconds

    def counted(self: Any, work: Callable[[], object]) -> float:
        timed.append(work)
        return seconds(self, work)

    monkeypatch.setattr(measurement._Probe, "seconds", counted)
    monkeypatch.setattr(measurement, "_SLOW", -1.0)  # each first step is
    numbers = []
    for further in ((), ("--with", "early-stopping")):
        timed.clear()
        assert pneumo("run", "fake", "--dry-run", *further).code == 0
        numbers.append(len(timed))
    assert numbers[1] >= numbers[0] + measurement._STEPS
