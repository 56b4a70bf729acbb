"""Atomic file writes."""

import json
import os
import resource
import stat
from pathlib import Path

import pytest

from pneumo_cli.runtime import atomic


def test_the_content_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here.bin"
    with atomic.replace_file(path) as handle:
        handle.write(b"half")
        assert not path.exists()
        handle.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert os.listdir(path.parent) == ["here.bin"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")

    def interrupted_write() -> None:
        with atomic.replace_file(path) as handle:
            handle.write(b"new")
            raise failure

    with pytest.raises(failure):
        interrupted_write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            atomic.write_bytes(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_files_get_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "nan.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == ["a.json"]
