"""Numbers, masks and boxes of a batch: each with its image, and moved as the image is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, moved, turns
from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs
from pneumo_cli.data.batch_targets import BatchTargets, check_movable
from pneumo_cli.data.loader import Loader
from pneumo_cli.data.records import Target
from pneumo_cli.data.scanner_augmentation import ScannerAugmentation
from pneumo_cli.errors import UsageError

CPU = torch.device("cpu")
SIDE = 48
PLAIN: dict[str, object] = {"channels": 1, "mean": (0.0,), "std": (1.0,), "brightness": 0.0, "contrast": 0.0}
LUNGS = Target("lungs", "mask", "lungs")
AGE = Target("age", "number", "age in years")


def discs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Black images with a white disc each, and the boxes around the discs [N, 2, 4], filled up with NaN."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    images, boxes = np.zeros((count, SIDE, SIDE), np.uint8), np.full((count, 2, 4), np.nan, np.float32)
    for image, box in zip(images, boxes, strict=True):
        across, down, radius = [*rng.uniform(14, SIDE - 14, 2).tolist(), rng.uniform(4, 8)]
        image[(x - across) ** 2 + (y - down) ** 2 <= radius**2] = 255
        box[0] = np.array([across - radius, down - radius, across + radius, down + radius]) / SIDE
    return images, boxes


def batches(transform: object, count: int = 24) -> list[tuple[Tensor, Mapping[str, Tensor], Tensor]]:
    images, boxes = discs(count)
    values = {
        "age": np.arange(count, dtype=np.float32),
        "lungs": (images > 0).astype(np.uint8),
        "boxes": boxes,
    }
    loader = Loader(
        ImageInputs(torch.from_numpy(images), transform, CPU),  # type: ignore[arg-type]
        torch.zeros(count, dtype=torch.int64),
        np.arange(count),
        8,
        CPU,
        shuffle_seed=3,
        epoch=2,
        targets=BatchTargets(values, CPU),
    )
    return [(batch.images, batch.targets, batch.index) for batch in loader]


@pytest.mark.parametrize(
    "transform",
    [
        EvaluationTransform(channels=1, mean=(0.0,), std=(1.0,)),
        ReportAugmentation(seed=1, rotation=40, **PLAIN),  # type: ignore[arg-type]
        ScannerAugmentation(seed=1, rotation=20, zoom=0.2, shift=0.1, **PLAIN),
        ScannerAugmentation(seed=1, rotation=0, flip=0, **PLAIN),
    ],
    ids=["evaluation", "report", "scanner", "nothing"],
)
def test_masks_and_boxes_follow_each_image(transform: object) -> None:
    for images, targets, index in batches(transform):
        assert torch.equal(targets["age"], index.float())
        seen = images[:, 0] > 0.5
        mask = targets["lungs"] == 1
        assert targets["lungs"].dtype == torch.uint8
        overlap = (seen & mask).sum((1, 2)) / (seen | mask).sum((1, 2)).clamp(min=1)
        assert overlap.min() > 0.85
        boxes = targets["boxes"]
        assert boxes[:, 1].isnan().all()
        for one, (left, top, right, bottom) in zip(seen, (boxes[:, 0] * SIDE).tolist(), strict=True):
            rows, columns = one.nonzero(as_tuple=True)
            # The box of a moved box's corners holds the disc.
            assert left - 1 <= columns.min()
            assert columns.max() + 1 <= right + 1
            assert top - 1 <= rows.min()
            assert rows.max() + 1 <= bottom + 1


def test_images_of_a_batch_do_not_depend_on_whether_there_are_targets() -> None:
    transform = ReportAugmentation(seed=1, rotation=40, **PLAIN)  # type: ignore[arg-type]
    images, _ = discs(8)
    alone = ImageInputs(torch.from_numpy(images), transform, CPU)
    loader = Loader(alone, torch.zeros(8, dtype=torch.int64), np.arange(8), 8, CPU, shuffle_seed=3, epoch=2)
    (batch,) = loader
    assert dict(batch.targets) == {}
    assert torch.equal(batch.images, batches(transform, 8)[0][0])


def test_of_two_views_targets_are_those_of_the_first() -> None:
    images, boxes = discs(4)
    inputs = FlipTTA(ImageInputs(torch.from_numpy(images), EvaluationTransform(), CPU))
    values = {"lungs": (images > 0).astype(np.uint8), "boxes": boxes}
    found = BatchTargets(values, CPU).of(inputs, np.arange(4), torch.arange(4), 0)
    assert torch.equal(found["lungs"] * 255, torch.from_numpy(images))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.booleans(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_quarter_turns_and_flips_move_boxes_exactly(quarters: int, flip: bool, edges: list[float]) -> None:
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    box = torch.tensor([[[left, top, right, bottom]]])
    angle, flipped = np.array([90.0 * quarters], np.float32), np.array([flip])
    (found,) = moved({"b": box}, turns(angle, flipped), None)["b"][0]
    for _ in range(quarters):  # counter-clockwise
        left, top, right, bottom = top, 1 - right, bottom, 1 - left
    if flip:
        left, right = 1 - right, 1 - left
    if right - left < 1e-6 or bottom - top < 1e-6:
        return
    assert torch.allclose(found, torch.tensor([left, top, right, bottom]), atol=1e-6)


def test_a_box_that_leaves_the_image_is_unknown_and_one_at_its_edge_is_cut() -> None:
    boxes = torch.tensor([[[0.0, 0.4, 0.2, 0.6], [0.8, 0.4, 1.0, 0.6], [torch.nan] * 4]])
    shift = np.array([[0.6], [0.0]])  # the input position is 0.3 of the width further right
    found = moved({"b": boxes}, turns(np.zeros(1), np.zeros(1, bool)), shift)["b"][0]
    assert found[0].isnan().all()
    assert found[2].isnan().all()
    assert torch.allclose(found[1], torch.tensor([0.5, 0.4, 0.7, 0.6]))
    found = moved({"b": boxes}, turns(np.zeros(1), np.zeros(1, bool)), shift / 3)["b"][0]
    assert torch.allclose(found[0], torch.tensor([0.0, 0.4, 0.1, 0.6]))


class Mirror:
    """A third party's transform, which does not say what becomes of masks."""

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        return images.unsqueeze(1).float().flip(-1)

    def display(self, images: Tensor) -> Tensor:
        return images[:, 0]


