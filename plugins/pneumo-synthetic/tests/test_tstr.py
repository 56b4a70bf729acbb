"""TSTR on images of which it is known how good they are as training data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pneumo_cli.evaluation.result import RunSummary
from pneumo_cli.runtime.progress import Progress
from pneumo_synthetic import tstr as module
from pneumo_synthetic.tstr import Labelled, tstr

CPU = torch.device("cpu")


def images(n: int, seed: int, contrast: int = 60) -> Labelled:
    """Noise [n, 16, 16]; every second image is brighter on its left half."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randn(n, 16, 16, generator=generator) * 40 + 100
    labels = torch.arange(n) % 2
    levels[:, :, :8] += contrast * labels.view(-1, 1, 1)
    return Labelled(levels.clamp(0, 255).to(torch.uint8), labels)


def evaluated(real: Labelled, synthetic: Labelled, seeds: int = 2) -> RunSummary:
    return tstr(real, synthetic, images(200, seed=9), seeds=seeds, device=CPU, progress=Progress())


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 15)
    monkeypatch.setattr(module, "_BATCH", 16)


def test_copies_of_real_images_are_as_good_as_these() -> None:
    metrics = evaluated(images(64, 0), images(64, 0)).metrics
    assert metrics["auc_real"] == pytest.approx(metrics["auc_synthetic"], abs=0.01)  # two equal trainings
    assert metrics["auc_real"] > 0.9
    assert abs(metrics["gain"]) < 0.05


def test_images_with_uninformative_labels_teach_nothing() -> None:
    half_of_each = Labelled(images(128, 1).images, torch.arange(128) // 2 % 2)
    summary = evaluated(images(64, 0), half_of_each)
    assert summary.metrics["auc_synthetic"] == pytest.approx(0.5, abs=0.25)
    assert summary.metrics["auc_real"] > 0.9
    assert "Replacing real images by generated ones changes the AUC by -0." in summary.notes[-1]


def test_more_images_help_where_real_ones_are_few() -> None:
    few, many = images(4, 0, contrast=15), images(200, 1, contrast=15)
    summary = tstr(few, many, images(200, 9, contrast=15), seeds=2, device=CPU, progress=Progress())
    assert summary.metrics["gain"] > 0.05
    assert summary.notes[0].startswith("Adding generated images to real ones helped (AUC +0.")
    assert "changes the AUC by +0." in summary.notes[1]


def test_images_with_swapped_labels_do_harm() -> None:
    real = images(64, 0)
    swapped = Labelled(images(192, 1).images, 1 - images(192, 1).labels)
    summary = evaluated(real, swapped)
    assert summary.metrics["gain"] < -0.1
    assert summary.metrics["auc_synthetic"] < 0.2
    assert summary.notes[0].startswith("Adding generated images to real ones did harm (AUC -")


def test_the_table_has_training_sets_and_standard_deviations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    summary = evaluated(images(40, 0), images(24, 1))
    (table,) = summary.tables
    assert table.head == ("trained on", "AUC", "accuracy")
    assert [row[0] for row in table.rows] == [
        "real (40 images)",
        "generated (24 images)",
        "real and generated (64 images)",
    ]
    assert all(" ± " in cell for row in table.rows for cell in row[1:])
    assert "over 2 seeds, 3 steps of 16 images" in table.note
    assert "200 real images" in table.note
    for row, name in zip(table.rows, ("real", "synthetic", "both"), strict=True):
        assert row[1].startswith(f"{summary.metrics[f'auc_{name}']:.4f} ")


def test_equal_seeds_give_equal_numbers_and_leave_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = evaluated(images(32, 0), images(32, 1)).metrics
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert evaluated(images(32, 0), images(32, 1)).metrics == one


def test_batches_are_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the prior of the training set would count."""
    monkeypatch.setattr(module, "STEPS", 3)
    batches: list[Tensor] = []
    given = module.F.binary_cross_entropy_with_logits
    monkeypatch.setattr(
        module.F,
        "binary_cross_entropy_with_logits",
        lambda logits, labels: batches.append(labels) or given(logits, labels),
    )
    few = torch.tensor([0, 1, 17, 33])
    rare = Labelled(images(40, 0).images, torch.zeros(40, dtype=torch.int64).index_fill(0, few, 1))
    module._trained(rare, 0, CPU)
    assert len(batches) == 3
    assert {float(labels.mean()) for labels in batches} == {0.5}


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.02, 0.03, 0.04], "Adding generated images to real ones helped (AUC +0.0300 ± 0.0100, 3 seeds)."),
        (
            [-0.02, -0.03, -0.04],
            "Adding generated images to real ones did harm (AUC -0.0300 ± 0.0100, 3 seeds).",
        ),
        ([0.03, 0.03, -0.001], "did not help: the difference is within the spread"),  # the seeds disagree
        ([0.001, 0.001, 0.2], "did not help: the difference is within the spread"),  # due to one seed
        ([0.0, 0.0, 0.0], "did not help"),
    ],
)
def test_a_conclusion_takes_agreement_of_all_seeds(gains: list[float], words: str) -> None:
    conclusion, _ = module._conclusions({"auc_real": 0.9, "auc_synthetic": 0.8}, gains)
    assert words in conclusion


def test_the_second_conclusion_is_on_training_without_real_images() -> None:
    worse = module._conclusions({"auc_real": 0.95, "auc_synthetic": 0.825}, [0.0, 0.0])[1]
    assert worse == "Replacing real images by generated ones changes the AUC by -0.125."
    better = module._conclusions({"auc_real": 0.95, "auc_synthetic": 0.96}, [0.0, 0.0])[1]
    assert better == "Replacing real images by generated ones changes the AUC by +0.010."
