"""Existing files and bundles are replaced on request alone, as a whole, and never with another's files in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import Invocation
from pneumo_export.export import check_target

Pneumo = Callable[..., Invocation]

pytestmark = pytest.mark.usefixtures("traced")


def test_existing_files_are_replaced_on_request_alone_and_never_if_they_are_something_else(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "README.md").write_text("old")
    (copy / ".lock").touch()  # left by an evaluation of the bundle as a run
    file = tmp_path / "model.pt2"
    file.write_text("old")
    other = tmp_path / "photos"
    other.mkdir()
    for arguments, words in (
        ((copy,), "exists"),
        ((file, "--format", "torch"), "exists"),
        ((other, "--overwrite"), "is no bundle"),
        ((other, "--format", "torch", "--overwrite"), "is a folder"),
        ((file / "below",), "cannot be written"),
    ):
        done = pneumo("export", run, "--out", *arguments)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert words in done.stderr
    assert file.read_text() == "old"
    assert pneumo("export", run, "--out", file, "--format", "torch", "--overwrite").code == 0
    assert file.read_bytes() == (bundle / "model.pt2").read_bytes()
    assert pneumo("export", run, "--out", copy, "--overwrite").code == 0
    assert (copy / "README.md").read_text() != "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "work") == [
        "bundle",
        "model.pt2",
        "photos",
    ]


def test_plugins_are_told_of_what_was_exported(
    run: Path, pneumo: Pneumo, tmp_path: Path, install: Any
) -> None:
    source = (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\n"
        "def model_exported(path, target):\n    print('told:', path.name, target.name)\n"
    )
    install("pneumo-told", {"told": "told_of_export"}, {"told_of_export": source})
    done = pneumo("export", run, "--out", tmp_path / "told.pt2", "--format", "torch")
    assert done.code == 0, done.stderr
    assert f"told: {run.name} told.pt2\n" in done.stderr


@pytest.mark.parametrize("description", ["intact", "damaged"])
def test_a_bundle_with_unrelated_files_is_not_replaced(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path, description: str
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "notes").mkdir()
    (copy / "notes" / "thesis.txt").write_text("mine")
    if description == "damaged":
        (copy / "model.json").write_text("{")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = pneumo("export", run, "--out", copy, "--overwrite")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "holds notes/thesis.txt, which belongs to no bundle" in done.stderr
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    shutil.rmtree(copy / "notes")
    check_target(copy, "bundle", overwrite=True)
    if description == "damaged":
        assert pneumo("export", run, "--out", copy, "--overwrite").code == 0
        assert (copy / "model.json").read_text() != "{"


def test_a_file_that_is_added_to_a_bundle_during_its_export_stays(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_export import export

    copy = shutil.copytree(bundle, tmp_path / "bundle")

    def card(*given: Any) -> str:
        (copy / "thesis.txt").write_text("mine")
        return "card"

    monkeypatch.setattr(export, "model_card", card)
    done = pneumo("export", run, "--out", copy, "--overwrite")
    assert done.code == 2
    assert "holds thesis.txt" in done.stderr
    assert (copy / "thesis.txt").read_text() == "mine"
    assert (copy / "README.md").read_bytes() == (bundle / "README.md").read_bytes()
