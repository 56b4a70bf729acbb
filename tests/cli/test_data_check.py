"""``pneumo data check`` counts classes, labels, patients and unused files, with and without decoding."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.cli.data_findings import print_findings
from tests.programs import disabled


def checked(pneumo, *flags: str) -> dict:
    ended = pneumo("data", "check", *flags, "--json")
    assert ended.code in (0, 1), ended.stderr
    return json.loads(ended.stdout)


def test_three_classes_are_counted_by_split(pneumo) -> None:
    ended = pneumo("data", "check", "--dataset", "fake-three")
    assert ended.code == 0, ended.stderr
    assert "SPLIT       NORMAL  BACTERIA  VIRUS  IMAGES  PATIENTS\n" in ended.stdout
    assert "test        8       6         6      20      10\n" in ended.stdout
    findings = checked(pneumo, "--dataset", "fake-three")
    assert findings["task"] == "multiclass"
    assert sum(row["counts"]["virus"] for row in findings["splits"]) == 26


def test_labels_are_counted_with_those_that_are_unknown(pneumo) -> None:
    findings = checked(pneumo, "--dataset", "fake-labels")
    assert findings["task"] == "multilabel"
    for label in findings["labels"]:
        assert sum(label[key] for key in ("present", "absent", "unknown")) == findings["images"] == 80
        assert sum(row["counts"][label["name"]] for row in findings["splits"]) == label["present"]
    table = pneumo("data", "check", "--dataset", "fake-labels").stdout
    assert "LABEL     TRAIN  VALIDATION  TEST  PRESENT  ABSENT  UNKNOWN" in table
    assert "images    46     14          20\n" in table


def test_unused_files_and_notes_are_named_in_text_and_json(pneumo) -> None:
    ended = pneumo("data", "check", "--dataset", "fake-labels")
    assert ended.code == 0
    assert "Files not used: 7\n  6 files in the folder train/COVID19 (train/COVID19/1.png, " in ended.stdout
    assert "A seventh of the labels is unknown." in ended.stdout
    findings = checked(pneumo, "--dataset", "fake-labels")
    assert findings["unused"][0] == {
        "kind": "in the folder train/COVID19",
        "count": 6,
        "examples": ["train/COVID19/1.png", "train/COVID19/2.png"],
        "images": True,
    }
    assert findings["notes"] == ["A seventh of the labels is unknown."]
    assert findings["gray_scaling"] == ""


def test_without_decoding_damaged_images_go_unnoticed_and_the_text_says_so(pneumo) -> None:
    decoded = pneumo("data", "check", "--dataset", "torn")
    assert decoded.code == 1
    assert "problem: 2 images cannot be read" in decoded.stdout
    quick = pneumo("data", "check", "--dataset", "torn", "--no-decode")
    assert quick.code == 0
    assert "No leak between the splits.\nThe images were not decoded: " in quick.stdout
    assert "decoding" not in quick.stderr
    findings = checked(pneumo, "--dataset", "torn", "--no-decode")
    assert (findings["decoded"], findings["unreadable"]) == (False, [])


def test_one_image_in_two_classes_is_a_label_conflict(pneumo, fakes, monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled("pneumo-datasets"))
    for pool in ("train", "test"):
        for label in ("NORMAL", "PNEUMONIA"):
            folder = fakes / "films" / pool / label
            folder.mkdir(parents=True)
            for place in range(4):
                noise = np.random.default_rng([len(pool), len(label), place]).integers(0, 256, (8, 8))
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{place}.png")
    normal, pneumonia = (fakes / "films" / "train" / label for label in ("NORMAL", "PNEUMONIA"))
    (pneumonia / "twin.png").write_bytes((normal / "0.png").read_bytes())
    ended = pneumo("data", "check", "--dataset", "folder", "--data-root", "films", "--no-decode")
    assert ended.code == 1, ended.stderr
    pair = "train/NORMAL/0.png = train/PNEUMONIA/twin.png"
    assert f"problem: label conflict: 1 image has files with different labels ({pair})" in ended.stdout
    assert "train/NORMAL/0.png  =  train/PNEUMONIA/twin.png  (label conflict)" in ended.stdout
    assert "No leak" not in ended.stdout


def test_leaks_are_found_without_decoding(pneumo) -> None:
    ended = pneumo("data", "check", "--dataset", "fake-three", "--split", "source", "--no-decode")
    assert ended.code == 1
    assert "problem: train and validation share 9 patients" in ended.stdout


def test_a_dataset_s_own_validation_split_is_shown(pneumo) -> None:
    findings = checked(pneumo, "--dataset", "fake-three", "--split", "given", "--no-decode")
    assert {row["split"]: row["images"] for row in findings["splits"]} == {
        "train": 42,
        "validation": 18,
        "test": 20,
    }


@pytest.fixture
def large() -> dict:
    """Findings in a dataset of many labels with long names, and long lists."""
    labels = [f"a finding with a long name, number {place}" for place in range(20)]
    return {
        "dataset": "films",
        "images": 112_120,
        "patients": 30_805,
        "place": "/data",
        "origin": "Films.",
        "notes": [],
        "gray_scaling": "",
        "storage": [],
        "targets": [],
        "channels": 1,
        "bits": 8,
        "splits": [
            {
                "split": split,
                "counts": dict.fromkeys(labels, 86_524),
                "images": 86_524,
                "patients": 9999,
                "ratio": None,
            }
            for split in ("train", "validation", "test")
        ],
        "labels": [
            {"name": name, "present": 11_559, "absent": 100_561, "unknown": 100_561} for name in labels
        ],
        "split": "patient",
        "shared": [],
        "identical": [
            {"names": [f"{k}-{n}.png" for n in range(9)], "patients": 2, "labels": 1} for k in range(25)
        ],
        "unreadable": [{"name": f"{k}.png", "reason": "truncated"} for k in range(30)],
        "unused": [{"kind": f"in {k}", "count": 2, "examples": ["a"], "images": True} for k in range(21)],
        "decoded": True,
        "problems": ["30 images cannot be read"],
    }


def test_a_large_dataset_fits_80_columns_and_long_lists_are_cut(
    large: dict, capsys: pytest.CaptureFixture
) -> None:
    print_findings(large)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120  # the names of identical files
    table = lines[lines.index(next(line for line in lines if line.startswith("LABEL"))) :][:23]
    assert max(map(len, table)) <= 80
    assert sum(line.startswith("  ") for line in lines) == 3 * (20 + 1)
    for rest in (
        "  and 5 more (all of them: --json)",
        "  and 10 more (all of them: --json)",
        "  and 1 more (all of them: --json)",
        "Groups of identical images: 25 (with different patient keys: 25, with different labels: 0)",
        "Files not used: 42",
    ):
        assert rest in lines
    assert "  0-0.png  =  0-1.png  =  0-2.png  =  0-3.png  =  0-4.png  =  0-5.png  =  3 more" in lines


def test_names_are_shown_without_control_characters(large: dict, capsys: pytest.CaptureFixture) -> None:
    print_findings(
        {**large, "unreadable": [{"name": "a\x1b[2J\n.png", "reason": "torn"}], "notes": ["from \u202egnp"]}
    )
    text = capsys.readouterr().out
    assert "  a\\x1b[2J\\n.png: torn\n" in text
    assert "from \\u202egnp\n" in text


def test_a_run_names_the_images_that_it_does_not_use(pneumo, fakes) -> None:
    ended = pneumo("run", "fake", "--dataset", "fake-labels", "--epochs", "1", "--precision", "fp32")
    assert ended.code == 0, ended.stderr
    unused = [line for line in ended.stderr.splitlines() if "not used" in line]
    assert (
        unused[0]
        == "pneumo: not used: 6 files in the folder train/COVID19 (train/COVID19/1.png, train/COVID19/2.png, …)"
    )
    assert not any("README" in line for line in unused)  # no image
    (report,) = fakes.glob("runs/fake/*/report.json")
    content = json.loads(report.read_text())
    assert content["dataset"]["task"] == "multilabel"
    assert content["dataset"]["unused"][0]["count"] == 6
    assert "unused-images" in [rule["rule"] for rule in content["caveats"]]
    assert set(content["dataset"]["split"]["test_patients"]) == {"effusion", "fracture", "nodule"}
