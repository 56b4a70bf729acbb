"""``pneumo run cnn`` on valid and invalid folders of chest radiographs (needs pneumo-chest-xray)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import empty_workplace, invoke
from tests.reports.report_schema import problems

pytest.importorskip("pneumo_chest_xray", reason="the layouts are those of the plugin pneumo-chest-xray")

SMALL = ("--image-size", 16, "--batch-size", 8, "--epochs", 1)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    return empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Eight patients per class for training, two for testing; PNEUMONIA is brighter."""
    root = tmp_path / "films"
    rng = np.random.default_rng(0)
    for pool, patients in (("train", 8), ("test", 2)):
        for name, level in (("NORMAL", 80), ("PNEUMONIA", 160)):
            (root / pool / name).mkdir(parents=True)
            for patient in range(patients):
                subtype = "bacteria" if patient % 2 else "virus"
                number = patient + (100 if pool == "test" else 0)
                title = f"IM-{number:04}-0001" if name == "NORMAL" else f"person{number}_{subtype}_{number}"
                pixels = rng.normal(level, 20, (24, 24)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / pool / name / f"{title}.jpeg")
    return root


def run_on(root: object, *flags: object):
    return invoke("run", "cnn", "--dataset", "chest-xray", "--data-root", root, *SMALL, *flags)


def remove(root: Path, *folders: str) -> Path:
    """Remove the images of some folders."""
    for folder in folders:
        for path in (root / folder).rglob("*.jpeg"):
            path.unlink()
    return root


BAD_ROOTS = {
    "missing": lambda root: root / "absent",
    "empty": lambda root: remove(root, "train", "test"),
    "one class": lambda root: remove(root, "train/NORMAL", "test/NORMAL"),
    "one class in training": lambda root: remove(root, "train/NORMAL"),
    "no test images": lambda root: remove(root, "test"),
    "no training images": lambda root: remove(root, "train"),
    "a file": lambda root: root / "train" / "NORMAL" / "IM-0000-0001.jpeg",
}


@pytest.mark.parametrize("kind", BAD_ROOTS)
def test_an_unusable_data_root_is_one_line_and_writes_nothing(kind: str, work: Path, films: Path) -> None:
    root = BAD_ROOTS[kind](films)
    ended = run_on(root)
    assert ended.code == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pneumo: ")
    assert str(root) in line
    assert list(work.iterdir()) == []


def damage(films: Path) -> list[Path]:
    truncated = films / "train" / "PNEUMONIA" / "person1_bacteria_1.jpeg"
    truncated.write_bytes(truncated.read_bytes()[:200])
    empty = films / "train" / "NORMAL" / "IM-0003-0001.jpeg"
    empty.write_bytes(b"")
    text = films / "test" / "NORMAL" / "IM-0101-0001.jpeg"
    text.write_text("this is no image")
    return [truncated, empty, text]


def test_unreadable_images_are_named_and_the_run_does_not_start(work: Path, films: Path) -> None:
    bad = damage(films)
    ended = run_on(films)
    assert ended.code == 2
    (line,) = ended.stderr.splitlines()
    assert "3 of 20 images" in line
    assert all(path.name in line for path in bad)
    assert "--skip-unreadable" in line
    assert list(work.iterdir()) == []


def test_a_run_ends_with_its_report_which_counts_the_unreadable_images_that_it_excludes(
    work: Path, films: Path
) -> None:
    bad = damage(films)
    ended = run_on(films, "--preset", "quick", "--skip-unreadable")
    assert ended.code == 0, ended.stderr
    (report,) = work.glob("runs/cnn/*/report.json")
    content = json.loads(report.read_text())
    assert problems(content) == []
    assert content["dataset"]["name"] == "chest-xray"
    assert content["dataset"]["synthetic"] is False
    assert set(content["evaluations"]["test"]) >= {"accuracy", "precision", "recall", "f1", "auc"}
    listed = {item["name"] for item in content["dataset"]["unreadable"]}
    assert {Path(name).name for name in listed} == {path.name for path in bad}
    assert "3 images could not be read and were excluded" in report.with_suffix(".md").read_text()


def test_show_prints_the_settings_and_the_table_of_figure_11(work: Path) -> None:
    shown = invoke("show", "cnn").stdout
    assert "Conv2d-1" in shown
    assert "4,689,729" in shown
    assert "392.65 MB" in shown
    assert "momentum" in shown
    as_json = json.loads(invoke("show", "cnn", "--json").stdout)
    assert len(as_json["layers"]["rows"]) == 30
    assert as_json["settings"]["lr"] == 0.01


def test_show_needs_no_data(work: Path) -> None:
    quick = json.loads(invoke("show", "cnn", "--preset", "quick", "--json").stdout)
    assert quick["layers"]["rows"][0]["shape"] == [64, 64, 64]
    assert list(work.iterdir()) == []


@pytest.mark.real_data
@pytest.mark.slow
def test_trained_on_a_few_hundred_real_radiographs_it_classifies_those_of_other_patients(work: Path) -> None:
    root = Path(__file__).resolve().parents[4] / "shared" / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"the real radiographs are not at {root}")
    few = work.parent / "few"
    for folder in root.glob("t*/*"):
        (few / folder.parent.name / folder.name).mkdir(parents=True)
        for path in sorted(folder.glob("*.jpeg"))[:: 14 if folder.parent.name == "train" else 16]:
            (few / folder.parent.name / folder.name / path.name).hardlink_to(path)
    ended = invoke(
        "run", "cnn", "--preset", "quick", "--dataset", "chest-xray", "--data-root", few,
        "--image-size", 24, "--epochs", 3,
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    (report,) = work.glob("runs/cnn/*/report.json")
    assert json.loads(report.read_text())["evaluations"]["validation"]["auc"] > 0.9
