"""Files that a run folder gets after the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.atomic import file_stem


def test_every_evaluation_has_a_file_of_its_own_also_within_a_second(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for number in range(20):
        folder.add_evaluation("best-phantom-test", {"number": number})
    files = sorted(folder.evaluations.iterdir())
    assert [json.loads(file.read_text())["number"] for file in files] == list(range(20)), (
        "in the order of time"
    )
    assert all(file.name.endswith("-best-phantom-test.json") for file in files)


def test_an_evaluation_is_json_and_stays_in_its_folder_whatever_its_names_are(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    written = folder.add_evaluation("best-../../mine-test", {"metrics": {"recall": float("nan"), "auc": 0.5}})
    (file,) = folder.evaluations.iterdir()
    assert json.loads(file.read_text()) == written
    assert written["metrics"] == {"recall": None, "auc": 0.5}
    assert {path.parent.name for path in tmp_path.rglob("*.json")} == {"evaluations"}


@pytest.mark.parametrize(
    "name", ["..", "a/../../b", "", "x" * 500, "\n", "\\\\server\\share", ".hidden", "é/ü"]
)
def test_the_stem_of_a_file_is_one_part_of_a_path(name: str) -> None:
    stem = file_stem(name)
    assert Path(stem).name == stem
    assert not stem.startswith(".")
    assert 0 < len(stem) <= 100
