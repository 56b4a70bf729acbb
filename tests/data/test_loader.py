from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform
from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs
from pneumo_cli.data.loader import Batch, Loader
from pneumo_cli.errors import UsageError

N = 50
IMAGES = torch.arange(N, dtype=torch.uint8).view(N, 1, 1).expand(N, 4, 4).contiguous()
LABELS = torch.arange(N) % 2
GREY = EvaluationTransform(channels=1, mean=(0.0,), std=(1.0,))


def loader(
    positions: np.ndarray,
    batch_size: int = 8,
    seed: int | None = 1,
    transform: Transform = GREY,
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
def test_a_pass_taken_up_at_any_step_has_the_same_batches(start: int) -> None:
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
def test_training_over_ranks_deals_out_the_batches_of_one(count: int, batch_size: int, world: int) -> None:
    single = indices(loader(np.arange(count), batch_size))
    ranks = [loader(np.arange(count), batch_size, rank=rank, world=world) for rank in range(world)]
    dealt = [indices(rank) for rank in ranks]
    assert len({len(batches) for batches in dealt}) == 1, "a rank would wait for ever"
    assert all(batch for batches in dealt for batch in batches), "a rank would be idle"
    kept = len(dealt[0])
    for step in range(kept):
        assert sorted(chain(*(batches[step] for batches in dealt))) == sorted(single[step])
    assert all(len(batch) < world for batch in single[kept:])


@given(st.integers(0, N), st.integers(5, 12), st.integers(1, 5), st.sampled_from([None, 1]))
def test_batch_sizes_are_known_before(count: int, batch_size: int, world: int, seed: int | None) -> None:
    ranks = [loader(np.arange(count), batch_size, seed, rank=rank, world=world) for rank in range(world)]
    sizes = [[len(batch) for batch in indices(rank)] for rank in ranks]
    for rank, own in zip(ranks, sizes, strict=True):
        assert [rank.batch_sizes(step)[0] for step in range(len(rank))] == own
        assert rank.samples == sum(own)
        for step in range(len(rank)):
            assert rank.batch_sizes(step)[1] == sum(other[step] for other in sizes if step < len(other))


def test_the_memory_format_is_that_asked_for() -> None:
    inputs = ImageInputs(IMAGES, EvaluationTransform(), torch.device("cpu"), torch.channels_last)
    batches = Loader(inputs, LABELS, np.arange(8), 4, torch.device("cpu"), shuffle_seed=None)
    assert next(iter(batches)).images.is_contiguous(memory_format=torch.channels_last)


def test_mirrored_views_come_after_the_images_as_they_are() -> None:
    pictures = torch.arange(64, dtype=torch.uint8).view(4, 4, 4)
    plain = ImageInputs(pictures, GREY, torch.device("cpu"))
    both = FlipTTA(plain)(np.array([2, 0]), 0)
    assert torch.equal(both[:2], plain(np.array([2, 0]), 0))
    assert torch.equal(both[2:], both[:2].flip(-1))


def test_batches_that_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        loader(np.arange(4), 0)
    with pytest.raises(UsageError, match="cannot be dealt to 4 devices"):
        loader(np.arange(40), 3, world=4)
