"""The cache of features: what a frozen part of a network makes of images is computed once, and then only read."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data import array_file
from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform
from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs, Inputs
from pneumo_cli.data.feature_cache import Features, Frozen, cached_features, prefix_digest
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import NOTICE, Progress

RECORDS, SIZE = 80, 12
CPU = torch.device("cpu")
# More than one batch of the cache, and not a multiple of one; records between them have no features.
POSITIONS = np.setdiff1d(np.arange(RECORDS), [0, 7, 40])


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()).eval()


def pictures() -> Tensor:
    """uint8 [RECORDS, SIZE, SIZE]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (RECORDS, SIZE, SIZE), generator=generator, dtype=torch.uint8)


class Prefix:
    """A frozen network that counts the images that it sees."""

    def __init__(self, layers: nn.Module | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.layers = layers or network()
        self.dtype = dtype
        self.seen = 0

    def __call__(self, values: Tensor) -> Tensor:
        self.seen += len(values)
        with torch.no_grad():
            result: Tensor = self.layers(values).to(self.dtype)
        return result


def images(transform: Transform | None = None) -> ImageInputs:
    return ImageInputs(pictures(), transform or EvaluationTransform(), CPU)


def frozen(
    prefix: Prefix,
    inputs: Inputs | None = None,
    epochs: tuple[int, ...] = (1,),
    positions: NDArray[np.int64] = POSITIONS,
    **identity: Any,
) -> Frozen:
    identity = {"dataset": "d1", "prefix": prefix_digest([prefix.layers]), **identity}
    return Frozen(prefix, 3, inputs or images(), epochs, positions, identity)


def cached(part: Frozen, cache: Path, **options: Any) -> Features | None:
    return cached_features(
        part, records=RECORDS, device=CPU, cache=cache, **{"progress": Progress(), **options}
    )


def kept(part: Frozen, cache: Path, **options: Any) -> Features:
    found = cached(part, cache, **options)
    assert found is not None
    return found


class Counted(NamedTuple):
    """What was found, and how many images the prefix saw for it, beyond the few that an estimate takes."""

    features: Features
    seen: int


def counted(prefix: Prefix, cache: Path, **arguments: Any) -> Counted:
    """Cached features, with the count of a first, uncounted estimate taken off."""
    prefix.seen = 0
    features = kept(frozen(prefix, **arguments), cache)
    return Counted(features, max(0, prefix.seen - 2 * 4))


def files(cache: Path) -> list[str]:
    """Names of all that lies in the cache, hidden files too."""
    return sorted(path.name for path in (cache / "features").iterdir())


def data_file(cache: Path) -> Path:
    (path,) = (cache / "features").glob("*.bin")
    return path


# --- equal to what it stands for --------------------------------------------------------------------------------


def test_features_are_what_the_prefix_computes_to_the_bit(tmp_path: Path) -> None:
    prefix = Prefix()
    features = kept(frozen(prefix), tmp_path)
    assert features.stage == 3
    wanted = np.array([79, 3, 3, 12, 45, 1])  # any order, any batch
    found = features(wanted, 1)
    assert found.dtype == torch.float32
    assert torch.equal(found, prefix(images()(wanted, 1)))


def test_epochs_without_views_of_their_own_all_see_the_same(tmp_path: Path) -> None:
    features = kept(frozen(Prefix()), tmp_path)
    assert torch.equal(features(POSITIONS[:5], 1), features(POSITIONS[:5], 17))


def test_bfloat16_is_kept_as_it_is(tmp_path: Path) -> None:
    prefix = Prefix(dtype=torch.bfloat16)
    for _ in range(2):  # computed, then read
        found = kept(frozen(prefix), tmp_path)(POSITIONS, 1)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, prefix(images()(POSITIONS, 1)))
    assert data_file(tmp_path).stat().st_size == found.numel() * 2


def test_cached_views_are_those_of_the_epochs_and_are_taken_in_turn(tmp_path: Path) -> None:
    prefix = Prefix()
    augmented = images(ReportAugmentation(seed=5))
    features = kept(frozen(prefix, augmented, epochs=(1, 2, 3)), tmp_path)
    direct = [prefix(augmented(POSITIONS, epoch)) for epoch in (1, 2, 3)]
    assert not torch.equal(direct[0], direct[1])
    for epoch in range(1, 8):
        assert torch.equal(features(POSITIONS, epoch), direct[(epoch - 1) % 3])


def test_two_views_of_each_image_come_as_their_source_gives_them(tmp_path: Path) -> None:
    prefix = Prefix()
    mirrored = FlipTTA(images(ReportAugmentation(seed=5)))
    features = kept(frozen(prefix, mirrored, epochs=(1, 2)), tmp_path)
    assert features.array.shape[:3] == (2, len(POSITIONS), 2)
    wanted = np.array([8, 50, 9])
    for epoch in (1, 2):
        found = features(wanted, epoch)
        assert len(found) == 6
        assert torch.equal(found, prefix(mirrored(wanted, epoch)))


