"""The extension passes pneumo's conformance suite, and its step is that of the paper."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pneumo_sam.sam import SharpnessAware
from pneumo_sam.settings import SamSettings
from torch import Tensor, nn

from pneumo_cli import PneumoError
from pneumo_cli.runtime import seed_all
from pneumo_cli.testing import SMALL_NETWORK, ExtensionConformance, runner_of

RHO, LR = 0.5, 0.1
PLAIN = {
    **SMALL_NETWORK,
    "weights": None,
    "class_weights": "none",
    "lr": LR,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
}


class TestSam(ExtensionConformance):
    """Resumed to the same bits, on two ranks, in bf16, from flags, file and environment."""

    name = "sam"


def started(folder: Path, **settings: Any) -> Any:
    """A run of the suite's small network that is built and not trained."""
    values = {name: value for name, value in {**PLAIN, **settings}.items() if value is not None}
    runner = runner_of(
        "conformance-probe",
        **{"with": ["sam"], "sam_rho": RHO, "output": folder / "runs", "cache": folder / "cache", **values},
    )
    runner.build()
    runner.run.model.train()
    return runner


def trained(runner: Any, batches: list[Any]) -> None:
    """Training steps, as the runner makes them."""
    run = runner.run
    for number, batch in enumerate(batches):
        seed_all(1, number)
        run.updates.batch_share = len(batch.labels) / sum(len(one.labels) for one in batches)
        run.updates.last_step = number + 1 == len(batches)
        with run.device.autocast():
            run.functions.train_step(batch)


def by_hand(model: nn.Module, batches: list[Any], precision: str) -> nn.Module:
    """The update in plain torch: the mean of each batch's gradient at its own neighbour of the weights."""
    weights = list(model.parameters())
    total = [torch.zeros_like(weight) for weight in weights]

    def gradient(model: nn.Module, batch: Any, number: int) -> tuple[Tensor, ...]:
        seed_all(1, number)  # of the dropout, the same in both passes
        bf16 = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with bf16:
            logits = model(batch.images).flatten().float()
        loss = F.binary_cross_entropy_with_logits(logits, batch.labels.float())
        return torch.autograd.grad(loss, list(model.parameters()))

    images = sum(len(batch.labels) for batch in batches)
    for number, batch in enumerate(batches):
        first = gradient(model, batch, number)
        length = torch.cat([one.flatten() for one in first]).norm()
        neighbour = copy.deepcopy(model)
        with torch.no_grad():
            for weight, one in zip(neighbour.parameters(), first, strict=True):
                weight += RHO * one / length
        for into, one in zip(total, gradient(neighbour, batch, number), strict=True):
            into += one * (len(batch.labels) / images)
    with torch.no_grad():
        for weight, one in zip(weights, total, strict=True):
            weight -= LR * one
    return model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_is_that_of_a_hand_written_one(tmp_path: Path, accumulate: int, precision: str) -> None:
    runner = started(tmp_path, accumulate=accumulate, precision=precision)
    batches = list(runner.loaders.training(1))[:accumulate]
    before = copy.deepcopy(runner.run.model)
    expected = by_hand(copy.deepcopy(before), batches, precision)
    trained(runner, batches)
    tolerance = 1e-6 if precision == "fp32" else 2e-4
    moved = 0.0
    for (name, value), start in zip(runner.run.model.named_parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(value, expected.get_parameter(name), rtol=1e-4, atol=tolerance)
        moved += float((value - start).detach().norm())
    assert moved > 100 * tolerance
    # The statistics of batch normalization are those of the first pass alone.
    for value, other in zip(runner.run.model.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-2, atol=1e-3)


def test_the_gradient_is_another_one_than_without_it(tmp_path: Path) -> None:
    steps = {}
    for rho in (1e-6, RHO):
        runner = started(tmp_path / str(rho), sam_rho=rho, precision="bf16")
        trained(runner, [next(iter(runner.loaders.training(1)))])
        steps[rho] = torch.cat([weight.detach().flatten() for weight in runner.run.model.parameters()])
    assert float((steps[RHO] - steps[1e-6]).norm()) > 1e-3


def test_both_passes_have_the_same_noise_and_the_first_ones_metrics_count() -> None:
    model = nn.Linear(3, 1)
    run: Any = SimpleNamespace(
        optimizers={"main": None}, model=model, device=SimpleNamespace(torch=torch.device("cpu"))
    )
    drawn: list[Tensor] = []

    def train_step(batch: Any) -> dict[str, Tensor]:
        drawn.append(torch.rand(3))
        return {"loss": torch.tensor(float(len(drawn)))}

    metrics = SharpnessAware(SamSettings()).around_train_step(run)(train_step, SimpleNamespace())
    assert torch.equal(*drawn)
    assert float(metrics["loss"]) == 1


def test_weights_return_if_the_second_pass_fails() -> None:
    model = nn.Linear(3, 1)
    before = copy.deepcopy(model.state_dict())
    sam = SharpnessAware(SamSettings())
    run: Any = SimpleNamespace(
        optimizers={"main": None},
        model=model,
        device=SimpleNamespace(torch=torch.device("cpu")),
        spec=SimpleNamespace(name="probe"),
        gradients=lambda loss, name: {weight: torch.ones_like(weight) for weight in model.parameters()},
    )
    sharp = sam.around_optimize(run)
    passes: list[int] = []

    def train_step(batch: Any) -> dict[str, Tensor]:
        passes.append(1)
        if len(passes) == 2:
            assert not torch.equal(model.weight, before["weight"])
            raise RuntimeError("out of memory")
        sharp(lambda loss, name: None, torch.ones(()), "main")
        return {}

    with pytest.raises(RuntimeError, match="out of memory"):
        sam.around_train_step(run)(train_step, SimpleNamespace())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_trainer_with_several_optimizers_is_refused(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(optimizers={"one": 1, "two": 2}, spec=SimpleNamespace(name="gan"))
    with pytest.raises(PneumoError, match="one optimizer, and gan has 2"):
        SharpnessAware(SamSettings()).around_train_step(run)
