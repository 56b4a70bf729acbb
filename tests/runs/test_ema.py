"""The exponential moving average of the weights, compared with one that is computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pneumo_cli.runs.ema import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))


def move(model: nn.Module, seed: int) -> None:
    """Change all weights as an optimizer would, and the BatchNorm statistics as a forward pass does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        model.train()
        model(torch.randn(8, 1, 3, 3, generator=generator))


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_it_is_the_exponential_average_with_a_decay_that_rises(decay: float) -> None:
    model = network()
    average = WeightAverage(model, decay)
    expected: dict[str, Tensor] = {}
    for update in range(30):
        move(model, update)
        average.update_parameters(model)
        current = {name: value.double() for name, value in values(model).items()}
        # torch's average is a copy of the model at the first update.
        d = min(decay, (1 + update) / (10 + update)) if expected else 0.0
        expected = {name: d * expected.get(name, value) + (1 - d) * value for name, value in current.items()}
        for name, value in values(average.module).items():
            if value.is_floating_point():
                assert torch.allclose(value.double(), expected[name], rtol=1e-5, atol=1e-6), (update, name)


def test_the_decay_reaches_its_setting_and_does_not_exceed_it() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.6)
    with torch.no_grad():
        for update in range(40):
            before = average.module.weight.item() if update else 0.0
            model.weight.fill_(float(update))
            average.update_parameters(model)
            kept = average.module.weight.item()
            if update > 13:  # (1 + 14) / (10 + 14) is above 0.6
                assert kept == pytest.approx(0.6 * before + 0.4 * update, rel=1e-5)
    assert 0 < kept < 39


def test_measured_buffers_are_averaged_and_counts_are_copied() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    for update in range(5):
        move(model, update)
        average.update_parameters(model)
    current, own = values(model), values(average.module)
    assert own["1.num_batches_tracked"] == current["1.num_batches_tracked"] == 5
    assert own["1.num_batches_tracked"].dtype == torch.int64
    for name in ("1.running_mean", "1.running_var", "0.weight", "3.bias"):
        assert not torch.equal(own[name], current[name])


def test_the_model_is_not_changed_and_the_average_is_not_trained() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    move(model, 1)
    before = values(model)
    average.update_parameters(model)
    average.update_parameters(model)
    assert all(torch.equal(value, before[name]) for name, value in values(model).items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    own = {value.data_ptr() for value in average.module.state_dict().values()}
    assert own.isdisjoint(value.data_ptr() for value in model.state_dict().values())


def test_a_model_that_does_not_change_is_its_own_average() -> None:
    model = network()
    average = WeightAverage(model, 0.99)
    for _ in range(20):
        average.update_parameters(model)
    for name, value in values(average.module).items():
        assert torch.equal(value, model.state_dict()[name])


def test_frozen_parameters_stay_equal_to_the_bit() -> None:
    model = network()
    model[0].requires_grad_(False)
    average = WeightAverage(model, 0.9)
    frozen = model[0].weight.clone()
    for update in range(20):
        with torch.no_grad():
            model[3].weight.add_(float(update))
        average.update_parameters(model)
    assert torch.equal(average.module[0].weight, frozen)


def test_it_continues_from_its_state_dict_to_the_same_bits() -> None:
    model = network()
    straight = WeightAverage(model, 0.95)
    for update in range(4):
        move(model, update)
        straight.update_parameters(model)
    resumed = WeightAverage(network(), 0.95)
    resumed.load_state_dict(straight.state_dict())
    for update in range(4, 8):
        move(model, update)
        straight.update_parameters(model)
        resumed.update_parameters(model)
    assert straight.state_dict().keys() == resumed.state_dict().keys()
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_model_without_buffers_is_averaged_too() -> None:
    model = nn.Linear(3, 1)
    average = WeightAverage(model, 0.9)
    for _ in range(3):
        with torch.no_grad():
            model.weight.mul_(2)
        average.update_parameters(model)
    assert not torch.equal(average.module.weight, model.weight)