@pytest.mark.parametrize("count", [1, 3, 32, 33])
def test_any_number_of_images_is_cached_whole(tmp_path: Path, count: int) -> None:
    prefix = Prefix()
    positions = POSITIONS[:count]
    features = kept(frozen(prefix, FlipTTA(images()), positions=positions), tmp_path)
    assert torch.equal(features(positions, 1), prefix(FlipTTA(images())(positions, 1)))


def test_flat_features_and_more_dimensions_are_taken_as_they_come(tmp_path: Path) -> None:
    prefix = Prefix(nn.Sequential(*network(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval())
    assert kept(frozen(prefix), tmp_path)(POSITIONS[:2], 1).shape == (2, 4)


# --- computed once ----------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing_beyond_the_estimate(tmp_path: Path) -> None:
    first = counted(Prefix(), tmp_path)
    assert first.seen == len(POSITIONS)
    again = counted(Prefix(), tmp_path)
    assert again.seen == 0
    assert np.array_equal(again.features.array, first.features.array)
    assert len(files(tmp_path)) == 2


def test_the_mapped_file_cannot_be_written_through(tmp_path: Path) -> None:
    for _ in range(2):
        assert not kept(frozen(Prefix()), tmp_path).array.flags.writeable


def test_progress_counts_every_image_of_every_epoch(tmp_path: Path) -> None:
    from contextlib import contextmanager

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
def test_whatever_the_features_depend_on_is_another_file(tmp_path: Path, changed: str) -> None:
    kept(frozen(Prefix()), tmp_path)
    arguments = dict(OTHERS[changed])
    identity = {name: arguments.pop(name) for name in ("dataset", "transform") if name in arguments}
    part = frozen(arguments.pop("prefix", None) or Prefix(), **arguments, **identity)
    features = kept(part, tmp_path)
    assert len(list((tmp_path / "features").glob("*.bin"))) == 2
    epoch = part.epochs[0]
    direct = part.prefix(part.inputs(part.positions, epoch))
    assert torch.equal(features(part.positions, epoch), direct)


def test_the_digest_of_a_prefix_is_of_its_weights_statistics_and_structure() -> None:
    base = network()
    digests = {prefix_digest([base])}
    assert prefix_digest([network()]) in digests
    digests.add(prefix_digest([network(seed=1)]))
    with torch.no_grad():
        nudged = network()
        nudged[0].weight[0, 0, 0, 0] += 1e-6
        digests.add(prefix_digest([nudged]))
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


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["flip", "cut", "grow", "no data", "manifest", "empty manifest", "no digest"]
)
def test_damage_is_found_said_once_and_repaired(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = np.array(kept(frozen(Prefix()), tmp_path).array)
    data = data_file(tmp_path)
    manifest = array_file.manifest_path(data)
    content = bytearray(data.read_bytes())
    # Another file in its place, not other bytes in the file: a mapping of the old one may still be open.
    data.unlink()
    match damage:
        case "flip":
            content[777] ^= 1
            data.write_bytes(content)
        case "cut":
            data.write_bytes(content[:-1])
        case "grow":
            data.write_bytes(content + b"x")
        case "manifest":
            data.write_bytes(content)
            manifest.write_text(manifest.read_text()[:-20])
        case "empty manifest":
            data.write_bytes(content)
            manifest.write_text("")
        case "no digest":
            data.write_bytes(content)
            described = json.loads(manifest.read_text())
            del described["sha256"]
            manifest.write_text(json.dumps(described))
    caplog.clear()
    repaired = counted(Prefix(), tmp_path)
    assert repaired.seen == len(POSITIONS)
    assert np.array_equal(repaired.features.array, before)
    (warning,) = caplog.messages
    assert str(data) in warning
    assert "computing them again" in warning
    caplog.clear()
    again = counted(Prefix(), tmp_path)
    assert again.seen == 0
    assert np.array_equal(again.features.array, before)
    assert caplog.messages == []


def test_a_lost_manifest_is_no_damage_and_the_features_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifest is written last: a run killed before that has left a file that nothing vouches for."""
    before = np.array(kept(frozen(Prefix()), tmp_path).array)
    array_file.manifest_path(data_file(tmp_path)).unlink()
    repaired = counted(Prefix(), tmp_path)
    assert repaired.seen == len(POSITIONS)
    assert np.array_equal(repaired.features.array, before)
    assert caplog.messages == []


# --- what a disk and a user may do ------------------------------------------------------------------------------


def test_what_it_will_take_is_said_before_it_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(NOTICE, "pneumo")
    prefix = Prefix()
    said: list[tuple[str, int]] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.getMessage(), prefix.seen))

    handler = Listening()
    logging.getLogger("pneumo").addHandler(handler)
    try:
        kept(frozen(prefix, FlipTTA(images()), epochs=(1, 2, 3)), tmp_path)
        kept(frozen(prefix, FlipTTA(images()), epochs=(1, 2, 3)), tmp_path)
    finally:
        logging.getLogger("pneumo").removeHandler(handler)
    ((message, seen),) = said  # reading says nothing
    assert seen <= 2 * 2 * 4  # only what the estimate needs
    total = 3 * 2 * len(POSITIONS)
    assert f"the 3 frozen stages for {total} images" in message
    megabytes = total * 4 * 5 * 5 * 4 / 2**20
    assert f"{megabytes:,.0f} MiB" in message
    assert "about " in message
    assert str(tmp_path / "features") in message
    (record,) = caplog.records
    assert record.levelno == NOTICE


def test_where_the_disk_is_too_small_nothing_is_kept_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pneumo")
    prefix = Prefix()
    needed = len(POSITIONS) * 4 * 5 * 5 * 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    assert cached(frozen(prefix), tmp_path) is None
    assert prefix.seen == 2 * 4  # nothing but the estimate
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is not kept" in record.message
    assert "MiB free" in record.message
    assert files(tmp_path) == []
    # What is already there needs no room.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    kept(frozen(prefix), tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0))
    assert cached(frozen(prefix), tmp_path) is not None


def test_where_memory_is_too_small_nothing_is_kept_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 128)  # bytes to a page, and pages: 16 KiB
    assert cached(frozen(Prefix()), tmp_path) is None
    (warning,) = caplog.messages
    assert "of memory" in warning


class Stopped(Prefix):
    """Raises in the middle of the second batch of the cache."""

    error: BaseException = KeyboardInterrupt()

    def __call__(self, values: Tensor) -> Tensor:
        if self.seen > 2 * 4:
            raise self.error
        return super().__call__(values)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_computation_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    prefix = Stopped()
    prefix.error = error
    with pytest.raises(type(error)):
        cached(frozen(prefix), tmp_path)
    assert files(tmp_path) == []
    assert counted(Prefix(), tmp_path).seen == len(POSITIONS)


def test_an_interruption_does_not_touch_the_features_of_others(tmp_path: Path) -> None:
    kept(frozen(Prefix()), tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        cached(frozen(Stopped(), dataset="d2"), tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "features").iterdir()} == before


class FullDisk:
    """A file handle on a disk that has room for the first write only."""

    def __init__(self, handle: Any, error: OSError) -> None:
        self.handle, self.error, self.writes = handle, error, 0

    def write(self, data: bytes) -> int:
        self.writes += 1
        if self.writes > 1:
            raise self.error
        return int(self.handle.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[OSError], None]:
    """Let the second write to any file that is being replaced fail."""
    from contextlib import contextmanager

    replace = atomic.replace_file

    def fail(error: OSError) -> None:
        @contextmanager
        def failing(path: Path) -> Any:
            with replace(path) as handle:
                yield FullDisk(handle, error)

        monkeypatch.setattr(atomic, "replace_file", failing)

    return fail


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, failing_disk: Callable[[OSError], None]
) -> None:
    failing_disk(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(PneumoError) as caught:
        cached(frozen(Prefix()), tmp_path)
    assert not isinstance(caught.value, UsageError)
    (line,) = str(caught.value).splitlines()
    for part in (
        str(tmp_path / "features"),
        os.strerror(errno.ENOSPC),
        "free some space",
        "--no-feature-cache",
    ):
        assert part in line
    assert files(tmp_path) == []


def test_a_folder_that_may_not_be_written_to_is_misuse(
    tmp_path: Path, failing_disk: Callable[[OSError], None]
) -> None:
    failing_disk(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    with pytest.raises(UsageError, match="--cache or PNEUMO_CACHE names another"):
        cached(frozen(Prefix()), tmp_path)


def test_a_cache_folder_that_is_a_file_is_misuse(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        cached(frozen(Prefix()), tmp_path / "cache")


def test_a_process_that_only_reads_finds_what_another_has_computed_and_computes_nothing(
    tmp_path: Path,
) -> None:
    with pytest.raises(PneumoError, match="which the first rank has computed, is not there"):
        cached(frozen(Prefix()), tmp_path, writes=False)
    assert files(tmp_path) == []
    first = kept(frozen(Prefix()), tmp_path)
    prefix = Prefix()
    found = kept(frozen(prefix), tmp_path, writes=False)
    assert prefix.seen == 2 * 4
    assert np.array_equal(found.array, first.array)


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    old, recent = folder / ".a.bin.00.tmp", folder / ".b.bin.00.tmp"
    for path in (old, recent):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    kept(frozen(Prefix()), tmp_path)
    assert not old.exists()
    assert recent.exists()


def test_the_frozen_part_cannot_be_changed() -> None:
    part = frozen(Prefix())
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.stages = 4  # type: ignore[misc]
