"""A dataset whose ``read`` was changed after a run: what is evaluated then is said to be of other pixels."""

from __future__ import annotations

from pathlib import Path

import pytest

DATASET = """
from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.testing import TinyDataset

api_version = 1


@hookimpl
def register_datasets():
    yield DatasetSpec(name="mended", summary="One more", factory=__name__ + ":Mended")


class Mended(TinyDataset):
    def __init__(self, request):
        super().__init__("mended")

    def read(self, record, size=None):
        return super().read(record, size) // {divisor}
"""
FLAGS = ("--precision", "fp32", "--epochs", "1", "--dataset", "mended")


@pytest.fixture
def file(fakes: Path) -> Path:
    path = fakes / "mended_data.py"
    path.write_text(DATASET.format(divisor=1), encoding="utf-8")
    return path


def test_evaluate_warns_of_other_pixels_and_of_no_others(file: Path, pneumo) -> None:
    ended = pneumo("run", "fake", *FLAGS, "--plugin", file)
    assert ended.code == 0, ended.stderr
    (folder,) = Path("runs/fake").iterdir()
    same = pneumo("evaluate", folder, "--on", "validation", "--json", "--plugin", file)
    assert (same.code, same.stderr) == (0, "")
    file.write_text(DATASET.format(divisor=2), encoding="utf-8")
    other = pneumo("evaluate", folder, "--on", "validation", "--json", "--plugin", file)
    assert other.code == 0
    assert "the dataset mended (mended_data.py " in other.stderr
    assert f"decodes its images otherwise than when {folder} was trained" in other.stderr
    assert other.stderr.count("\n") == 1
