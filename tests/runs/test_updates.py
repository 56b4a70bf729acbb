"""Gradients for extensions, and the halves of an update."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pneumo_cli.runs.updates import Updates
from pneumo_cli.runtime.distributed import Ranks


class TwoRanks(Ranks):
    """Every sum over ranks is twice this rank's value."""

    def sum_tensors(self, tensors) -> None:
        for tensor in tensors:
            tensor.mul_(2)

    def sum_gradients(self, parameters) -> None:
        self.sum_tensors([parameter.grad for parameter in parameters])


def updates_of(
    *parameters: nn.Parameter, ranks: Ranks | None = None, fp16: bool = False, **options
) -> Updates:
    optimizers = {"main": torch.optim.SGD(parameters, lr=1.0)}
    scaler = torch.amp.GradScaler("cpu", enabled=fp16)
    common = {"accumulate": 1, "clip_norm": 0.0} | options
    return Updates(optimizers, device_type="cpu", scaler=scaler, ranks=ranks or Ranks(), **common)


def test_gradients_are_summed_over_ranks_and_nothing_is_accumulated_counted_or_updated() -> None:
    weight, unused = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.ones(1))
    updates = updates_of(weight, unused, ranks=TwoRanks())
    updates.rank_share = 0.5
    loss = (weight**2).sum()
    for _ in range(2):  # the loss can be differentiated again
        gradients = updates.gradients(loss, "main")
        assert gradients[weight].tolist() == [2.0, 4.0]
        assert gradients[unused].tolist() == [0.0]
    assert weight.grad is None
    assert not updates.counts
    assert updates.complete
    assert weight.tolist() == [1.0, 2.0]


def test_in_fp16_a_gradient_that_overflows_at_the_scale_of_the_losses_is_computed_at_a_lower_one() -> None:
    weight = nn.Parameter(torch.ones(2, dtype=torch.float16))
    updates = updates_of(weight, fp16=True)
    scale = updates.scaler.get_scale()
    gradients = updates.gradients((weight * 30).sum().float(), "main")
    assert gradients[weight].tolist() == [30.0, 30.0]
    assert updates.scaler.get_scale() == scale


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_halves_of_an_update_are_an_update(accumulate: int) -> None:
    whole, halves = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    one, other = (updates_of(weight, accumulate=accumulate, clip_norm=0.1) for weight in (whole, halves))
    for step in range(1, 7):
        one.make((whole**2).sum(), "main")
        other.backward((halves**2).sum(), "main")
        other.update("main")
        other.update("main")  # without a batch there is nothing to update
        assert torch.equal(whole, halves)
        assert one.complete is other.complete is (step % accumulate == 0)
    assert one.counts == other.counts == {"main": 6}


def test_losses_that_were_trained_are_checked_once() -> None:
    weight = nn.Parameter(torch.ones(1))
    updates = updates_of(weight)
    assert updates.losses_are_finite()
    updates.make(weight.sum(), "main")
    updates.make(weight.sum() * float("nan"), "main")
    assert not updates.losses_are_finite()
    assert updates.losses_are_finite()


def test_what_follows_an_update_in_the_same_step_sees_the_updated_weights_in_bf16_too() -> None:
    layer, images = nn.Linear(4, 1, bias=False), torch.ones(2, 4)
    nn.init.ones_(layer.weight)
    updates = updates_of(layer.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        updates.make(layer(images).float().mean(), "main")  # the gradient is 1: the weights become 0
        after = layer(images)
    assert layer.weight.tolist() == [[0.0] * 4]
    assert after.tolist() == [[0.0], [0.0]]


def test_an_optimizer_that_drops_gradients_in_its_own_way_is_asked_to() -> None:
    class Own(torch.optim.SGD):
        dropped = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.dropped += 1
            super().zero_grad(set_to_none)

    weight = nn.Parameter(torch.ones(1))
    updates = updates_of(weight)
    optimizer = updates._optimizers["main"] = Own([weight], lr=1.0)
    for count in (1, 2):
        updates.make(weight.sum(), "main")
        assert weight.grad.tolist() == [1.0]  # not of both steps
        assert optimizer.dropped == count


def test_a_whole_batch_is_weighted_by_nothing_and_its_share_by_its_size() -> None:
    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten.mul.Tensor
            return function(*args, **(kwargs or {}))

    weight = nn.Parameter(torch.ones(1))
    updates = updates_of(weight)
    for share, products in ((1.0, 0), (0.5, 2)):  # forward and backward
        updates.batch_share = share
        loss = weight.sum()
        with Products() as found:
            updates.backward(loss, "main")
        updates.update("main")
        assert (found.count, weight.grad.tolist()) == (products, [share])
