"""The hash of the code that reads images: it changes with the package's source, and with nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.data import decoders
from pneumo_cli.data.source import code_identity, present_code, source_digest, title_of
from pneumo_cli.registry import REGISTERED, Entry, Provenance
from pneumo_cli.specs import DecoderSpec, ModelSpec
from pneumo_cli.trainers.transfer import code_of_registered
from tests.data.studies import Studies

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file below a folder on the path; nothing of it is imported yet."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()

    return written


def test_every_module_of_a_package_counts(write: Write) -> None:
    write("cliniclib/__init__.py", "")
    write("cliniclib/data.py", "x = 1")
    write("cliniclib/deep/levels.py", "y = 1")
    before = source_digest(["cliniclib.data"])
    assert source_digest(["cliniclib.data"]) == before
    write("cliniclib/notes.txt", "no source")
    assert source_digest(["cliniclib.data"]) == before
    write("cliniclib/deep/levels.py", "y = 2")
    changed = source_digest(["cliniclib.data"])
    write("cliniclib/deep/more.py", "")
    assert len({before, changed, source_digest(["cliniclib.data"])}) == 3
    assert "cliniclib" not in sys.modules


def test_a_single_module_counts_and_its_neighbours_do_not(write: Write) -> None:
    write("clinicfile.py", "x = 1")
    before = source_digest(["clinicfile"])
    write("neighbour.py", "")
    assert source_digest(["clinicfile"]) == before
    write("clinicfile.py", "x = 2")
    assert source_digest(["clinicfile"]) != before


def test_of_a_large_package_only_the_module_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo_cli.data.source._MOST_FILES", 3)
    for name in ("__init__", "a", "b", "c", "reader"):
        write(f"largelib/{name}.py", "x = 1")
    before = source_digest(["largelib.reader"])
    write("largelib/a.py", "x = 2")
    assert source_digest(["largelib.reader"]) == before
    write("largelib/reader.py", "x = 2")
    assert source_digest(["largelib.reader"]) != before
    sys.modules.pop("largelib", None)


def test_pneumo_the_standard_library_and_what_is_missing_do_not_count() -> None:
    assert source_digest(
        ["pneumo_cli.data.records", "abc", "json", "no_such_package.at_all"]
    ) == source_digest([])


def test_where_a_module_lies_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for place in ("first", "second"):
        (tmp_path / place / "movedlib").mkdir(parents=True)
        (tmp_path / place / "movedlib" / "__init__.py").write_text("x = 1")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / place)
            importlib.invalidate_caches()
            digests.append(source_digest(["movedlib"]))
    assert digests[0] == digests[1]


def test_other_modules_that_a_dataset_reads_with_count(write: Write) -> None:
    class Windowed(Studies):
        reading_modules = ("windowlib",)

    write("windowlib.py", "low = 1")
    before = code_identity(Windowed())
    write("windowlib.py", "low = 2")
    assert code_identity(Windowed()) != before


def test_only_files_that_plugins_decode_depend_on_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DecoderSpec(
        name="nifti",
        summary="NIfTI",
        suffixes=(".nii",),
        magic=(((0, b"n+1"),),),
        decode="niftilib.decode:decode",
    )
    monkeypatch.setattr(decoders, "_registered", (spec,))
    assert decoders.modules_for(["a.png", "b/c.JPG"]) == ()
    assert decoders.modules_for(["a.png", "b.nii"]) == ("niftilib.decode",)
    assert decoders.modules_for(["1.2.840.1"]) == ("niftilib.decode",)


def test_the_file_that_something_registered_is_from_counts(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(name="m", kind="classifier", summary="M", factory="modellib:build")
    digests = []
    for number in (1, 2):
        write("modellib.py", f"def build(channels, outputs):\n    return {number}")
        import_of = importlib.import_module("modellib")
        digests.append(
            (
                present_code(import_of.build),
                *code_of_registered(Entry(spec, Provenance(REGISTERED, ""))).values(),
            )
        )
    assert len({digest for pair in digests for digest in pair} - {""}) == 2
    assert code_of_registered(Entry(spec, Provenance("pneumo-m", "1"))) == {}
    del sys.modules["modellib"]


def test_a_dataset_that_pneumo_has_not_opened_is_named_by_its_class() -> None:
    assert title_of(Studies()) == "the dataset studies (tests.data.studies.Studies)"
