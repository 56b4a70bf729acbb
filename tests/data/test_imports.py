"""Importing a dataset: remembering its place, or copying it."""

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.data.imports import import_data, remember, remembered
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def run(spec: DatasetSpec, home: Path, cache: Path) -> Callable[..., Path]:
    def run(source: Path, copy: bool = True) -> Path:
        return import_data(spec, source, home, copy=copy, cache=cache, progress=Progress())

    return run


def zipped(tree: Path, path: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(tree.rglob("*.png")):
            file.write(member, member.relative_to(tree))
        for name, data in (extra or {}).items():
            file.writestr(name, data)
    return path


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_without_copying_the_folder_is_remembered_and_not_changed(
    tree: Path, home: Path, run: Callable[..., Path]
) -> None:
    before = content(tree)
    assert run(tree, copy=False) == tree
    assert remembered(home, "toy") == tree
    assert content(tree) == before
    assert os.listdir(home) == ["places.json"]


def test_a_folder_and_a_zip_of_it_become_the_same_copy_once(
    tree: Path, home: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    clutter = {"__MACOSX/train/A/._x.png": b"x", "notes.txt": b"kept"}
    first = run(tree)
    assert content(first) == content(tree)
    again = run(zipped(tree, tmp_path / "t.zip", clutter))
    assert again == first == remembered(home, "toy")
    assert os.listdir(home / "toy") == [first.name]
    assert run(first) == first


def test_a_zip_is_unpacked_without_clutter(tree: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    clutter = {"__MACOSX/train/A/._x.png": b"x", "notes.txt": b"kept"}
    assert content(run(zipped(tree, tmp_path / "t.zip", clutter))) == content(tree) | {"notes.txt": b"kept"}


def test_an_existing_copy_is_never_overwritten(tree: Path, run: Callable[..., Path]) -> None:
    first = run(tree)
    victim = next(first.rglob("*.png"))
    victim.write_bytes(b"damaged")
    second = run(tree)
    assert second != first
    assert victim.read_bytes() == b"damaged"
    assert content(second) == content(tree)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../escape.png", "points outside"),
        ("train/../../escape.png", "points outside"),
        ("/etc/escape.png", "points outside"),
        ("..\\escape.png", "points outside"),
        ("C:\\escape.png", "points outside"),
        ("train/A/TRAINA0_0.png", "differ only in case"),
    ],
)
def test_an_unsafe_archive_is_an_error_and_leaves_no_files(
    tree: Path, home: Path, tmp_path: Path, run: Callable[..., Path], name: str, message: str
) -> None:
    path = zipped(tree, tmp_path / "bad.zip", {name: (tree / "train/A/trainA0_0.png").read_bytes()})
    with pytest.raises(DataError, match=message):
        run(path)
    assert not home.exists()
    assert not list(tmp_path.rglob("escape.png"))


def test_a_link_in_an_archive_is_an_error(
    tree: Path, home: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    path = zipped(tree, tmp_path / "link.zip")
    link = zipfile.ZipInfo("train/A/traitor_0.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        run(path)
    assert not home.exists()


def test_a_decompression_bomb_is_an_error(
    tree: Path, home: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    path = zipped(tree, tmp_path / "bomb.zip", {"bomb.bin": bytes(40 * 2**20)})
    with pytest.raises(DataError, match="would unpack to"):
        run(path)
    assert not home.exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_import_that_fails_midway_leaves_no_files(
    tree: Path, home: Path, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    write = Path.write_bytes

    def fails(path: Path, data: bytes) -> int:
        if path.name == "trainB3_1.png":
            raise failure
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises((KeyboardInterrupt, PneumoError)) as caught:
        run(tree)
    if isinstance(failure, OSError):
        assert "No space left on device" in str(caught.value)
    assert os.listdir(home / "toy") == []
    assert remembered(home, "toy") is None


def test_a_member_that_cannot_be_copied_is_named(
    tree: Path, home: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(tree.rglob("*.png")):
            file.write(member, member.relative_to(tree))
    whole = path.read_bytes()
    target = (tree / "train/A/trainA0_0.png").read_bytes()
    path.write_bytes(whole.replace(target, target[:-9] + b"?" * 9))
    with pytest.raises(DataError, match=r"train/A/trainA0_0\.png .*damaged in the archive"):
        run(path)
    assert os.listdir(home / "toy") == []


def test_a_folder_without_the_dataset_is_not_remembered(
    tmp_path: Path, home: Path, run: Callable[..., Path]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        run(tmp_path / "empty", copy=False)
    assert not home.exists()


def test_a_dataset_that_needs_no_files_has_nothing_to_import(home: Path, cache: Path, tmp_path: Path) -> None:
    synthetic = DatasetSpec(
        name="synthetic", summary="Synthetic", factory="toy_dataset:open_dataset", synthetic=True
    )
    with pytest.raises(UsageError, match="nothing to import"):
        import_data(synthetic, tmp_path, home, copy=False, cache=cache, progress=Progress())


def test_places_of_several_datasets_are_kept_apart(home: Path, tmp_path: Path) -> None:
    assert remembered(home, "one") is None
    remember(home, "one", tmp_path / "1")
    remember(home, "two", tmp_path / "2")
    remember(home, "one", tmp_path / "3")
    assert remembered(home, "one") == tmp_path / "3"
    assert remembered(home, "two") == tmp_path / "2"


@pytest.mark.parametrize("damage", ["", "[1]", "{", '{"one": 3}'])
def test_damaged_places_are_ignored_and_can_be_rewritten(home: Path, tmp_path: Path, damage: str) -> None:
    home.mkdir()
    (home / "places.json").write_text(damage)
    assert remembered(home, "one") is None
    remember(home, "one", tmp_path)
    assert remembered(home, "one") == tmp_path
