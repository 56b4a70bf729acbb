"""``pneumo data audit``: page, exit code and JSON agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., object]

LEAKY = """
import numpy as np
from dataclasses import replace
from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.testing import TinyDataset

api_version = 1

COPIES = 1

class Leaky(TinyDataset):
    def __init__(self):
        super().__init__("leaky", images=160)
        pool = [r for r in self.records if r.pool == "train"]
        copied = next(r for r in self.records if r.pool == "test")
        gray = self._pixels[copied.name].astype(float) * 0.8 + 20
        for first in pool[:COPIES]:
            self._pixels[first.name] = gray.round().astype(np.uint8)
        # A name is data: it must not become markup.
        renamed = replace(copied, name="test/<script>alert(1)</script>")
        self._pixels[renamed.name] = self._pixels[copied.name]
        self.records[self.records.index(copied)] = renamed

def open_leaky(request):
    return Leaky()

@hookimpl
def register_datasets():
    yield DatasetSpec(name="leaky", summary="One near-duplicate", factory="leaky_plugin:open_leaky", synthetic=True)
"""


@pytest.fixture
def leaky(install: Callable[..., None]) -> str:
    install("pneumo-leaky", {"leaky": "leaky_plugin"}, {"leaky_plugin": LEAKY})
    return "leaky"


def test_data_without_a_leak_give_a_page_and_exit_code_0(pneumo: Run, fakes: Path) -> None:
    ended = pneumo("data", "audit", "--dataset", "small", "--out", "page")
    assert ended.code == 0, ended.stderr
    assert "No leak found" in ended.stdout
    assert "page/audit.html" in ended.stderr
    page = (fakes / "page" / "audit.html").read_text()
    assert "No leak found" in page
    assert "Synthetic data" in page
    assert "data:image/" in page
    assert sorted(file.name for file in (fakes / "page").iterdir()) == ["audit.html", "audit.json"]


def test_a_leak_gives_exit_code_1_and_its_images_are_shown(pneumo: Run, fakes: Path, leaky: str) -> None:
    ended = pneumo("data", "audit", "--dataset", leaky, "--out", "page", "--json")
    assert ended.code == 1, ended.stderr
    content = json.loads(ended.stdout)
    assert content == json.loads((fakes / "page" / "audit.json").read_text())
    assert not content["clean"]
    assert sum(leak["near"] for leak in content["leaks"]) == 1
    (pair,) = (pair for leak in content["leaks"] for pair in leak["pairs"])
    assert pair["names"][1] == "test/<script>alert(1)</script>"
    assert pair["correlation"] > 0.9
    page = (fakes / "page" / "audit.html").read_text()
    assert "1 leak found" in page
    assert "Near-duplicate:" in page
    assert page.count("<script") == 1  # its own
    assert "alert(1)" in page
    assert {shift["class"] for shift in content["shift"]} <= {"NORMAL", "PNEUMONIA"}


def test_an_image_with_two_near_duplicates_is_counted_once(
    pneumo: Run, fakes: Path, install: Callable[..., None]
) -> None:
    # Other images under another name, since modules are imported once and decoded images are kept by their digests.
    twice = (
        LEAKY.replace("COPIES = 1", "COPIES = 2").replace("leaky", "twice").replace("=160", "=160, seed=1")
    )
    install("pneumo-twice", {"twice": "twice_plugin"}, {"twice_plugin": twice})
    ended = pneumo("data", "audit", "--dataset", "twice", "--split", "all", "--out", "page")
    assert ended.code == 1, ended.stderr
    words = " ".join(re.sub(r"<[^>]+>", " ", (fakes / "page" / "audit.html").read_text()).split())
    assert "train and test share 1 near-duplicate." in words
    assert "Near-duplicates 1 images of which an earlier split has an altered copy" in words
    assert (
        "train and test 0 0 0 0 1 validation and test 0 0 0 0 0 Images are counted in the second split"
        in words
    )
    assert (
        "train and test share 1 image of test (in 2 pairs: some match more than one) and 0 patients" in words
    )


def test_the_split_of_the_report_shares_patients_and_names_them(pneumo: Run, fakes: Path) -> None:
    ended = pneumo("data", "audit", "--dataset", "small", "--split", "source", "--json")
    assert ended.code == 1
    content = json.loads(ended.stdout)
    shared = content["leaks"][0]
    assert shared["patients"] == len(shared["shared_patients"]) > 10
    assert "Same patient" in (fakes / "audit" / "audit.html").read_text()


def test_an_audit_is_replaced_only_with_overwrite(pneumo: Run, fakes: Path) -> None:
    (fakes / "page").mkdir()
    (fakes / "page" / "notes.txt").write_text("mine")
    command = ("data", "audit", "--dataset", "tiny", "--out", "page")
    for flags in ((), ("--overwrite",)):
        ended = pneumo(*command, *flags)
        assert ended.code == 2
        assert "holds other files and no earlier audit" in ended.stderr
        assert [file.name for file in (fakes / "page").iterdir()] == ["notes.txt"]
    (fakes / "page" / "notes.txt").unlink()
    assert pneumo(*command).code == 0
    assert "--overwrite" in pneumo(*command).stderr
    (fakes / "page" / "notes.txt").write_text("mine")
    before = (fakes / "page" / "audit.html").read_text()
    (fakes / "page" / "audit.html").write_text(before.replace("No leak", "Old"))
    assert pneumo(*command, "--overwrite").code == 0
    assert "No leak found" in (fakes / "page" / "audit.html").read_text()
    assert (fakes / "page" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "page"),
    [
        ('{"my": "own"}', None),
        ("torn", None),
        (None, "my own page"),
        ('{"fingerprint": "", "leaks": [], "shift": []}', "my own page"),
    ],
)
def test_other_files_with_the_names_of_an_audit_are_not_replaced(
    pneumo: Run, fakes: Path, content: str | None, page: str | None
) -> None:
    (fakes / "page").mkdir()
    mine = {"audit.json": content, "audit.html": page}
    mine = {name: text for name, text in mine.items() if text is not None}
    for name, text in mine.items():
        (fakes / "page" / name).write_text(text)
    ended = pneumo("data", "audit", "--dataset", "tiny", "--out", "page", "--overwrite")
    assert ended.code == 2
    assert "no earlier audit" in ended.stderr
    assert {file.name: file.read_text() for file in (fakes / "page").iterdir()} == mine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "tiny", "--split", "sideways"), "--split is"),
        (("--dataset", "tinny"), "tiny"),
        (("--dataset", "tiny", "--validation-fraction", "1.5"), "above 0 and below 1"),
        (("--dataset", "tiny", "--out", "file"), "file is not a folder"),
        (("--dataset", "tiny", "--out", "file/below"), "file/below"),
    ],
)
def test_misuse_is_an_error_of_one_line_and_exit_code_2(
    pneumo: Run, fakes: Path, arguments: tuple[str, ...], message: str
) -> None:
    (fakes / "file").write_text("mine")
    ended = pneumo("data", "audit", *arguments)
    assert ended.code == 2
    assert message in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""
    assert not (fakes / "audit").exists()


def test_unreadable_images_are_left_out_and_named(pneumo: Run, fakes: Path) -> None:
    ended = pneumo("data", "audit", "--dataset", "torn", "--json")
    content = json.loads(ended.stdout)
    assert len(content["unreadable"]) == 2
    assert "2 of the images cannot be read" in (fakes / "audit" / "audit.html").read_text()
