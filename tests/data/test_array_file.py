"""One array in one file: it is read as it was written, or the damage is reported."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.array_file import DamagedArrayError, manifest_path, open_array, write_array
from pneumo_cli.runtime import atomic

IDENTITY: dict[str, Any] = {"what": "numbers", "shape": [3, 2], "dtype": "float32"}
NUMBERS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_an_array_is_read_as_it_was_written_with_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "numbers.bin"
    written_rows: list[int] = []

    def blocks() -> Any:
        for row in NUMBERS:
            written_rows.append(1)
            yield row.tobytes()

    written, stated = write_array(path, IDENTITY, blocks(), lambda: {"rows": len(written_rows)})
    assert np.array_equal(written, NUMBERS)
    opened = open_array(path, IDENTITY)
    assert opened is not None
    array, manifest = opened
    assert manifest == stated
    assert np.array_equal(array, NUMBERS)
    assert array.dtype == np.float32
    assert manifest["rows"] == 3  # evaluated after the last block


def test_a_missing_array_or_one_of_another_identity_is_none(tmp_path: Path) -> None:
    path = tmp_path / "numbers.bin"
    assert open_array(path, IDENTITY) is None
    write_array(path, IDENTITY, [NUMBERS.tobytes()])
    assert open_array(path, {**IDENTITY, "what": "letters"}) is None
    assert open_array(path, {**IDENTITY, "format": 2}) is None
    assert open_array(path, IDENTITY) is not None


def test_an_array_whose_manifest_cannot_be_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write_json", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_array(tmp_path / "numbers.bin", IDENTITY, [NUMBERS.tobytes()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("manifest", ["{}", "[]", "7", "null", '{"what":', "", "\0", "[" * 100_000])
def test_any_other_manifest_is_damage(tmp_path: Path, manifest: str) -> None:
    path = tmp_path / "numbers.bin"
    write_array(path, IDENTITY, [NUMBERS.tobytes()])
    manifest_path(path).write_text(manifest)
    with pytest.raises(DamagedArrayError, match="the manifest cannot be read"):
        open_array(path, IDENTITY)


@pytest.mark.parametrize("content", [b"", NUMBERS.tobytes()[:-1], NUMBERS.tobytes() + b"x", b"\0" * 24])
def test_any_other_content_is_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "numbers.bin"
    write_array(path, IDENTITY, [NUMBERS.tobytes()])
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(DamagedArrayError, match="checksum" if len(content) == 24 else "wrong length"):
        open_array(path, IDENTITY)
