"""Sources of batches."""

import numpy as np
import pytest
import torch

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform
from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs
from pneumo_cli.data.loader import Loader

IMAGES = torch.arange(64, dtype=torch.uint8).view(4, 4, 4)
CPU = torch.device("cpu")


def test_batches_have_the_requested_memory_format() -> None:
    inputs = ImageInputs(IMAGES, EvaluationTransform(), CPU, torch.channels_last)
    batches = Loader(inputs, torch.arange(4), np.arange(4), 4, CPU, shuffle_seed=None)
    assert next(iter(batches)).images.is_contiguous(memory_format=torch.channels_last)


def test_flipped_views_follow_the_unflipped_images() -> None:
    plain = ImageInputs(IMAGES, EvaluationTransform(channels=1, mean=(0.0,), std=(1.0,)), CPU)
    both = FlipTTA(plain)(np.array([2, 0]), 0)
    assert torch.equal(both[:2], plain(np.array([2, 0]), 0))
    assert torch.equal(both[2:], both[:2].flip(-1))


def loader(transform: Transform, size: int, batch_size: int, **options: int) -> Loader:
    images = torch.from_numpy(np.random.default_rng(size).integers(0, 256, (101, size, size), np.uint8))
    inputs = ImageInputs(images, transform, CPU, torch.channels_last)
    return Loader(inputs, torch.arange(101) % 2, np.arange(101), batch_size, CPU, shuffle_seed=3, **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("size", "batch_size"), [(8, 1), (15, 7), (32, 16), (33, 5), (64, 3), (127, 2)])
def test_small_batches_made_at_once_are_those_made_one_by_one(
    size: int, batch_size: int, threads: int
) -> None:
    class Own(ReportAugmentation):
        """A plugin's, of which nothing is known."""

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for options in ({}, {"standardize": True}):
            together = list(loader(ReportAugmentation(seed=2, **options), size, batch_size))
            alone = list(loader(Own(seed=2, **options), size, batch_size))
            assert len(together) == len(alone)
            for one, other in zip(together, alone, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
                assert one.images.is_contiguous(memory_format=torch.channels_last)
    finally:
        torch.set_num_threads(before)


def test_an_epoch_of_small_images_takes_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    called = ReportAugmentation.__call__
    monkeypatch.setattr(
        ReportAugmentation, "__call__", lambda self, *given: (calls.append(1), called(self, *given))[1]
    )
    assert len(list(loader(ReportAugmentation(seed=1), 32, 4))) == 26
    assert len(calls) == 1
    assert len(list(loader(ReportAugmentation(seed=1), 128, 4))) == 26
    assert len(calls) == 27


def test_an_epoch_without_images_has_no_batches() -> None:
    inputs = ImageInputs(torch.empty(0, 32, 32, dtype=torch.uint8), EvaluationTransform(), CPU)
    assert not list(Loader(inputs, torch.empty(0, dtype=torch.int64), np.arange(0), 4, CPU, shuffle_seed=3))


def test_a_resumed_epoch_begins_within_batches_that_are_made_at_once() -> None:
    batches = loader(ReportAugmentation(seed=1), 64, 10)  # six at once
    whole = list(batches)
    for start in range(len(whole)):
        rest = list(batches.iterate(start))
        assert [batch.index.tolist() for batch in rest] == [batch.index.tolist() for batch in whole[start:]]
        assert all(torch.equal(a.images, b.images) for a, b in zip(rest, whole[start:], strict=True))


def test_a_batch_may_be_changed_in_place_while_the_graph_of_the_last_one_lives() -> None:
    first, second = list(loader(EvaluationTransform(), 8, 50))[:2]
    weight = torch.ones(3, 1, 1, requires_grad=True)
    loss = (first.images * weight).sum()
    second.images.zero_()
    loss.backward()  # would fail, were both views of one tensor
    assert weight.grad is not None
    assert first.images.requires_grad_().is_leaf
