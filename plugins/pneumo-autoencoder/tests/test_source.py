"""The task of the source report: its network, its recipe, its numbers (SOURCE 8)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pneumo_autoencoder.model import build_autoencoder
from pneumo_autoencoder.settings import AutoencoderSettings
from pneumo_autoencoder.trainer import AutoencoderTrainer, _keras_accuracy
from pneumo_cli.data.records import Record
from pneumo_cli.data.splits import split_records
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.testing import invoke
from pneumo_cli.trainers.model_summary import layer_table


def test_the_layers_are_the_reports() -> None:
    with torch.device("meta"):
        table = layer_table(build_autoencoder(), (3, 256, 256))
    layers = [(row.name.partition("-")[0], row.shape, row.parameters) for row in table.rows]
    expected = [
        ("Conv2d", (64, 256, 256), 1_792),
        ("ReLU", (64, 256, 256), 0),
        ("MaxPool2d", (64, 128, 128), 0),
        ("Conv2d", (128, 128, 128), 73_856),
        ("ReLU", (128, 128, 128), 0),
        ("MaxPool2d", (128, 64, 64), 0),
        ("Conv2d", (256, 64, 64), 295_168),
        ("ReLU", (256, 64, 64), 0),
        ("MaxPool2d", (256, 32, 32), 0),
        ("Conv2d", (256, 32, 32), 590_080),
        ("ReLU", (256, 32, 32), 0),
        ("Upsample", (256, 64, 64), 0),
        ("Conv2d", (128, 64, 64), 295_040),
        ("ReLU", (128, 64, 64), 0),
        ("Upsample", (128, 128, 128), 0),
        ("Conv2d", (64, 128, 128), 73_792),
        ("ReLU", (64, 128, 128), 0),
        ("Upsample", (64, 256, 256), 0),
        ("Conv2d", (3, 256, 256), 1_731),
        ("ReLU", (3, 256, 256), 0),
    ]
    assert layers == expected
    assert table.parameters == table.trainable == 1_331_459


def test_the_bottleneck_is_larger_than_the_image() -> None:
    with torch.device("meta"):
        model = build_autoencoder()
        latent = model.encode(torch.zeros(1, 3, 256, 256))
    assert latent.shape == (1, 256, 32, 32)
    assert model.latent_values == latent.numel() == 262_144
    assert model.input_shape == (3, 256, 256)


def test_the_weights_are_initialised_as_in_keras() -> None:
    torch.manual_seed(0)
    convolutions = [layer for layer in build_autoencoder(size=16).modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        assert layer.bias is not None
        assert not layer.bias.any()
        limit = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
        assert layer.weight.abs().max() <= limit
        assert layer.weight.abs().max() > 0.95 * limit


def test_the_defaults_are_the_reports() -> None:
    expected = {
        "images_of": "PNEUMONIA",
        "split": "last",
        "validation_fraction": 0.2,
        "image_size": 256,
        "channels": 3,
        "batch_size": 2,
        "lr": 0.001,
        "epochs": 100,
        "ema": 0.0,
    }
    settings = AutoencoderSettings()
    assert {name: getattr(settings, name) for name in expected} == expected
    assert AutoencoderTrainer(settings).monitor == ("loss", "min", "validation")


def test_the_optimizer_is_adam_with_the_defaults_of_keras() -> None:
    run = SimpleNamespace(model=nn.Linear(1, 1), device=SimpleNamespace(fused=False))
    optimizer = AutoencoderTrainer(AutoencoderSettings()).build_optimizers(run)["main"]
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert [group[name] for name in ("lr", "betas", "eps", "weight_decay")] == [0.001, (0.9, 0.999), 1e-7, 0]


def test_the_last_fifth_of_the_3883_images_validates() -> None:
    records = [Record(f"n{i:04}", 0, f"n{i}", "train", f"n{i}") for i in range(1349)]
    records += [Record(f"p{i:04}", 1, f"p{i}", "train", f"p{i}") for i in range(3883)]
    settings = AutoencoderSettings()
    split = split_records(records, settings.split, settings.validation_fraction, settings.split_seed)
    pneumonia = split.where(lambda position: records[position].label == 1)
    assert pneumonia.train.tolist() == list(range(1349, 1349 + 3106))
    assert pneumonia.validation.tolist() == list(range(1349 + 3106, 1349 + 3883))
    assert len(pneumonia.validation) == 777


def test_the_preset_source_comes_first_and_changes_nothing() -> None:
    presets = discover().trainers.get("pneumo-autoencoder:autoencoder").spec.presets
    assert presets[0].name == "source"
    assert presets[0].values == {}
    assert all(preset.values["split"] == "patient" for preset in presets[1:])


def test_keras_accuracy_compares_channels_and_is_meaningless_for_gray_images() -> None:
    gray = torch.rand(1, 1, 4, 4).expand(1, 3, 4, 4)
    black = torch.zeros(1, 3, 4, 4)
    assert _keras_accuracy(black, gray).tolist() == [1]  # all wrong, and yet the highest accuracy
    nearly_equal = gray + torch.tensor([0, 1e-3, 0]).view(1, 3, 1, 1)
    assert _keras_accuracy(nearly_equal, gray).tolist() == [0]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--image-size", "100"], "a size of 100 px is not divisible by 8"),
        (["--model", "vae", "--image-size", "96"], "takes images of 32, 64, 128 or 256 px, not of 96"),
        (["--channels", "2"], "channels"),
        (["--images-of", "COVID"], "has no class 'COVID'"),
    ],
)
def test_an_invalid_request_is_one_line_and_writes_nothing(
    flags: list[str], reason: str, tmp_path: Path
) -> None:
    ended = invoke("run", "autoencoder", "--output", tmp_path / "runs", "--cache", tmp_path / "cache", *flags)
    assert ended.code == 2
    assert reason in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists()
