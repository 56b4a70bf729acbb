"""The test-set access log: each access is counted, and nothing is fitted or selected by the test images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pneumo_cli.data.records import Record
from pneumo_cli.registry import Registries
from pneumo_cli.runs.test_access import (
    Access,
    AccessLog,
    access_now,
    count_accesses,
    fingerprint_of_test,
    record_access,
)
from pneumo_cli.testing import TinyDataset

_PLUGIN = """
from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

@hookimpl
def register_datasets():
    yield DatasetSpec(name="sealed", summary="Noise and discs", factory="sealing:open_sealed")
"""
_DATASET = """
import hashlib
import os
from dataclasses import replace
from pneumo_cli.testing import TinyDataset

class Sealed(TinyDataset):
    synthetic = False

def open_sealed(request):
    dataset = Sealed("sealed")
    if os.environ.get("OTHER_TEST_IMAGES"):
        others = Sealed("sealed", seed=7)
        records = []
        for record in dataset.records:
            if record.pool == "test":
                dataset._pixels[record.name] = 255 - others._pixels[record.name]
                digest = hashlib.sha256(dataset._pixels[record.name].tobytes()).hexdigest()
                record = replace(record, digest=digest)
            records.append(record)
        dataset.records = records
    return dataset
"""


@pytest.fixture
def sealed(install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset whose test images can be exchanged; returns a data home without accesses."""
    install("pneumo-sealed", {"sealed": "sealed_plugin"}, {"sealed_plugin": _PLUGIN, "sealing": _DATASET})
    home = tmp_path / "fresh-home"
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(home))
    return home


KINDS = {"cnn": "classifier", "gan": "gan"}


def accesses(home: Path) -> list[dict]:
    (file,) = (home / "test-access").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def fitted(folder: Path) -> dict:
    """What training, and the calibration after it, has stored in the checkpoint."""
    state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    return {name: state[name] for name in ("epoch", "value", "model", "calibration")}


