"""Folders and zip archives of images: names, content and digests."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.data.files import ImageFiles
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map

CONTENT = {
    "train/a.JPEG": b"1",
    "train/deep/b.png": b"2",
    "c.jpg": b"3",
    "train/._a.JPEG": b"x",
    "__MACOSX/train/a.jpeg": b"x",
    ".hidden/d.png": b"x",
    "train/.DS_Store": b"x",
    "readme.txt": b"x",
}
IMAGES = ["c.jpg", "train/a.JPEG", "train/deep/b.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in CONTENT.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "root"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "root.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in CONTENT.items():
            file.writestr(name, data)
    return tmp_path / "root.zip"


def test_a_folder_and_an_archive_list_and_read_the_same(folder: Path, archive: Path, cache: Path) -> None:
    for root in (folder, archive):
        files = ImageFiles(root)
        assert files.names() == IMAGES
        assert [files.read_bytes(name) for name in IMAGES] == [CONTENT[name] for name in IMAGES]
        digests = files.digests(IMAGES, cache, Progress())
        assert digests == {name: hashlib.sha256(CONTENT[name]).hexdigest() for name in IMAGES}


def test_backslashes_in_an_archive_separate_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as file:
        file.writestr("train\\a.png", b"1")
    files = ImageFiles(tmp_path / "w.zip")
    assert files.names() == ["train/a.png"]
    assert files.read_bytes("train/a.png") == b"1"


def test_what_is_not_listed_is_told_by_reason(folder: Path, archive: Path) -> None:
    for root in (folder, archive):
        files = ImageFiles(root)
        files.files()
        assert files.skipped == {"with a hidden name or folder": [".hidden/d.png"]}
    (folder / ".scan.PNG").write_bytes(b"x")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "train" / "pipe")
    (folder / "null").symlink_to("/dev/null")
    (folder / "gone.txt").symlink_to("nowhere")
    (folder / ".hidden" / "up").symlink_to("..")
    files = ImageFiles(folder)
    assert files.names() == IMAGES
    assert files.skipped == {
        "with a hidden name or folder": [".hidden/d.png", ".scan.PNG"],
        "of no regular kind (pipe, socket, device or broken link)": [
            "gone.txt",
            "null",
            "pipe.png",
            "train/pipe",
        ],
    }


def test_members_of_an_archive_are_named_by_their_path_or_skipped_with_a_reason(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as file:
        for name in ("./a.png", "b//c.png", "/etc/d.png", "../e.png", "f/../../g.png", "h\\i.png", "h/i.png"):
            file.writestr(name, name.encode())
    files = ImageFiles(tmp_path / "odd.zip")
    assert files.names() == ["a.png", "b/c.png", "h/i.png"]
    assert [files.read_bytes(name) for name in files.names()] == [b"./a.png", b"b//c.png", b"h/i.png"]
    assert files.skipped == {
        "with the name of another member": ["h/i.png"],
        "with a path that leads out of the archive": ["../e.png", "/etc/d.png", "f/../../g.png"],
    }


def test_an_archive_is_read_correctly_from_many_threads(tmp_path: Path) -> None:
    content = {f"{number}.png": os.urandom(20_000) for number in range(60)}
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    files = ImageFiles(tmp_path / "many.zip")
    names = list(content) * 5
    assert list(ordered_map(files.read_bytes, names)) == [content[name] for name in names]


def test_links_are_followed_but_loops_are_not(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.png").write_bytes(b"4")
    (folder / "linked").symlink_to(outside)
    (folder / "train" / "up").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    assert ImageFiles(folder).names() == [
        "c.jpg",
        "linked/o.png",
        "self.png",
        "train/a.JPEG",
        "train/deep/b.png",
    ]


def test_an_unreadable_file_has_a_placeholder_digest(folder: Path, cache: Path) -> None:
    (folder / "broken.png").symlink_to(folder / "nowhere")
    files = ImageFiles(folder)
    assert files.digests(files.names(), cache, Progress())["broken.png"] == "unreadable:broken.png"
    with pytest.raises(UnreadableImage, match="No such file"):
        files.read_bytes("broken.png")


def test_a_damaged_member_of_an_archive_is_unreadable_and_the_others_are_not(
    tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", b"A" * 500)
        file.writestr("b.png", b"B" * 500)
    path.write_bytes(path.read_bytes().replace(b"A" * 500, b"A" * 250 + b"?" * 250))
    digests = ImageFiles(path).digests(["a.png", "b.png"], cache, Progress())
    assert digests == {"a.png": "unreadable:a.png", "b.png": hashlib.sha256(b"B" * 500).hexdigest()}


def test_digests_are_cached_until_a_file_changes(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ImageFiles(folder)
    before = files.digests(IMAGES, cache, Progress())
    read = []
    monkeypatch.setattr(files, "read_bytes", lambda name: read.append(name) or CONTENT[name])
    assert files.digests(IMAGES, cache, Progress()) == before
    assert read == []
    (folder / "c.jpg").write_bytes(b"33")
    files.digests(IMAGES, cache, Progress())
    assert read == ["c.jpg"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1, "root": 3}', b"\xff\xfe"])
def test_a_damaged_cache_of_digests_is_rebuilt(folder: Path, cache: Path, damage: bytes) -> None:
    before = ImageFiles(folder).digests(IMAGES, cache, Progress())
    (cached,) = (cache / "digests").iterdir()
    cached.write_bytes(damage)
    assert ImageFiles(folder).digests(IMAGES, cache, Progress()) == before
    assert set(json.loads(cached.read_bytes())["files"]) == set(IMAGES)


def test_indented_digests_of_an_earlier_version_are_read_and_strange_ones_left_out(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ImageFiles(folder)
    before = files.digests(IMAGES, cache, Progress())
    (cached,) = (cache / "digests").iterdir()
    content = json.loads(cached.read_bytes())
    content["files"] |= {"c.jpg": "x" * 64, "other.png": [1, 2], "train/a.JPEG": [1, 2, 3]}
    cached.write_text(json.dumps(content, indent=2))
    read = []
    monkeypatch.setattr(files, "read_bytes", lambda name: read.append(name) or CONTENT[name])
    assert files.digests(IMAGES, cache, Progress()) == before
    assert read == ["c.jpg", "train/a.JPEG"]


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 1024
    (folder / "c.jpg").write_bytes(content)
    files, true = ImageFiles(folder), os.stat
    small = os.stat_result((0o100644, 0, 0, 1, 0, 0, 3, 0, 0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda path, **more: small if str(path).endswith("c.jpg") else true(path))
        read = files.read_bytes("c.jpg")
    assert read == content


def test_neither_a_folder_nor_an_archive_is_an_error_of_one_line(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "text").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-30])
    cases: dict[str, str] = {
        "missing": "No such file",
        "text": "neither a folder nor a zip",
        "pipe": "neither a folder nor a zip",
        "cut.zip": "damaged zip archive",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            ImageFiles(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_name_that_is_not_unicode_is_an_error_of_one_line(
    tmp_path: Path, make_png: Callable[..., bytes]
) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(make_png(1))
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(DataError, match="not valid UTF-8"):
        ImageFiles(tmp_path).names()