class Wider(ReportAugmentation):
    """One that overrides how images are moved, and inherits how masks are."""

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        return super().__call__(images, index, epoch).flip(-1)


@pytest.mark.parametrize("transform", [Mirror(), Wider(seed=1)], ids=["no method", "only __call__"])
def test_a_transform_that_does_not_move_masks_is_refused_by_the_trainers_name(transform: object) -> None:
    inputs = ImageInputs(torch.zeros(1, 8, 8, dtype=torch.uint8), transform, CPU)  # type: ignore[arg-type]
    known = EvaluationTransform()
    with pytest.raises(
        UsageError, match=r"trainer mine \(dist 1\) cannot train on lungs: its (Mirror|Wider)"
    ):
        check_movable([AGE, LUNGS], [transform, known], [inputs], "mine (dist 1)")  # type: ignore[list-item]
    check_movable([AGE], [transform, known], [inputs], "mine (dist 1)")  # type: ignore[list-item]


def test_all_own_transforms_and_sources_move_masks() -> None:
    own = [EvaluationTransform(), ReportAugmentation(seed=1), ScannerAugmentation(seed=1)]
    for transform in own:
        inputs = ImageInputs(torch.zeros(1, 8, 8, dtype=torch.uint8), transform, CPU)
        check_movable([LUNGS], [transform, transform], [inputs, FlipTTA(inputs)], "mine")
