"""Batches: each image exactly once, in the same order on any number of ranks and after a resume."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform
from pneumo_cli.data.batch_inputs import ImageInputs
from pneumo_cli.data.loader import Batch, Loader, count_batches
from pneumo_cli.errors import UsageError

N = 50
IMAGES = torch.arange(N, dtype=torch.uint8).view(N, 1, 1).expand(N, 4, 4).contiguous()
LABELS = torch.arange(N) % 2
GRAY = EvaluationTransform(channels=1, mean=(0.0,), std=(1.0,))


def loader(
    positions: np.ndarray,
    batch_size: int = 8,
    seed: int | None = 1,
    transform: Transform = GRAY,
    **options: int,
) -> Loader:
    inputs = ImageInputs(IMAGES, transform, torch.device("cpu"))
    return Loader(inputs, LABELS, positions, batch_size, torch.device("cpu"), shuffle_seed=seed, **options)


def indices(batches: Loader) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def same(left: Batch, right: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left[:3], right[:3], strict=True))


def test_images_labels_and_index_belong_together() -> None:
    for batch in loader(np.arange(3, 40)):
        assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.index)
        assert torch.equal(batch.labels, batch.index % 2)
        assert batch.images.dtype == torch.float32


def test_evaluation_keeps_the_order_and_the_last_small_batch() -> None:
    positions = np.array([5, 3, 9, 1, 7])
    assert indices(loader(positions, 2, None)) == [[5, 3], [9, 1], [7]]


def test_training_visits_every_sample_once_in_an_order_of_the_epoch() -> None:
    batches = loader(np.arange(20))
    first = indices(batches)
    assert [len(batch) for batch in first] == [8, 8, 4]
    assert sorted(chain(*first)) == list(range(20)) != list(chain(*first))
    assert indices(batches) == first
    batches.epoch = 1
    assert indices(batches) != first
    assert indices(loader(np.arange(20), seed=2)) != first


@pytest.mark.parametrize("start", range(6))
def test_an_epoch_resumed_at_any_step_has_the_same_batches(start: int) -> None:
    batches = loader(np.arange(N), 11, transform=ReportAugmentation(seed=5), epoch=3)
    whole = list(batches)
    rest = list(batches.iterate(start))
    assert len(rest) == max(len(whole) - start, 0)
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))


@given(st.integers(0, N), st.integers(1, 12), st.integers(1, 5))
def test_evaluation_over_ranks_sees_every_sample_exactly_once(
    count: int, batch_size: int, world: int
) -> None:
    ranks = [loader(np.arange(count), batch_size, None, rank=rank, world=world) for rank in range(world)]
    seen = [list(chain(*indices(rank))) for rank in ranks]
    assert seen == [list(range(rank, count, world)) for rank in range(world)]
    for rank in ranks:
        assert len(indices(rank)) == len(rank)


@given(st.integers(0, N), st.integers(5, 12), st.integers(1, 5))
def test_ranks_share_the_training_batches_of_a_single_process(
    count: int, batch_size: int, world: int
) -> None:
    single = indices(loader(np.arange(count), batch_size))
    ranks = [loader(np.arange(count), batch_size, rank=rank, world=world) for rank in range(world)]
    shares = [indices(rank) for rank in ranks]
    assert len({len(batches) for batches in shares}) == 1, "a rank would wait for ever"
    assert all(batch for batches in shares for batch in batches), "a rank would be idle"
    kept = len(shares[0])
    for step in range(kept):
        assert sorted(chain(*(batches[step] for batches in shares))) == sorted(single[step])
    assert all(len(batch) < world for batch in single[kept:])


@given(st.integers(0, N), st.integers(5, 12), st.integers(1, 5), st.sampled_from([None, 1]))
def test_batch_sizes_are_known_in_advance(count: int, batch_size: int, world: int, seed: int | None) -> None:
    ranks = [loader(np.arange(count), batch_size, seed, rank=rank, world=world) for rank in range(world)]
    sizes = [[len(batch) for batch in indices(rank)] for rank in ranks]
    for rank, own in zip(ranks, sizes, strict=True):
        assert [rank.batch_sizes(step)[0] for step in range(len(rank))] == own
        assert rank.samples == sum(own)
        for step in range(len(rank)):
            assert rank.batch_sizes(step)[1] == sum(other[step] for other in sizes if step < len(other))


@given(st.integers(0, N), st.integers(4, 12), st.integers(1, 2))
def test_a_last_batch_that_is_too_small_for_a_rank_is_left_out_by_all(
    count: int, batch_size: int, world: int
) -> None:
    positions = np.arange(count)
    whole = [loader(positions, batch_size, rank=rank, world=world) for rank in range(world)]
    ranks = [loader(positions, batch_size, rank=rank, world=world, smallest=2) for rank in range(world)]
    kept = sum(all(len(batch) >= 2 for batch in step) for step in zip(*map(indices, whole), strict=True))
    assert [indices(rank) for rank in ranks] == [indices(rank)[:kept] for rank in whole]
    assert {len(rank) for rank in ranks} == {count_batches(count, batch_size, world, 2)} == {kept}


def test_batches_that_ranks_cannot_share_are_errors() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        loader(np.arange(4), 0)
    with pytest.raises(UsageError, match="batch size 3 is below the number of devices, 4"):
        loader(np.arange(40), 3, world=4)


def test_a_batch_is_a_tuple_of_four_that_keeps_its_targets() -> None:
    ages = torch.tensor([3.0, 5.0])
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.arange(2), targets={"age": ages})
    images, _labels, index, stage = batch  # as plugins did before there were targets
    assert (images.shape, index.tolist(), stage) == ((2, 1, 4, 4), [0, 1], 0)
    other = batch._replace(images=images + 1, stage=1)
    assert (other.stage, other.targets["age"]) == (1, ages)
    assert not Batch(images, _labels, index).targets
