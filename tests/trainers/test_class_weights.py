"""Weights of classes in the loss: what the two settings mean, for two classes, K classes and K labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from pneumo_cli.data.records import Task
from pneumo_cli.errors import UsageError
from pneumo_cli.trainers.class_weights import class_weights
from pneumo_cli.trainers.targets import MultiTargets

TWO, THREE = ("NORMAL", "PNEUMONIA"), ("normal", "bacteria", "virus")
BINARY = np.array([0] * 2 + [1] * 6)
CLASSES = np.array([0] * 5 + [1] * 3 + [2] * 2)
LABELS = np.array([[1, 0, -1], [1, 1, 0], [0, -1, 0], [1, 0, 1]])


def test_of_two_classes_the_positive_one_is_weighted_by_their_ratio() -> None:
    present = class_weights("balanced", "", BINARY, "binary", TWO).present
    assert present.tolist() == [1.0, 2 / 6]


def test_balanced_exclusive_classes_have_scikit_learn_s_weights() -> None:
    present = class_weights("balanced", "", CLASSES, "multiclass", THREE).present
    assert present == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=CLASSES))
    sums = [present[label] * (label == CLASSES).sum() for label in range(3)]
    assert sums == pytest.approx([sums[0]] * 3)


def test_balanced_labels_weight_their_images_by_the_ratio_of_those_without_the_known_label() -> None:
    weights = class_weights("balanced", "", LABELS, "multilabel", THREE)
    assert weights.present == pytest.approx([1 / 3, 2 / 1, 2 / 1])
    assert weights.absent.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "expected"), [("1,2,0.5", [1, 2, 0.5]), ("virus=3", [1, 1, 3]), ("Virus=3, normal=2", [2, 1, 3])]
)
def test_weights_are_numbers_in_the_order_of_the_classes_or_by_name(text: str, expected: list[float]) -> None:
    assert class_weights(text, "", CLASSES, "multiclass", THREE).present.tolist() == expected


def test_pos_weight_replaces_the_ratio() -> None:
    assert class_weights("balanced", "2", BINARY, "binary", TWO).present.tolist() == [1, 2]
    assert class_weights("none", "2", LABELS, "multilabel", THREE).present.tolist() == [2, 2, 2]
    assert class_weights("none", "2,1,4", LABELS, "multilabel", THREE).present.tolist() == [2, 1, 4]
    assert class_weights("none", "bacteria=5", LABELS, "multilabel", THREE).present.tolist() == [1, 5, 1]


@pytest.mark.parametrize(
    ("setting", "pos", "task", "words"),
    [
        ("1,2", "", "multiclass", "3 numbers, for normal, bacteria, virus"),
        ("heavy", "", "multiclass", "none, balanced, or 3 numbers"),
        ("1,0,2", "", "multiclass", "'0' is not a number above 0"),
        ("1,nan,2", "", "multiclass", "'nan' is not a number above 0"),
        ("fungus=2", "", "multiclass", "no class 'fungus'"),
        ("none", "2", "multiclass", "3 exclusive classes: use class_weights"),
        ("1,2,3", "2", "multilabel", "exclude each other"),
        ("none", "1,2", "multilabel", "3 numbers"),
        ("none", "-1", "binary", "'-1' is not a number above 0"),
        ("none", "1,2", "binary", "one number"),
    ],
)
def test_a_wrong_weight_is_a_one_line_error(setting: str, pos: str, task: Task, words: str) -> None:
    labels = {"binary": BINARY, "multiclass": CLASSES, "multilabel": LABELS}[task]
    classes = TWO if task == "binary" else THREE
    with pytest.raises(UsageError) as caught:
        class_weights(setting, pos, labels, task, classes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_loss_of_exclusive_classes_weights_each_image_as_its_class() -> None:
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.from_numpy(CLASSES)
    targets = MultiTargets("multiclass", class_weights("1,2,0.5", "", CLASSES, "multiclass", THREE), 0.1)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    expected = (losses * torch.tensor([1.0, 2.0, 0.5])[labels]).mean()
    assert targets.loss(logits, labels, torch.arange(10)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_an_unknown_label_neither_counts_nor_has_a_gradient() -> None:
    labels = torch.from_numpy(LABELS)
    targets = MultiTargets("multilabel", class_weights("balanced", "", LABELS, "multilabel", THREE), 0.0)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss = targets.loss(logits, labels, torch.arange(4))
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, labels < 0)
    known = labels >= 0
    weights = torch.where(labels == 1, torch.tensor([1 / 3, 2.0, 2.0]), 1.0)
    each = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
    assert loss.item() == pytest.approx((each * weights)[known].sum().item() / known.sum().item(), rel=1e-6)


def test_a_batch_without_any_known_label_has_the_loss_0() -> None:
    targets = MultiTargets("multilabel", class_weights("none", "", LABELS, "multilabel", THREE), 0.0)
    assert targets.loss(torch.ones(2, 3), torch.full((2, 3), -1), torch.arange(2)).item() == 0
