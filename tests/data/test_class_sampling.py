"""Over- and under-sampling: equal classes in every epoch, all images in turn, from the seed and the epoch alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data.batch_inputs import ImageInputs
from pneumo_cli.data.class_sampling import Sampling, sampled, sampled_size
from pneumo_cli.data.loader import Loader

counts = st.lists(st.integers(1, 12), min_size=2, max_size=4)


def labelled(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of all records, and the positions of the training images, which skip every fourth record."""
    labels = np.repeat(np.arange(len(sizes)), [4 * size for size in sizes])
    return labels, np.concatenate([np.flatnonzero(labels == k)[: sizes[k]] for k in range(len(sizes))])


@given(counts, st.sampled_from(["over", "under"]), st.integers(0, 2**63 - 1), st.integers(1, 50))
def test_every_class_has_equally_many_images(
    sizes: list[int], sampling: Sampling, seed: int, epoch: int
) -> None:
    labels, positions = labelled(sizes)
    chosen = sampled(positions, labels, sampling, seed, epoch)
    per_class = Counter(labels[chosen % len(labels)].tolist())
    wanted = max(sizes) if sampling == "over" else min(sizes)
    assert set(per_class.values()) == {wanted}
    assert len(chosen) == sampled_size(positions, labels, sampling) == wanted * len(sizes)
    assert len(np.unique(chosen)) == len(chosen)
    assert set((chosen % len(labels)).tolist()) <= set(positions.tolist())
    assert np.array_equal(chosen, sampled(positions[::-1], labels, sampling, seed, epoch))


@given(counts, st.integers(0, 1000), st.integers(1, 50))
def test_oversampling_uses_each_image_equally_often_or_once_more(
    sizes: list[int], seed: int, epoch: int
) -> None:
    labels, positions = labelled(sizes)
    uses = Counter((sampled(positions, labels, "over", seed, epoch) % len(labels)).tolist())
    for label, size in enumerate(sizes):
        own = [uses[position] for position in positions[labels[positions] == label].tolist()]
        assert {max(sizes) // size, -(-max(sizes) // size)} >= set(own)


def test_undersampling_takes_other_images_in_each_epoch() -> None:
    labels, positions = labelled([2, 9])
    epochs = [sampled(positions, labels, "under", 5, epoch) for epoch in range(1, 41)]
    assert set(np.concatenate(epochs).tolist()) == set(positions.tolist())
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 10


def test_without_sampling_the_positions_are_as_they_were() -> None:
    labels, positions = labelled([3, 5])
    assert sampled(positions, labels, "none", 1, 1) is positions
    assert sampled_size(positions, labels, "none") == 8


def test_repetitions_in_a_batch_are_augmented_independently_and_belong_to_their_record() -> None:
    labels, positions = labelled([2, 8])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None].expand(-1, 2, 2).contiguous()
    keys: list[int] = []

    class Spy:
        def __call__(self, rows: torch.Tensor, index: torch.Tensor, epoch: int) -> torch.Tensor:
            keys.extend(index.tolist())
            return rows[:, None].float()

        def display(self, images: torch.Tensor) -> torch.Tensor:
            return images

    loader = Loader(
        ImageInputs(images, Spy(), torch.device("cpu")),
        torch.from_numpy(labels),
        sampled(positions, labels, "over", 3, 1),
        4,
        torch.device("cpu"),
        shuffle_seed=3,
        epoch=1,
    )
    batches = list(loader)
    index = torch.cat([batch.index for batch in batches])
    assert len(set(keys)) == len(keys) == 16
    assert int(index.max()) < len(labels)
    assert torch.equal(torch.cat([batch.images[:, 0, 0, 0] for batch in batches]).long(), index)
    assert Counter(torch.cat([batch.labels for batch in batches]).tolist()) == {0: 8, 1: 8}
