"""The cache of features: damage, interruptions, full disks and leftovers."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from pneumo_cli.data import array_file
from pneumo_cli.data.batch_inputs import FlipTTA
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import NOTICE
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
)


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "grow", "no data", "manifest", "empty manifest", "no digest"]
)
def test_damage_is_detected_reported_once_and_repaired(
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
        case "truncate":
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
    assert repaired.computed == len(POSITIONS)
    assert np.array_equal(repaired.features.array, before)
    (warning,) = caplog.messages
    assert str(data) in warning
    assert "computing them again" in warning
    caplog.clear()
    again = counted(Prefix(), tmp_path)
    assert again.computed == 0
    assert np.array_equal(again.features.array, before)
    assert caplog.messages == []


def test_without_a_manifest_the_features_are_computed_again_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifest is written last: a run that was killed before has left a file that may be incomplete."""
    before = np.array(kept(frozen(Prefix()), tmp_path).array)
    array_file.manifest_path(data_file(tmp_path)).unlink()
    repaired = counted(Prefix(), tmp_path)
    assert repaired.computed == len(POSITIONS)
    assert np.array_equal(repaired.features.array, before)
    assert caplog.messages == []


# --- disk space, permissions and interruptions ------------------------------------------------------------------


def test_size_and_time_are_announced_before_the_computation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(NOTICE, "pneumo")
    prefix = Prefix()
    announced: list[tuple[str, int]] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            announced.append((record.getMessage(), prefix.images))

    handler = Recorder()
    logging.getLogger("pneumo").addHandler(handler)
    try:
        kept(frozen(prefix, FlipTTA(images()), epochs=(1, 2, 3)), tmp_path)
        kept(frozen(prefix, FlipTTA(images()), epochs=(1, 2, 3)), tmp_path)
    finally:
        logging.getLogger("pneumo").removeHandler(handler)
    ((message, computed),) = announced  # reading announces nothing
    assert computed <= 2 * 2 * 4  # only those of the estimate
    total = 3 * 2 * len(POSITIONS)
    assert f"output of the 3 frozen stages for {total} images" in message
    megabytes = total * 4 * 5 * 5 * 4 / 2**20
    assert f"{megabytes:,.0f} MiB" in message
    assert "about " in message
    assert str(tmp_path / "features") in message
    (record,) = caplog.records
    assert record.levelno == NOTICE


def test_on_a_full_disk_nothing_is_cached_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pneumo")
    prefix = Prefix()
    needed = len(POSITIONS) * 4 * 5 * 5 * 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    assert cached(frozen(prefix), tmp_path) is None
    assert prefix.images == 2 * 4  # only the estimate
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is not cached" in record.message
    assert "MiB free" in record.message
    assert files(tmp_path) == []
    # Existing features need no space.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    kept(frozen(prefix), tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0))
    assert cached(frozen(prefix), tmp_path) is not None


def test_with_too_little_memory_nothing_is_cached_with_a_warning(
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
        if self.images > 2 * 4:
            raise self.error
        return super().__call__(values)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_computation_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    prefix = Stopped()
    prefix.error = error
    with pytest.raises(type(error)):
        cached(frozen(prefix), tmp_path)
    assert files(tmp_path) == []
    assert counted(Prefix(), tmp_path).computed == len(POSITIONS)


def test_an_interruption_does_not_change_other_features(tmp_path: Path) -> None:
    kept(frozen(Prefix()), tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        cached(frozen(Stopped(), dataset="d2"), tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "features").iterdir()} == before


class FullDisk:
    """A file handle on a disk with space for the first write only."""

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
    replace = atomic.replace_file

    def fail(error: OSError) -> None:
        @contextmanager
        def failing(path: Path) -> Any:
            with replace(path) as handle:
                yield FullDisk(handle, error)

        monkeypatch.setattr(atomic, "replace_file", failing)

    return fail


def test_a_disk_that_fills_up_is_an_error_of_one_line_and_leaves_no_file(
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


def test_a_folder_without_write_permission_is_a_usage_error(
    tmp_path: Path, failing_disk: Callable[[OSError], None]
) -> None:
    failing_disk(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    with pytest.raises(UsageError, match="choose another one with --cache or PNEUMO_CACHE"):
        cached(frozen(Prefix()), tmp_path)


def test_a_cache_folder_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        cached(frozen(Prefix()), tmp_path / "cache")


def test_leftovers_of_killed_processes_are_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    old, recent = folder / ".a.bin.00.tmp", folder / ".b.bin.00.tmp"
    for path in (old, recent):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    kept(frozen(Prefix()), tmp_path)
    assert not old.exists()
    assert recent.exists()
