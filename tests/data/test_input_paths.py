"""Paths, globs and standard input as arguments, on real folders."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

import pytest

from pneumo_cli.data import files
from pneumo_cli.data.file_kinds import image_suffixes
from pneumo_cli.data.input_paths import LeftOut, PathList, expand, read_file
from pneumo_cli.errors import UnreadableImage, UsageError

DICOM = bytes(128) + b"DICM" + b"rest"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: images of all formats among other files."""
    for name in (
        "a/2.png",
        "a/10.JPG",
        "a/b/c.tif",
        "a/b/d.tiff",
        "a/b/deep/e.dcm",
        "a/b/deep/f.jpeg",
        "a/g.dicom",
        "a/notes.txt",
        "a/.hidden.png",
        "a/.git/h.png",
        "a/__MACOSX/i.png",
        "other/[1].png",
        "other/1.png",
        "empty/readme.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "a/IM0001").write_bytes(DICOM)
    (tmp_path / "a/1.2.840.99").write_bytes(DICOM)
    (tmp_path / "a/DICOMDIR").write_bytes(DICOM)
    (tmp_path / "a/LICENSE").write_bytes(b"a text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


IMAGES = [
    "1.2.840.99",
    "10.JPG",
    "2.png",
    "IM0001",
    "b/c.tif",
    "b/d.tiff",
    "b/deep/e.dcm",
    "b/deep/f.jpeg",
    "g.dicom",
]


def names(*arguments: str, stdin: io.TextIOBase | None = None) -> list[str]:
    return [str(path) for path in expand(arguments, stdin)]  # type: ignore[arg-type]


def test_a_folder_stands_for_the_images_below_it_in_order(folder: Path) -> None:
    assert names("a") == [f"a/{name}" for name in IMAGES]
    assert names(str(folder / "a")) == [str(folder / "a" / name) for name in IMAGES]


def test_named_files_are_kept_without_a_check(folder: Path) -> None:
    assert names("a/notes.txt", "nowhere.png", "a/.hidden.png") == [
        "a/notes.txt",
        "nowhere.png",
        "a/.hidden.png",
    ]


def test_each_file_is_named_once_in_the_order_of_the_arguments(folder: Path) -> None:
    assert names("a/b/d.tiff", "a/b", "./a/b/c.tif", str(folder / "a/b/d.tiff"), "a//b") == [
        "a/b/d.tiff",
        "a/b/c.tif",
        "a/b/deep/e.dcm",
        "a/b/deep/f.jpeg",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/*.png", ["a/2.png"]),
        ("a/*.txt", ["a/notes.txt"]),
        ("*/?.png", ["a/2.png", "other/1.png"]),
        ("a/**/*.tif*", ["a/b/c.tif", "a/b/d.tiff"]),
        ("a/**/deep/*", ["a/b/deep/e.dcm", "a/b/deep/f.jpeg"]),
        ("**/d*/*.dcm", ["a/b/deep/e.dcm"]),
        ("**/[0-9].png", ["a/2.png", "other/1.png"]),
        ("a/b/**", ["a/b/c.tif", "a/b/d.tiff", "a/b/deep/e.dcm", "a/b/deep/f.jpeg"]),
        ("a/b/*", ["a/b/c.tif", "a/b/d.tiff", "a/b/deep/e.dcm", "a/b/deep/f.jpeg"]),
        ("a/*", [f"a/{name}" for name in sorted(IMAGES)]),
    ],
)
def test_globs_that_the_shell_did_not_expand(folder: Path, pattern: str, expected: list[str]) -> None:
    assert sorted(names(pattern)) == sorted(expected)
    assert sorted(names(str(folder / pattern))) == sorted(str(folder / name) for name in expected)


def test_an_existing_file_is_not_a_glob(folder: Path) -> None:
    assert names("other/[1].png") == ["other/[1].png"]
    (folder / "other/[1].png").unlink()
    assert names("other/[1].png") == ["other/1.png"]


def test_circular_links_end(folder: Path) -> None:
    (folder / "a/b/up").symlink_to(folder / "a")
    (folder / "a/b/top").symlink_to(folder)
    assert len(names("a")) == len(IMAGES) + 2  # those in other/, once
    assert len(names("a/**/*.tif")) == 1


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\0"])
def test_standard_input_lists_files_and_folders(folder: Path, ends: str) -> None:
    listed = ends.join(["a/2.png", "", "  ", "gone.png", "other/[1].png", "a/b/deep", ""])
    expected = ["a/2.png", "gone.png", "other/[1].png", "a/b/deep/e.dcm", "a/b/deep/f.jpeg"]
    assert names("-", stdin=io.StringIO(listed, newline="")) == expected
    assert names("-", stdin=io.TextIOWrapper(io.BytesIO(listed.encode()), "ascii")) == expected
    marked = "\ufeff" + listed  # as Windows editors begin a file
    assert names("-", stdin=io.StringIO(marked, newline="")) == expected
    assert names("-", stdin=io.TextIOWrapper(io.BytesIO(marked.encode()), "utf-8")) == expected


def test_nul_separated_names_may_hold_line_ends(folder: Path) -> None:
    (folder / "a\nb.png").write_bytes(b"x")
    assert names("-", stdin=io.StringIO("a\nb.png\0a/2.png\0")) == ["a\nb.png", "a/2.png"]


@pytest.mark.parametrize(
    ("arguments", "listed", "reason"),
    [
        (
            ["empty"],
            "",
            r"no images in empty: no .jpeg, .jpg, .*, .dcm, .dicom or DICOM files; 1 file of empty is no image "
            r"that can be read: 1 .md",
        ),
        (["nothing*", "empty"], "", r"no images in nothing\*, empty:"),
        (["-"], "\n\n", "standard input lists no files"),
        (["-"], None, "there is none"),
        ([""], "", "an empty path"),
        (["bad\udcff.png"], "", "not valid UTF-8"),
    ],
)
def test_nothing_to_read_is_a_usage_error(
    folder: Path, arguments: list[str], listed: str | None, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        list(expand(arguments, None if listed is None else io.StringIO(listed)))


def test_one_empty_folder_among_others_is_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pneumo"):
        assert names("empty", "a/2.png") == ["a/2.png"]
    assert caplog.messages[0].startswith("no images in empty")


# --- files that are no images ----------------------------------------------------------------------------


CONTENTS = {
    "films/1.png": b"x",
    "films/notes.txt": b"P5 2 2 255",
    "films/table.csv": b"a,b",
    "films/Thumbs.db": b"x",
    "films/more/films.zip": b"PK\3\4",
    "films/more/brain.nii.gz": b"\x1f\x8b\x08",
    "films/more/photo.HEIC": b"x",
    "films/more/anim.gif": b"GIF89a",
    "films/more/slides.jp2": b"x",
    "films/zipped": b"PK\3\4",
    "films/odd.xyz": b"GIF89a",
    "films/unknown.xyz": b"nothing known",
    "films/README": b"a text",
    "films/DICOMDIR": DICOM,
}


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in CONTENTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "films"


@pytest.mark.parametrize("argument", ["films", "films/**", "**"])
def test_files_that_are_no_images_are_counted_by_kind(films: Path, argument: str) -> None:
    left_out = LeftOut()
    assert [str(path) for path in expand([argument], None, left_out)] == ["films/1.png"]
    assert left_out.kinds == {
        ".txt": 1,
        ".csv": 1,
        ".db": 1,
        "DICOMDIR": 1,
        "without a suffix": 1,
        ".xyz": 1,
        ".xyz (GIF, which is not read)": 1,
        "without a suffix (an archive)": 1,
        ".zip (an archive)": 1,
        ".nii.gz (NIfTI, which is not read)": 1,
        ".heic (HEIF, which is not read)": 1,
        ".gif (GIF, which is not read)": 1,
        ".jp2 (JPEG 2000, which is not read)": 1,
    }
    assert left_out.may_be_images == 7
    assert str(left_out).startswith(f"13 files of {argument} are no images that can be read: 1 ")


def test_clutter_is_counted_and_no_image(films: Path) -> None:
    for path in [*films.glob("more/*"), films / "zipped", films / "odd.xyz"]:
        path.unlink()
    left_out = LeftOut()
    list(expand(["films"], None, left_out))
    assert (left_out.kinds.total(), left_out.may_be_images) == (6, 0)
    assert str(LeftOut()) == ""


def test_what_is_never_listed_is_counted_too(films: Path) -> None:
    for path in [*films.glob("more/*"), films / "zipped", films / "odd.xyz"]:
        path.unlink()
    (films / ".hidden.png").write_bytes(b"x")
    left_out = LeftOut()
    list(expand(["films"], None, left_out))
    assert (left_out.kinds["with a hidden name or folder"], left_out.may_be_images) == (1, 0)
    os.mkfifo(films / "pipe.png")
    for argument in ("films", "films/**"):
        left_out = LeftOut()
        list(expand([argument], None, left_out))
        assert left_out.kinds["of no regular kind (pipe, socket, device or broken link)"] == 1
        assert left_out.may_be_images == 1


def test_several_places_are_named_once(films: Path) -> None:
    left_out = LeftOut()
    list(expand(["films/more", "films/1.png", "films/*"], None, left_out))
    assert str(left_out).startswith("18 files of films/more, films/* are")


def test_without_a_collector_the_count_is_a_warning(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pneumo"):
        assert names("films") == ["films/1.png"]
    assert caplog.messages[0].startswith("13 files of films are no images")


@pytest.mark.parametrize("suffix", ["", ".7", ".dat", ".img", ".bak"])
def test_images_without_a_usual_suffix_are_found_by_their_content(tmp_path: Path, suffix: str) -> None:
    contents = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "tiff": b"II*\0",
        "bmp": b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
        "webp": b"RIFF\0\0\0\0WEBP",
        "pgm": b"P5\n2 2",
        "dicom": DICOM,
    }
    for name, content in contents.items():
        (tmp_path / f"{name}{suffix}").write_bytes(content)
    assert [Path(name).stem for name in names(str(tmp_path))] == sorted(contents)


def test_all_formats_have_suffixes() -> None:
    assert {".jpg", ".jpe", ".jfif", ".png", ".tif", ".bmp", ".webp", ".pgm", ".dcm"} <= {*image_suffixes()}


# --- reading -------------------------------------------------------------------------------------------------


def test_a_file_is_read_completely(folder: Path) -> None:
    assert read_file(Path("a/IM0001")) == DICOM
    assert read_file(folder / "a/IM0001") == DICOM


def test_an_unreadable_file_has_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "broken.png").symlink_to("gone")
    monkeypatch.setattr(files, "MAX_BYTES", 2**20)
    (folder / "large.png").write_bytes(bytes(2**20 + 1))
    for name, reason in {
        "gone.png": "No such file",
        "nowhere/gone.png": "no such file",
        "a": "a folder",
        "pipe.png": "not a regular file",
        "broken.png": "No such file",
        "large.png": "larger than 1 MiB",
        "a/2.png/x": "no such file|neither|[Nn]ot",
        "a" * 300: "too long",
    }.items():
        with pytest.raises(UnreadableImage, match=reason):
            read_file(Path(name))


def test_a_list_of_paths_in_the_bytes_of_their_text() -> None:
    paths = [Path("a/b.png"), Path("/ü/ein Bild.png"), Path("a\nb.png")]
    listed = PathList(iter(paths))
    assert (len(listed), list(listed), list(listed)) == (3, paths, paths)
    assert list(PathList([])) == []
    many = PathList(Path(f"folder/{number:09}.png") for number in range(10_000))
    assert sys.getsizeof(many._text) < 30 * 10_000
