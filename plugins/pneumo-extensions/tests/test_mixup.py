"""Mixup: the mixed loss is that of mixed labels, and a run with it is repeatable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pneumo_cli.data import Batch
from pneumo_cli.testing import Invocation
from pneumo_extensions.mixup import Mixup
from pneumo_extensions.settings import MixupSettings


def test_the_loss_is_that_of_mixed_images_and_mixed_labels() -> None:
    run: Any = SimpleNamespace(
        settings=SimpleNamespace(seed=1), epoch=3, step=2, ranks=SimpleNamespace(rank=0)
    )
    mixup = Mixup(MixupSettings(alpha=1.0))
    images, labels = torch.rand(8, 1, 4, 4), torch.tensor([0, 1] * 4)
    batch = Batch(images, labels, torch.arange(8))
    weights = torch.rand(16)
    seen: dict[str, torch.Tensor] = {}

    def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(outputs, batch.labels.float())

    def train_step(batch: Batch) -> dict[str, torch.Tensor]:
        seen["images"] = batch.images
        outputs = batch.images.flatten(1) @ weights
        return {"loss": mixup.around_loss(run)(loss, outputs, batch), "outputs": outputs}

    result = mixup.around_train_step(run)(train_step, batch)
    # Which images were mixed, and how much, follows from the pixels alone.
    found = []
    for place in range(8):
        for other in range(8):
            direction = images[other] - images[place]
            share = (
                (seen["images"][place] - images[place]) * direction
            ).sum() / direction.square().sum().clamp(min=1e-9)
            if torch.allclose(images[place] + share * direction, seen["images"][place], atol=1e-5):
                found.append((place, other, 1 - float(share)))
                break
    assert len(found) == 8
    mixed = torch.tensor([s * labels[p] + (1 - s) * labels[o] for p, o, s in found])
    expected = F.binary_cross_entropy_with_logits(result["outputs"], mixed)
    assert float(result["loss"]) == pytest.approx(float(expected), rel=1e-4)


def test_other_targets_than_labels_are_mixed_too() -> None:
    run: Any = SimpleNamespace(
        settings=SimpleNamespace(seed=1), epoch=3, step=2, ranks=SimpleNamespace(rank=0)
    )
    mixup = Mixup(MixupSettings(alpha=1.0))
    values = torch.rand(8)
    images = values[:, None, None, None].expand(8, 1, 4, 4)  # a mixed image says what its number is
    batch = Batch(images, torch.zeros(8, dtype=torch.long), torch.arange(8), targets={"age": values})

    def train_step(batch: Batch) -> dict[str, torch.Tensor]:
        weighted = batch.images[:, 0, 0, 0] * torch.arange(8)
        targets = mixup.around_loss(run)(lambda _, one: one.targets["age"] * torch.arange(8), weighted, batch)
        return {"difference": (weighted - targets).abs().max()}

    assert float(mixup.around_train_step(run)(train_step, batch)["difference"]) < 1e-5


@pytest.mark.slow
def test_a_run_with_it_is_repeatable_and_differs_from_one_without(
    pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    flags = ("run", "fake", "--epochs", 2, "--precision", "fp32")
    histories = []
    for name, further in {"a": ("--with", "mixup"), "b": ("--with", "mixup"), "c": ()}.items():
        ended = pneumo(*flags, *further, "--output", name)
        assert ended.code == 0, ended.stderr
        (metrics,) = (fakes / name).glob("*/*/metrics.jsonl")
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        histories.append([row["train"]["loss"] for row in rows])
    assert histories[0] == histories[1]
    assert histories[0][1:] != histories[2][1:]


def test_a_trainer_that_has_no_loss_to_mix_is_refused(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    ended = pneumo("run", "duel", "--epochs", 1, "--with", "mixup")
    assert ended.code == 2, ended.stderr
    assert "mixup" in ended.stderr.splitlines()[-1]
    assert not (fakes / "runs").exists()