def digest(value: object) -> str:
    """A text that is the same for bitwise equal contents."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{digest(item)}" for name, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(digest, value)) + "]"
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    return repr(value)


def test_nothing_that_is_fitted_or_selected_changes_with_the_test_images(
    sealed, pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "fake", "--dataset", "sealed", "--split", "patient", "--epochs", "2")
    assert pneumo(*command, "--output", "a").code == 0
    monkeypatch.setenv("OTHER_TEST_IMAGES", "1")
    assert pneumo(*command, "--output", "b").code == 0
    monkeypatch.delenv("OTHER_TEST_IMAGES")
    (a,), (b,) = Path("a/fake").iterdir(), Path("b/fake").iterdir()

    assert fitted(a)["calibration"], "temperature and thresholds are there"
    assert digest(fitted(a)) == digest(fitted(b))
    for name in ("metrics.jsonl", "predictions/validation.csv"):
        rows = [
            [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in file]
            if name.endswith("jsonl")
            else file
            for file in ((folder / name).read_text().splitlines() for folder in (a, b))
        ]
        assert rows[0] == rows[1], name
    # The test images do differ.
    assert (a / "predictions/test.csv").read_text() != (b / "predictions/test.csv").read_text()
    assert len(list((sealed / "test-access").glob("*.jsonl"))) == 2, "other test images have their own log"


def test_each_access_is_logged_warned_about_and_counted_in_the_report(sealed, pneumo) -> None:
    command = ("run", "fake", "--dataset", "sealed", "--epochs", "1", "--output", "out")
    first = pneumo(*command)
    assert first.code == 0, first.stderr
    (folder,) = Path("out/fake").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert report["test_access"] == {"count": 1}
    assert "test-opened-again" not in {rule["rule"] for rule in report["caveats"]}
    assert "evaluated on" not in first.stderr

    again = pneumo("evaluate", folder, "--json")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["test_accesses"] == 2
    assert "these test images have now been evaluated on 2 times for the same task" in again.stderr
    assert pneumo("evaluate", folder, "--on", "validation", "--json").code == 0, "no test-set access"

    third = pneumo(*command, "--seed", "2")
    (other,) = set(Path("out/fake").iterdir()) - {folder}
    report = json.loads((other / "report.json").read_text())
    assert report["test_access"] == {"count": 3}
    (rule,) = (rule for rule in report["caveats"] if rule["rule"] == "test-opened-again")
    assert "2 earlier evaluations of the same task on these test images" in rule["text"]
    assert "3 times" in third.stderr
    logged = accesses(sealed)
    assert [(access["by"], access["checkpoint"], Path(access["run"]).name) for access in logged] == [
        ("run", "best", folder.name),
        ("evaluate", "best", folder.name),
        ("run", "best", other.name),
    ]


def test_a_run_that_was_killed_while_it_wrote_its_report_counts_as_one_access(sealed, pneumo) -> None:
    assert pneumo("run", "fake", "--dataset", "sealed", "--epochs", "1", "--output", "out").code == 0
    (folder,) = Path("out/fake").iterdir()
    (folder / "report.json").unlink()
    assert pneumo("resume", folder).code == 0
    assert len(accesses(sealed)) == 1
    # A run with more epochs selects from more checkpoints, and is evaluated again.
    assert pneumo("resume", folder, "--epochs", "2").code == 0
    assert len(accesses(sealed)) == 2


def test_no_evaluate_test_never_accesses_the_test_images(sealed, pneumo) -> None:
    command = ("--dataset", "sealed", "--epochs", "1", "--no-evaluate-test", "--output", "out")
    for trainer in ("fake", "painter"):
        assert pneumo("run", trainer, *command, "--split", "patient").code == 0
        (folder,) = Path("out", trainer).iterdir()
        report = json.loads((folder / "report.json").read_text())
        assert set(report["evaluations"]) == {"validation"}
        assert "test_access" not in report
    assert not list(sealed.glob("test-access/*.jsonl"))


def test_a_log_that_cannot_be_written_is_only_a_note_in_the_report(
    sealed, pneumo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(blocked))
    done = pneumo("run", "fake", "--dataset", "sealed", "--epochs", "1", "--output", "out")
    assert done.code == 0, done.stderr
    (folder,) = Path("out/fake").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert "test_access" not in report
    assert any("could not be recorded" in note for note in report["notes"])


def test_the_fingerprint_depends_on_test_images_and_labels_and_not_on_names_or_patients() -> None:
    dataset = TinyDataset()
    moved = TinyDataset("another-name")
    moved.records = [
        dataclasses.replace(record, name=f"elsewhere/{record.name}", patient=f"p{record.patient}")
        for record in reversed(moved.records)
    ]
    assert fingerprint_of_test(moved) == fingerprint_of_test(dataset)

    def changed(pool: str, **fields: object) -> str:
        other = TinyDataset()
        place = next(i for i, record in enumerate(other.records) if record.pool == pool)
        records: list[Record] = list(other.records)
        records[place] = dataclasses.replace(records[place], **fields)
        other.records = records
        return fingerprint_of_test(other)

    assert changed("test", digest="00") != fingerprint_of_test(dataset)
    assert changed("test", label=1) != fingerprint_of_test(dataset)
    assert changed("train", digest="00") == fingerprint_of_test(dataset)


def test_damaged_and_unrelated_lines_are_ignored(tmp_path: Path) -> None:
    dataset = TinyDataset()
    log = AccessLog(tmp_path, fingerprint_of_test(dataset))
    log.path.parent.mkdir(parents=True)
    whole = json.dumps(dataclasses.asdict(Access("2026-01-01T00:00:00+00:00", "/runs/a", "best", 3, "run")))
    log.path.write_bytes(f'{whole}\n[1]\nnull\n{{"when": 1}}\n\xff\n{whole[:20]}'.encode("latin-1"))
    assert [access.run for access in log.all()] == ["/runs/a"]
    access = access_now(Path("b"), "best", 1, "evaluate", "classifier")
    assert record_access(tmp_path, dataset, access, Registries()) == 2
    assert [Path(access.run).name for access in log.all()] == ["a", "b"]


def test_accesses_at_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    dataset = TinyDataset()

    def record(number: int) -> None:
        access = access_now(Path(f"run{number}"), "best", 1, "run", "classifier")
        record_access(tmp_path, dataset, access, Registries())

    threads = [threading.Thread(target=record, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = AccessLog(tmp_path, fingerprint_of_test(dataset)).all()
    assert sorted(Path(one.run).name for one in kept) == sorted(f"run{number}" for number in range(12))
    assert not [name for name in os.listdir(tmp_path / "test-access") if name.endswith(".tmp")]


def test_evaluations_of_other_tasks_are_recorded_and_not_counted(sealed, pneumo) -> None:
    common = ("--dataset", "sealed", "--epochs", "1", "--output", "out")
    assert pneumo("run", "painter", *common).code == 0
    ended = pneumo("run", "fake", *common)
    assert ended.code == 0, ended.stderr
    assert "evaluated on" not in ended.stderr
    (folder,) = Path("out/fake").iterdir()
    assert json.loads((folder / "report.json").read_text())["test_access"] == {"count": 1}
    assert sorted(one["kind"] for one in accesses(sealed)) == ["classifier", "painter"]


def test_the_runs_of_one_reproduction_are_one_look_and_a_later_evaluation_is_another(tmp_path: Path) -> None:
    def access(folder: str, name: str, by: str = "run") -> Access:
        return access_now(tmp_path / folder / "tasks" / name / "2026", "best", 1, by, "classifier")

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plan.json").touch()
    runs = [access("a", "cnn"), access("a", "fine-tuning")]
    assert count_accesses(runs, "classifier", KINDS) == 1
    assert count_accesses([*runs, access("b", "cnn")], "classifier", KINDS) == 2
    assert count_accesses([*runs, access("a", "cnn", "evaluate")], "classifier", KINDS) == 2
    assert count_accesses([access("c", "cnn"), access("c", "fine-tuning")], "classifier", KINDS) == 2
    older = [dataclasses.replace(run, kind="", part_of="") for run in runs]
    assert count_accesses(older, "classifier", KINDS) == 1, "as long as its folder is there"


def test_a_line_of_an_earlier_version_counts_unless_its_run_shows_another_task(tmp_path: Path) -> None:
    def older(run: Path, by: str = "run") -> Access:
        return Access("2026-01-01T00:00:00+00:00", str(run), "best", 3, by)

    run = tmp_path / "elsewhere"
    run.mkdir()
    (run / "run.toml").write_text('trainer = "gan"\n')
    for access, classifiers, gans in (
        (older(run), 0, 1),
        (older(Path("/gone/runs/gan/2026-01-01-a1b2")), 0, 1),
        (older(Path("/gone/runs/cnn/2026-01-01-a1b2")), 1, 0),
        (older(Path("/gone/renamed")), 1, 1),
        (older(run, "tstr"), 1, 0),
    ):
        assert count_accesses([access], "classifier", KINDS) == classifiers, access
        assert count_accesses([access], "gan", KINDS) == gans, access
