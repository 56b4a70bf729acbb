"""Formats that plugins decode: told by their content, checked, and named where the plugin is missing."""

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

PGM = b"P5 2 2 255\n" + bytes((0, 80, 160, 240))


def spec(**changes: object) -> DecoderSpec:
    values = {
        "name": "pgm",
        "summary": "Portable gray maps",
        "suffixes": (".pgm",),
        "magic": (((0, b"P5"),),),
        "decode": "pgm_for_tests:decode",
    }
    return DecoderSpec(**{**values, **changes})


class Bringing:
    """A plugin with the hook, as discovery calls it."""

    @hookimpl
    def register_decoders(self):
        yield spec()


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plugin's decoder, registered for the test alone."""
    made = ModuleType("pgm_for_tests")
    made.decode = lambda data, max_pixels: np.frombuffer(data[-4:], np.uint8).reshape(2, 2)
    made.part = lambda data: "KNEE"
    made.recognize = lambda data: data[3:4] == b"2"
    monkeypatch.setitem(sys.modules, "pgm_for_tests", made)
    decoders.replace(Bringing().register_decoders())
    yield made
    decoders.replace(())


def test_a_file_is_decoded_by_the_plugin_that_knows_its_content_and_resized() -> None:
    assert decode_image(PGM).tolist() == [[0, 80], [160, 240]]
    assert decode_image(PGM, 1).shape == (1, 1)
    assert body_part(PGM) == ""
    decoders.replace([spec(body_part="pgm_for_tests:part")])
    assert body_part(PGM) == "KNEE"


def test_its_files_are_found_in_folders_by_suffix_and_without_one_by_content(tmp_path: Path) -> None:
    for name in ("one.pgm", "two", "three.txt", "4"):
        (tmp_path / name).write_bytes(PGM)
    assert [path.name for path in expand([str(tmp_path)])] == ["4", "one.pgm", "two"]
    decoders.replace(())
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert [path.name for path in expand([str(tmp_path)])] == ["a.png"]


def test_where_magic_bytes_are_not_enough_the_plugin_is_asked() -> None:
    decoders.replace([spec(recognize="pgm_for_tests:recognize")])
    assert decode_image(PGM).shape == (2, 2)
    with pytest.raises(UnreadableImage, match="not a JPEG, PNG, TIFF or PGM image"):
        decode_image(PGM.replace(b"P5 2", b"P5 3"))


@pytest.mark.parametrize(
    ("decode", "words"),
    [
        (lambda data, max_pixels: 1 / 0, "decoder pgm: division by zero"),
        (lambda data, max_pixels: np.zeros((2, 2)), r"decoder pgm returned float64 \[2, 2\], not uint8"),
        (lambda data, max_pixels: np.zeros((2, 2, 3), np.uint8), r"returned uint8 \[2, 2, 3\]"),
        (lambda data, max_pixels: np.zeros((0, 2), np.uint8), r"returned uint8 \[0, 2\]"),
        (lambda data, max_pixels: None, "returned NoneType"),
    ],
)
def test_what_a_decoder_raises_or_returns_that_is_no_image_is_a_reason(
    module: ModuleType, decode: object, words: str
) -> None:
    module.decode = decode
    with pytest.raises(UnreadableImage, match=words):
        decode_image(PGM)


def test_a_jpeg_or_png_file_is_nobody_elses() -> None:
    decoders.replace([spec(magic=(((0, b"\xff\xd8"),), ((0, b"\x89PNG"),)))])
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        assert decoders.find(start + PGM) is None


def test_a_dicom_file_without_the_plugin_names_it(tmp_path: Path) -> None:
    dicom = bytes(128) + b"DICM" + bytes(64)
    with pytest.raises(UnreadableImage, match="a DICOM file: pip install pneumo-dicom to read it"):
        decode_image(dicom)
    for name in ("study.dcm", "1.2.3"):
        (tmp_path / name).write_bytes(dicom)
    assert [path.name for path in expand([str(tmp_path)])] == ["1.2.3", "study.dcm"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"suffixes": ("pgm",)},
        {"suffixes": (".PGM",)},
        {"magic": (((600, b"P5"),),)},
        {"decode": "nowhere"},
        {"recognize": "nowhere"},
    ],
)
def test_a_spec_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="pgm: "):
        spec(**wrong)
