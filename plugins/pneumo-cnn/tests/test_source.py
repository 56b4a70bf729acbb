"""The task of the source report: its network, its recipe, its numbers (SOURCE 2 to 4)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.trainers.model_summary import layer_table
from pneumo_cnn.model import build_cnn
from pneumo_cnn.settings import CnnSettings
from pneumo_cnn.trainer import CnnTrainer


@pytest.fixture
def run() -> SimpleNamespace:
    """What the recipe needs of a run: the labels of the report's split, and a model."""
    labels = np.repeat(np.array([0, 1, 0, 1, 0, 1]), [1017, 2907, 332, 976, 234, 390])
    train = np.arange(1017 + 2907)
    return SimpleNamespace(
        data=SimpleNamespace(
            labels=labels,
            split=SimpleNamespace(train=train),
            dataset=SimpleNamespace(classes=("NORMAL", "PNEUMONIA")),
        ),
        settings=CnnSettings(),
        device=SimpleNamespace(fused=False),
        model=nn.Linear(1, 1),
        model_entry=discover().models.get("pneumo-cnn:cnn"),
    )


# Figure 11: a stage is (convolution, BatchNorm, ReLU) twice, then pooling.
STAGES = [(64, 256), (128, 128), (256, 64), (512, 32)]
CONVOLUTIONS = [1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 1_180_160, 2_359_808]


def figure_11() -> list[tuple[str, tuple[int, ...], int]]:
    rows: list[tuple[str, tuple[int, ...], int]] = []
    counts = iter(CONVOLUTIONS)
    for stage, (channels, side) in enumerate(STAGES):
        shape = (channels, side, side)
        for _ in range(2):
            rows += [
                ("Conv2d", shape, next(counts)),
                ("BatchNorm2d", shape, 2 * channels),
                ("ReLU", shape, 0),
            ]
        if stage < 3:
            rows.append(("MaxPool2d", (channels, side // 2, side // 2), 0))
    rows += [("AdaptiveAvgPool2d", (512, 1, 1), 0), ("Flatten", (512,), 0), ("Linear", (1,), 513)]
    return [(f"{name}-{number}", *rest) for number, (name, *rest) in enumerate(rows, 1)]


def test_the_layers_are_those_of_figure_11() -> None:
    with torch.device("meta"):
        table = layer_table(build_cnn(), (3, 256, 256))
    assert [(row.name, row.shape, row.parameters) for row in table.rows] == figure_11()
    assert len(table.rows) == 30
    assert table.rows[0].name == "Conv2d-1"
    assert table.rows[-1].name == "Linear-30"


def test_the_totals_are_those_of_figure_11() -> None:
    with torch.device("meta"):
        table = layer_table(build_cnn(), (3, 256, 256))
    assert (table.parameters, table.trainable) == (4_689_729, 4_689_729)
    megabytes = (table.input_mb, table.forward_backward_mb, table.parameters_mb, table.total_mb)
    assert [f"{value:.2f}" for value in megabytes] == ["0.75", "374.01", "17.89", "392.65"]


def test_the_output_is_a_logit_without_sigmoid() -> None:
    assert isinstance(build_cnn()[-1], nn.Linear)
    assert not any(isinstance(module, nn.Sigmoid) for module in build_cnn().modules())


def test_the_defaults_are_the_reports() -> None:
    expected = {
        "lr": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-5,
        "lr_step": 5,
        "lr_gamma": 0.5,
        "batch_size": 16,
        "image_size": 256,
        "rotation": 30.0,
        "flip": 0.5,
        "brightness": 0.2,
        "contrast": 0.2,
        "augment": True,
        "class_weights": "balanced",
        "split": "source",
        "split_seed": 42,
        "validation_fraction": 0.25,
        "epochs": 20,
        "monitor": "accuracy",
    }
    settings = CnnSettings()
    assert {name: getattr(settings, name) for name in expected} == expected


def test_the_preset_source_comes_first_and_changes_nothing() -> None:
    presets = discover().trainers.get("pneumo-cnn:cnn").spec.presets
    assert presets[0].name == "source"
    assert presets[0].values == {}
    # The others are evaluated on other patients than those trained on, by a metric without a threshold.
    assert all(p.values["split"] == "patient" and p.values["monitor"] == "auc" for p in presets[1:])


def test_the_weight_of_the_positive_class_is_the_ratio_of_normal_to_pneumonia(run: SimpleNamespace) -> None:
    trainer = CnnTrainer(CnnSettings())
    assert trainer.positive_weight(run) == 1017 / 2907
    assert CnnTrainer(CnnSettings(class_weights="none")).positive_weight(run) == 1.0
    logits, labels = torch.tensor([0.3, -0.7, 1.1]), torch.tensor([1, 0, 1])
    weight = 1017 / 2907
    expected = (
        weight * np.log1p(np.exp(-0.3)) + np.log1p(np.exp(-0.7)) + weight * np.log1p(np.exp(-1.1))
    ) / 3
    assert float(trainer.loss(run, logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_the_optimizer_is_sgd_with_nesterov_momentum(run: SimpleNamespace) -> None:
    optimizer = CnnTrainer(CnnSettings()).build_optimizers(run)["main"]
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (
        0.01,
        0.9,
        True,
        1e-5,
    )


def test_the_learning_rate_halves_every_five_epochs(run: SimpleNamespace) -> None:
    trainer = CnnTrainer(CnnSettings())
    run.optimizers = trainer.build_optimizers(run)
    scheduler = trainer.build_schedulers(run)["main"]
    rates = []
    for _ in range(20):
        rates.append(run.optimizers["main"].param_groups[0]["lr"])
        run.optimizers["main"].step()
        scheduler.step()
    assert rates == pytest.approx([0.01] * 5 + [0.005] * 5 + [0.0025] * 5 + [0.00125] * 5)


@pytest.mark.parametrize(("monitor", "mode"), [("accuracy", "max"), ("auc", "max"), ("loss", "min")])
def test_the_loss_is_minimised_and_other_metrics_are_maximised(monitor: str, mode: str) -> None:
    assert CnnTrainer(CnnSettings(monitor=monitor)).monitor == (monitor, mode, "validation")


def test_the_report_shows_the_five_curves_of_figures_16_to_20() -> None:
    assert CnnTrainer.curves == ("accuracy", "loss", "precision", "recall", "f1")
