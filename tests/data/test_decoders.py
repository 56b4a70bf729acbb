"""Image formats of plugins: recognised by content, checked, and named if the plugin is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pneumo_cli.api import DecoderSpec, hookimpl
from pneumo_cli.data import decoders
from pneumo_cli.data.decoding import body_part, decode_image
from pneumo_cli.data.input_paths import expand
from pneumo_cli.errors import UnreadableImage

PICTURE = b"Q5 2 2 255\n" + bytes((0, 80, 160, 240))


def spec(**changes: object) -> DecoderSpec:
    values = {
        "name": "qgm",
        "summary": "A format for tests",
        "suffixes": (".qgm",),
        "magic": (((0, b"Q5"),),),
        "decode": "qgm_for_tests:decode",
    }
    return DecoderSpec(**{**values, **changes})


class QgmPlugin:
    """A plugin with the hook, as discovery calls it."""

    @hookimpl
    def register_decoders(self):
        yield spec()


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plugin's decoder, registered for the test alone."""
    decoder = ModuleType("qgm_for_tests")
    decoder.decode = lambda data, max_pixels: np.frombuffer(data[-4:], np.uint8).reshape(2, 2)
    decoder.part = lambda data: "KNEE"
    decoder.recognize = lambda data: data[3:4] == b"2"
    monkeypatch.setitem(sys.modules, "qgm_for_tests", decoder)
    decoders.replace(QgmPlugin().register_decoders())
    yield decoder
    decoders.replace(())


def test_a_file_is_decoded_by_the_plugin_that_recognises_its_content() -> None:
    assert decode_image(PICTURE).tolist() == [[0, 80], [160, 240]]
    assert decode_image(PICTURE, 1).shape == (1, 1)
    assert body_part(PICTURE) == ""
    decoders.replace([spec(body_part="qgm_for_tests:part")])
    assert body_part(PICTURE) == "KNEE"


def test_files_in_folders_are_found_by_suffix_or_else_by_content(tmp_path: Path) -> None:
    for name in ("one.qgm", "two", "three.txt", "4"):
        (tmp_path / name).write_bytes(PICTURE)
    assert [path.name for path in expand([str(tmp_path)])] == ["4", "one.qgm", "two"]
    decoders.replace(())
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert [path.name for path in expand([str(tmp_path)])] == ["a.png"]


def test_a_plugin_can_check_more_than_magic_bytes() -> None:
    decoders.replace([spec(recognize="qgm_for_tests:recognize")])
    assert decode_image(PICTURE).shape == (2, 2)
    with pytest.raises(UnreadableImage, match="not a JPEG, PNG, TIFF, BMP, WebP, PGM or QGM image"):
        decode_image(PICTURE.replace(b"Q5 2", b"Q5 3"))


@pytest.mark.parametrize(
    ("decode", "words"),
    [
        (lambda data, max_pixels: 1 / 0, "decoder qgm: division by zero"),
        (lambda data, max_pixels: np.zeros((2, 2)), r"decoder qgm returned float64 \[2, 2\], not uint8"),
        (lambda data, max_pixels: np.zeros((2, 2, 3), np.uint8), r"returned uint8 \[2, 2, 3\]"),
        (lambda data, max_pixels: np.zeros((0, 2), np.uint8), r"returned uint8 \[0, 2\]"),
        (lambda data, max_pixels: None, "returned NoneType"),
    ],
)
def test_errors_and_wrong_results_of_a_decoder_make_an_image_unreadable(
    module: ModuleType, decode: object, words: str
) -> None:
    module.decode = decode
    with pytest.raises(UnreadableImage, match=words):
        decode_image(PICTURE)


def test_a_reason_that_quotes_a_file_stays_one_line_without_control_characters(module: ModuleType) -> None:
    def refuse(data: bytes, max_pixels: int) -> None:
        raise UnreadableImage("modality C\nR\x1b[31m, no radiograph")

    module.decode = refuse
    with pytest.raises(UnreadableImage) as caught:
        decode_image(PICTURE)
    assert str(caught.value) == "modality C R [31m, no radiograph"


def test_plugins_never_decode_jpeg_and_png() -> None:
    decoders.replace([spec(magic=(((0, b"\xff\xd8"),), ((0, b"\x89PNG"),)))])
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        assert decoders.find(start + PICTURE) is None


def test_a_dicom_file_without_the_plugin_names_the_package(tmp_path: Path) -> None:
    dicom = bytes(128) + b"DICM" + bytes(64)
    with pytest.raises(UnreadableImage, match=r"a DICOM file: pip install \S*pneumo-dicom to read it"):
        decode_image(dicom)
    for name in ("study.dcm", "1.2.3"):
        (tmp_path / name).write_bytes(dicom)
    assert [path.name for path in expand([str(tmp_path)])] == ["1.2.3", "study.dcm"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"suffixes": ("qgm",)},
        {"suffixes": (".PICTURE",)},
        {"magic": (((600, b"Q5"),),)},
        {"decode": "nowhere"},
        {"recognize": "nowhere"},
    ],
)
def test_an_invalid_spec_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="qgm: "):
        spec(**wrong)
