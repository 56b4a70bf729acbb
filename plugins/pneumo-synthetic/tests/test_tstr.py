"""What a classifier that has learnt from generated images is worth on real ones, where the answer is known."""

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


def judged(real: Labelled, synthetic: Labelled, seeds: int = 2) -> RunSummary:
    return tstr(real, synthetic, images(200, seed=9), seeds=seeds, device=CPU, progress=Progress())


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 25)


def test_copies_of_real_images_are_worth_as_much_as_these() -> None:
    found = judged(images(64, 0), images(64, 0)).metrics
    assert found["auc_real"] == pytest.approx(found["auc_synthetic"], abs=1e-12)
    assert found["auc_real"] > 0.9
    assert abs(found["gain"]) < 0.05


def test_images_without_what_tells_the_classes_apart_teach_nothing() -> None:
    half_of_each = Labelled(images(128, 1).images, torch.arange(128) // 2 % 2)
    judgement = judged(images(64, 0), half_of_each)
    assert judgement.metrics["auc_synthetic"] == pytest.approx(0.5, abs=0.25)
    assert judgement.metrics["auc_real"] > 0.9
    assert "Instead of real images they cost 0." in judgement.notes[-1]


def test_more_images_of_the_kind_help_where_real_ones_are_few() -> None:
    few, many = images(4, 0, contrast=25), images(200, 1, contrast=25)
    found = tstr(few, many, images(200, 9, contrast=25), seeds=2, device=CPU, progress=Progress())
    assert found.metrics["gain"] > 0.05
    assert found.notes[0].startswith("Generated images in addition helped (AUC +0.")
    assert "cost nothing" in found.notes[1]


def test_images_with_the_classes_confused_do_harm() -> None:
    real = images(64, 0)
    confused = Labelled(images(192, 1).images, 1 - images(192, 1).labels)
    found = judged(real, confused)
    assert found.metrics["gain"] < -0.1
    assert found.metrics["auc_synthetic"] < 0.2
    assert found.notes[0].startswith("Generated images in addition did harm (AUC -0.")


def test_the_table_says_how_much_of_what_was_learnt_and_with_what_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    judgement = judged(images(40, 0), images(24, 1))
    (table,) = judgement.tables
    assert table.head == ("trained on", "AUC", "accuracy")
    assert [row[0] for row in table.rows] == [
        "real (40 images)",
        "generated (24 images)",
        "real and generated (64 images)",
    ]
    assert all(" ± " in cell for row in table.rows for cell in row[1:])
    assert "over 2 seeds, 3 steps of 64 images" in table.note
    assert "200 real images" in table.note
    for row, name in zip(table.rows, ("real", "synthetic", "both"), strict=True):
        assert row[1].startswith(f"{judgement.metrics[f'auc_{name}']:.4f} ")


def test_equal_seeds_give_equal_numbers_and_leave_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = judged(images(32, 0), images(32, 1)).metrics
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert judged(images(32, 0), images(32, 1)).metrics == one


def test_both_classes_are_learnt_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the classifier of the larger class's images would be judged for its preference."""
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
        ([0.02, 0.03, 0.04], "Generated images in addition helped (AUC +0.0300 ± 0.0100, 3 seeds)."),
        ([-0.02, -0.03, -0.04], "Generated images in addition did harm (AUC -0.0300 ± 0.0100, 3 seeds)."),
        ([0.03, 0.03, -0.001], "did not help: the difference is within the spread"),  # they do not agree
        ([0.001, 0.001, 0.2], "did not help: the difference is within the spread"),  # one seed is all of it
        ([0.0, 0.0, 0.0], "did not help"),
    ],
)
def test_the_verdict_is_plain_and_takes_agreement_of_all_seeds(gains: list[float], words: str) -> None:
    verdict, _ = module._verdict({"auc_real": 0.9, "auc_synthetic": 0.8}, gains)
    assert words in verdict


def test_the_verdict_says_what_it_costs_to_do_without_real_images() -> None:
    assert module._verdict({"auc_real": 0.95, "auc_synthetic": 0.825}, [0.0, 0.0])[1] == (
        "Instead of real images they cost 0.125 of the AUC."
    )
    assert module._verdict({"auc_real": 0.95, "auc_synthetic": 0.96}, [0.0, 0.0])[1] == (
        "Instead of real images they cost nothing (AUC +0.010)."
    )
