"""The cache of features: the output of frozen stages is computed once per image, and then only read."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pneumo_cli.data.augmentation import ReportAugmentation
from pneumo_cli.data.batch_inputs import FlipTTA
from pneumo_cli.data.feature_cache import prefix_digest
from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.progress import Progress
from tests.data.frozen_stages import (
    POSITIONS,
    Prefix,
    cached,
    counted,
    data_file,
    files,
    frozen,
    images,
    kept,
    network,
)


def assert_equal(features: Tensor, computed: Tensor) -> None:
    """Equal but for rounding: the same image in a batch of another size may differ in the last bits."""
    torch.testing.assert_close(features, computed)


def test_features_are_the_output_of_the_prefix(tmp_path: Path) -> None:
    prefix = Prefix()
    features = kept(frozen(prefix), tmp_path)
    assert features.stage == 3
    wanted = np.array([79, 3, 3, 12, 45, 1])  # any order, any batch
    found = features(wanted, 1)
    assert found.dtype == torch.float32
    assert_equal(found, prefix(images()(wanted, 1)))


def test_all_epochs_use_the_same_features_if_only_one_is_cached(tmp_path: Path) -> None:
    features = kept(frozen(Prefix()), tmp_path)
    assert torch.equal(features(POSITIONS[:5], 1), features(POSITIONS[:5], 17))


def test_bfloat16_is_stored_as_bfloat16(tmp_path: Path) -> None:
    prefix = Prefix(dtype=torch.bfloat16)
    for _ in range(2):  # computed, then read
        found = kept(frozen(prefix), tmp_path)(POSITIONS, 1)
        assert found.dtype == torch.bfloat16
        assert_equal(found, prefix(images()(POSITIONS, 1)))
    assert data_file(tmp_path).stat().st_size == found.numel() * 2


def test_cached_views_are_those_of_the_epochs_and_are_used_in_turn(tmp_path: Path) -> None:
    prefix = Prefix()
    augmented = images(ReportAugmentation(seed=5))
    features = kept(frozen(prefix, augmented, epochs=(1, 2, 3)), tmp_path)
    direct = [prefix(augmented(POSITIONS, epoch)) for epoch in (1, 2, 3)]
    assert not torch.equal(direct[0], direct[1])
    for epoch in range(1, 8):
        assert_equal(features(POSITIONS, epoch), direct[(epoch - 1) % 3])


def test_two_views_of_each_image_have_the_order_of_their_source(tmp_path: Path) -> None:
    prefix = Prefix()
    flipped = FlipTTA(images(ReportAugmentation(seed=5)))
    features = kept(frozen(prefix, flipped, epochs=(1, 2)), tmp_path)
    assert features.array.shape[:3] == (2, len(POSITIONS), 2)
    wanted = np.array([8, 50, 9])
    for epoch in (1, 2):
        found = features(wanted, epoch)
        assert len(found) == 6
        assert_equal(found, prefix(flipped(wanted, epoch)))


@pytest.mark.parametrize("count", [1, 3, 32, 33])
def test_any_number_of_images_is_cached_completely(tmp_path: Path, count: int) -> None:
    prefix = Prefix()
    positions = POSITIONS[:count]
    features = kept(frozen(prefix, FlipTTA(images()), positions=positions), tmp_path)
    assert_equal(features(positions, 1), prefix(FlipTTA(images())(positions, 1)))


def test_features_may_be_vectors(tmp_path: Path) -> None:
    prefix = Prefix(nn.Sequential(*network(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval())
    assert kept(frozen(prefix), tmp_path)(POSITIONS[:2], 1).shape == (2, 4)


# --- computed once ----------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing_beyond_the_estimate(tmp_path: Path) -> None:
    first = counted(Prefix(), tmp_path)
    assert first.computed == len(POSITIONS)
    again = counted(Prefix(), tmp_path)
    assert again.computed == 0
    assert np.array_equal(again.features.array, first.features.array)
    assert len(files(tmp_path)) == 2


def test_the_mapped_file_cannot_be_written_through(tmp_path: Path) -> None:
    for _ in range(2):
        assert not kept(frozen(Prefix()), tmp_path).array.flags.writeable


def test_progress_counts_every_image_of_every_epoch(tmp_path: Path) -> None:
    opened, advanced = [], []

    class Recorder(Progress):
        @contextmanager
        def stage(self, name: str, total: int, unit: str = "images") -> Any:
            opened.append((name, total))
            yield advanced.append

    kept(frozen(Prefix(), FlipTTA(images()), epochs=(1, 2)), tmp_path, progress=Recorder())
    assert opened == [("frozen stages", 2 * len(POSITIONS))]
    assert sum(advanced) == 2 * len(POSITIONS)


OTHERS: dict[str, dict[str, Any]] = {
    "dataset": {"dataset": "d2"},
    "transform": {"transform": "other"},
    "weights": {"prefix": Prefix(network(seed=1))},
    "precision": {"prefix": Prefix(dtype=torch.bfloat16)},
    "shape": {"prefix": Prefix(nn.Sequential(network(), nn.MaxPool2d(2)))},
    "positions": {"positions": POSITIONS[1:]},
    "order": {"positions": POSITIONS[::-1].copy()},
    "epoch": {"epochs": (2,)},
    "epochs": {"epochs": (1, 2)},
    "views": {"inputs": FlipTTA(images())},
}


@pytest.mark.parametrize("changed", OTHERS)
def test_everything_that_the_features_depend_on_is_part_of_the_key(tmp_path: Path, changed: str) -> None:
    kept(frozen(Prefix()), tmp_path)
    arguments = dict(OTHERS[changed])
    identity = {name: arguments.pop(name) for name in ("dataset", "transform") if name in arguments}
    part = frozen(arguments.pop("prefix", None) or Prefix(), **arguments, **identity)
    features = kept(part, tmp_path)
    assert len(list((tmp_path / "features").glob("*.bin"))) == 2
    epoch = part.epochs[0]
    direct = part.prefix(part.inputs(part.positions, epoch))
    assert_equal(features(part.positions, epoch), direct)


def test_the_digest_of_a_prefix_depends_on_weights_statistics_and_structure() -> None:
    base = network()
    digests = {prefix_digest([base])}
    assert prefix_digest([network()]) in digests
    digests.add(prefix_digest([network(seed=1)]))
    with torch.no_grad():
        changed = network()
        changed[0].weight[0, 0, 0, 0] += 1e-6
        digests.add(prefix_digest([changed]))
        moved = network()
        moved[1].running_mean[0] += 1e-3
        digests.add(prefix_digest([moved]))
    strided = network()
    strided[0].stride = (1, 1)
    digests.add(prefix_digest([strided]))
    digests.add(prefix_digest([nn.Sequential(*base[:2], nn.SiLU())]))
    digests.add(prefix_digest([base.to(torch.bfloat16)]))
    digests.add(prefix_digest([]))
    assert len(digests) == 8


def test_a_process_that_only_reads_uses_the_features_of_another_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(PneumoError, match="which the first rank has computed, is missing"):
        cached(frozen(Prefix()), tmp_path, writes=False)
    assert files(tmp_path) == []
    first = kept(frozen(Prefix()), tmp_path)
    prefix = Prefix()
    found = kept(frozen(prefix), tmp_path, writes=False)
    assert prefix.images == 2 * 4
    assert np.array_equal(found.array, first.array)


def test_the_description_of_frozen_stages_is_immutable() -> None:
    part = frozen(Prefix())
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.stages = 4  # type: ignore[misc]
