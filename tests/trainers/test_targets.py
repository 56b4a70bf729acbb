"""The outputs and losses of classifiers: losses compared with torch's, and subtypes evaluated as one class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo_cli.data.records import Dataset, Record
from pneumo_cli.errors import UsageError
from pneumo_cli.trainers.class_weights import ClassWeights
from pneumo_cli.trainers.targets import BinaryTargets, SubtypeTargets, Targets, positive_logits, subtypes

LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
SUBTYPES = ("", "virus", "bacteria", "", "virus", "")
INDEX = torch.arange(6)


class Films(Dataset):
    """Records without images."""

    name = "films"
    classes = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = "a test"
    place = "nowhere"

    def __init__(self, found: tuple[str, ...] = SUBTYPES, labels: Tensor = LABELS) -> None:
        self.records = [
            Record(f"{n}.png", label, f"p{n}", "train", f"{n:02x}", subtype)
            for n, (label, subtype) in enumerate(zip(labels.tolist(), found, strict=True))
        ]

    def read(self, record: Record, size: int | None = None) -> Any:
        raise NotImplementedError


def outputs(classes: int, spread: float = 3.0) -> Tensor:
    return torch.randn(6, classes, generator=torch.Generator().manual_seed(2)) * spread


def weighted(positive: float) -> ClassWeights:
    return ClassWeights(np.array([1.0, positive]), np.ones(2))


# --- one logit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1.0, 0.35, 2.5])
def test_the_binary_loss_equals_torch_s_with_a_positive_weight(weight: float) -> None:
    values = outputs(1)
    ours = BinaryTargets(weighted(weight), 0.0).loss(values, LABELS, INDEX)
    theirs = F.binary_cross_entropy_with_logits(
        values.flatten(), LABELS.float(), pos_weight=torch.tensor(weight)
    )
    assert ours.shape == ()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.35])
def test_smoothing_changes_the_binary_targets_and_not_the_weights(weight: float) -> None:
    values = outputs(1)
    ours = BinaryTargets(weighted(weight), 0.2).loss(values, LABELS, INDEX)
    losses = []
    for value, label in zip(values.flatten().double().tolist(), LABELS.tolist(), strict=True):
        probability, target = 1 / (1 + math.exp(-value)), 0.9 if label else 0.1
        loss = -(target * math.log(probability) + (1 - target) * math.log(1 - probability))
        losses.append(loss * (weight if label else 1.0))
    assert ours.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_binary_logit_is_the_output_as_float32() -> None:
    assert BinaryTargets.outputs == 1
    values = outputs(1).to(torch.bfloat16)
    logits = positive_logits(values)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, values[:, 0].float())
    assert BinaryTargets(weighted(1.0), 0.0).loss(values, LABELS, INDEX).dtype == torch.float32


def test_extreme_outputs_have_a_finite_loss() -> None:
    for values in (torch.full((6, 1), 200.0), torch.full((6, 1), -200.0)):
        assert BinaryTargets(weighted(1.0), 0.1).loss(values, LABELS, INDEX).isfinite()
    values = torch.tensor([[200.0, -200.0, 0.0]]).expand(6, -1)
    targets = SubtypeTargets(Films(), weighted(1.0), 0.1)
    assert targets.loss(values, LABELS, INDEX).isfinite()
    assert positive_logits(values).isfinite().all()


# --- one score per subtype --------------------------------------------------------------------------------------


def test_subtypes_are_those_of_the_positive_class_sorted() -> None:
    targets = SubtypeTargets(Films(), weighted(1.0), 0.0)
    assert list(targets.subtypes) == ["bacteria", "virus"]
    assert targets.outputs == 3
    # A subtype of negative images is ignored.
    assert list(subtypes(Films(("healthy", *SUBTYPES[1:])))) == ["bacteria", "virus"]


def test_the_logit_is_the_log_odds_of_any_subtype_by_softmax() -> None:
    values = outputs(3)
    logits = positive_logits(values)
    shares = values.double().softmax(1)
    odds = (shares[:, 1] + shares[:, 2]) / shares[:, 0]
    assert logits.shape == (6,)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits.double(), odds.log(), atol=1e-5)
    assert torch.allclose(logits.double().sigmoid(), 1 - shares[:, 0], atol=1e-6)


def test_the_subtype_loss_is_the_cross_entropy_of_class_0_and_the_subtypes() -> None:
    values = outputs(3)
    classes = torch.tensor([0, 2, 1, 0, 2, 0])
    ours = SubtypeTargets(Films(), weighted(1.0), 0.0).loss(values, LABELS, INDEX)
    assert ours.shape == ()
    assert ours.item() == pytest.approx(F.cross_entropy(values, classes).item(), rel=1e-6)


def test_smoothing_spreads_a_subtype_s_label_over_all_classes() -> None:
    values = outputs(3)
    ours = SubtypeTargets(Films(), weighted(1.0), 0.3).loss(values, LABELS, INDEX)
    targets = F.one_hot(torch.tensor([0, 2, 1, 0, 2, 0]), 3) * 0.7 + 0.1
    by_hand = -(targets * values.log_softmax(1)).sum(1).mean()
    assert ours.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_positive_weight_applies_to_all_subtypes_and_not_to_class_0() -> None:
    values = outputs(3)
    ours = SubtypeTargets(Films(), weighted(0.35), 0.1).loss(values, LABELS, INDEX)
    losses = F.cross_entropy(values, torch.tensor([0, 2, 1, 0, 2, 0]), reduction="none", label_smoothing=0.1)
    by_hand = (losses * torch.tensor([1.0, 0.35, 0.35, 1.0, 0.35, 1.0])).mean()
    assert ours.item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_classes_are_looked_up_by_the_position_in_the_records() -> None:
    values = outputs(3)
    targets = SubtypeTargets(Films(), weighted(1.0), 0.0)
    order = torch.tensor([4, 2, 2, 0])
    found = targets.loss(values[order], LABELS[order], order)
    assert found.item() == pytest.approx(
        F.cross_entropy(values[order], torch.tensor([2, 1, 1, 0])).item(), rel=1e-6
    )


@pytest.mark.parametrize(
    "targets", [BinaryTargets(weighted(0.5), 0.1), SubtypeTargets(Films(), weighted(0.5), 0.1)]
)
def test_gradients_push_each_logit_towards_its_label(targets: Targets) -> None:
    values = torch.zeros(6, targets.outputs, requires_grad=True)
    targets.loss(values, LABELS, INDEX).backward()
    assert values.grad is not None
    with torch.no_grad():
        moved = positive_logits(values - values.grad) - positive_logits(values)
    assert torch.equal(moved > 0, LABELS == 1)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (("",) * 6, "3 of 3 images have none"),
        (("", "virus", "", "", "virus", ""), "1 of 3 images have none"),
        (("", "virus", "virus", "", "virus", "bacteria"), "all are 'virus'"),
    ],
)
def test_a_dataset_without_distinct_subtypes_is_a_one_line_error(found: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        SubtypeTargets(Films(found), weighted(1.0), 0.0)
    (line,) = str(caught.value).splitlines()
    assert (
        line == f"the dataset films does not distinguish subtypes of PNEUMONIA ({reason}): use --no-subtypes"
    )


def test_a_dataset_without_positive_images_is_an_error() -> None:
    films = Films(("",) * 6, torch.zeros(6, dtype=torch.int64))
    with pytest.raises(UsageError, match=r"PNEUMONIA \(it has no images of that class\)"):
        subtypes(films)
