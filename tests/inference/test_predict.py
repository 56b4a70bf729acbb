"""``pneumo predict``: the numbers are those of the run, a bad file does not affect others, the output formats."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.testing import TinyDataset

CLASSES = ("NORMAL", "PNEUMONIA")


@pytest.fixture
def run(finished_run) -> Path:
    """A finished run of a classifier."""
    return finished_run("fake", "--split", "patient")


@pytest.fixture
def films(fakes: Path) -> Path:
    """The test images of that run as files, in the folders that their names contain."""
    dataset = TinyDataset("tiny")
    folder = fakes / "films"
    for record in dataset.records:
        if record.pool == "test":
            path = folder / f"{record.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(dataset.read(record)).save(path)
    return folder


def expected(run: Path) -> dict[str, float]:
    """Name to logit, of the run's own evaluation on its test images."""
    with (run / "predictions" / "test.csv").open(newline="") as file:
        return {row["name"]: float(row["logits"]) for row in csv.DictReader(file)}


def test_files_get_the_logits_of_the_run_s_own_evaluation(run: Path, films: Path, pneumo) -> None:
    done = pneumo("predict", run, films, "--json")
    assert done.code == 0, done.stderr
    content = json.loads(done.stdout)
    logits = expected(run)
    assert len(content["predictions"]) == len(logits) == 16
    temperature, bias = content["temperature"], content["bias"]
    assert bias != 0
    assert content["prevalence"] == content["validation_prevalence"]
    threshold = content["operating_point"]["logit_threshold"]
    assert content["classes"] == list(CLASSES)
    for one in content["predictions"]:
        name = Path(one["file"]).relative_to(films).with_suffix("").as_posix()
        assert one["logit"] == pytest.approx(logits[name], abs=1e-4)
        assert one["probability"] == pytest.approx(
            1 / (1 + np.exp(-one["logit"] / temperature - bias)), abs=1e-9
        )
        assert one["decision"] == CLASSES[int(one["logit"] >= threshold)]
        assert one["out_of_distribution"] in (True, False)
    assert "no medical device" in content["notice"]
    assert "no medical device" in done.stderr


def test_the_operating_point_changes_decisions_and_no_probability(run: Path, films: Path, pneumo) -> None:
    contents = {
        name: json.loads(pneumo("predict", run, films, "--json", "--operating-point", name).stdout)
        for name in ("default", "screening")
    }
    thresholds = {name: content["operating_point"]["logit_threshold"] for name, content in contents.items()}
    assert thresholds["default"] == 0
    assert thresholds["screening"] != 0
    numbers = [[p["probability"] for p in content["predictions"]] for content in contents.values()]
    assert numbers[0] == numbers[1]
    for name, content in contents.items():
        for one in content["predictions"]:
            assert (one["decision"] == CLASSES[1]) == (one["logit"] >= thresholds[name])
    unknown = pneumo("predict", run, films, "--operating-point", "screeening")
    assert (unknown.code, unknown.stdout) == (2, "")
    assert "did you mean screening?" in unknown.stderr


def test_a_prevalence_changes_probabilities_by_bayes_and_no_decision(run: Path, films: Path, pneumo) -> None:
    plain = json.loads(pneumo("predict", run, films, "--json").stdout)
    done = pneumo("predict", run, films, "--prevalence", "0.05", "--json")
    assert done.code == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["prevalence"], content["validation_prevalence"]) == (0.05, plain["validation_prevalence"])
    fitted = plain["validation_prevalence"]
    ratio = (0.05 / 0.95) / (fitted / (1 - fitted))
    for one, other in zip(plain["predictions"], content["predictions"], strict=True):
        odds = [p["probability"] / (1 - p["probability"]) for p in (one, other)]
        assert odds[1] == pytest.approx(ratio * odds[0], rel=1e-6)
        assert (other["decision"], other["logit"]) == (one["decision"], one["logit"])
    assert "the probability of PNEUMONIA at a prevalence of 5 %" in done.stderr
    assert "changes no decision" in done.stderr
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, films, "--csv").stdout)))
    assert {float(row["prevalence"]) for row in rows} == {fitted}
    rows = list(
        csv.DictReader(io.StringIO(pneumo("predict", run, films, "--prevalence", "0.05", "--csv").stdout))
    )
    assert {row["prevalence"] for row in rows} == {"0.05"}


def test_a_checkpoint_of_a_version_without_bias_has_none(
    run: Path, films: Path, pneumo, tmp_path: Path
) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    checkpoints = Checkpoints(old / "checkpoints")
    state = checkpoints.load("best")
    del state["calibration"]["bias"]
    checkpoints.save("best", state)
    done = pneumo("predict", old, films, "--json")
    assert done.code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["bias"] == 0
    for one in content["predictions"]:
        probability = 1 / (1 + np.exp(-one["logit"] / content["temperature"]))
        assert one["probability"] == pytest.approx(probability, abs=1e-9)


def test_a_bad_file_is_reported_with_exit_code_1_and_the_others_are_predicted(
    run: Path, films: Path, pneumo
) -> None:
    bad = films / "bad"
    bad.mkdir()
    (bad / "empty.png").write_bytes(b"")
    (bad / "text.jpeg").write_text("no image")
    whole = next(films.rglob("*.png")).read_bytes()
    (bad / "torn.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(films / "stripes.png")
    for form in ("--json", "--csv", None):
        done = pneumo("predict", run, films, films / "missing.png", *([form] if form else []))
        assert done.code == 1
        assert "4 of 21 files could not be classified" in done.stderr
        assert re.search(r"\d of 17 images (is|are) unlike", done.stderr), "of those that could be"
        if form == "--json":
            rows = json.loads(done.stdout)["predictions"]
            failed = {Path(r["file"]).name: r["error"] for r in rows if "error" in r}
            assert len(rows) == 21
        elif form == "--csv":
            rows = list(csv.DictReader(io.StringIO(done.stdout)))
            failed = {Path(r["file"]).name: r["error"] for r in rows if r["error"]}
            assert [r["probability"] for r in rows if r["error"]] == [""] * 4
        else:
            lines = done.stdout.splitlines()
            failed = {Path(line.split()[0]).name: line for line in lines[1:] if "–" in line.split()}
        assert set(failed) == {"empty.png", "text.jpeg", "torn.png", "missing.png"}
        assert "empty file" in failed["empty.png"]
        assert "No such file" in failed["missing.png"]


def test_csv_and_json_have_the_same_content(run: Path, films: Path, pneumo) -> None:
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, films, "--csv").stdout)))
    items = json.loads(pneumo("predict", run, films, "--json").stdout)["predictions"]
    assert [r["file"] for r in rows] == [i["file"] for i in items]
    assert [float(r["probability"]) for r in rows] == [i["probability"] for i in items]
    assert [r["decision"] for r in rows] == [i["decision"] for i in items]
    assert [r["out_of_distribution"] == "yes" for r in rows] == [i["out_of_distribution"] for i in items]


def test_files_come_from_folders_globs_and_standard_input(
    run: Path, films: Path, pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_folder = [p["file"] for p in json.loads(pneumo("predict", run, films, "--json").stdout)["predictions"]]
    by_glob = json.loads(pneumo("predict", run, str(films / "**" / "*.png"), "--json").stdout)["predictions"]
    assert sorted(p["file"] for p in by_glob) == sorted(by_folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(by_folder[:3]) + "\n\n"))
    listed = json.loads(pneumo("predict", run, "-", "--json").stdout)["predictions"]
    assert [p["file"] for p in listed] == by_folder[:3]


def test_overlays_are_written_one_per_file_at_its_own_shape(
    run: Path, films: Path, pneumo, tmp_path: Path
) -> None:
    wide = films / "wide.png"
    Image.fromarray(np.tile(np.arange(96, dtype=np.uint8) * 2, (48, 1))).save(wide)
    target = tmp_path / "maps"
    done = pneumo("predict", run, films, "--cam", target, "--csv")
    assert done.code == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(list(target.iterdir())) == len(rows) == 17
    with Image.open(target / "wide.png") as image:
        assert (image.mode, image.size) == ("RGB", (96, 48))
    again = pneumo("predict", run, films, "--cam", target)
    assert (again.code, again.stdout) == (2, "")
    assert "is not empty" in again.stderr
    # The numbers are the same without overlays.
    plain = list(csv.DictReader(io.StringIO(pneumo("predict", run, films, "--csv").stdout)))
    assert [r["probability"] for r in plain] == [r["probability"] for r in rows]


def test_out_of_distribution_images_are_flagged(run: Path, films: Path, pneumo) -> None:
    stripes = films / "stripes.png"
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(stripes)
    done = pneumo("predict", run, films, "--json")
    flagged = {
        Path(p["file"]).name for p in json.loads(done.stdout)["predictions"] if p["out_of_distribution"]
    }
    assert "stripes.png" in flagged
    assert len(flagged) <= 8, "most images of noise are not flagged, even with a threshold from 12 images"
    assert "unlike those that the model was trained on" in done.stderr
    assert "do not trust it" in pneumo("predict", run, stripes).stdout


def test_a_checkpoint_without_calibration_predicts_at_one_half_with_a_note(
    run: Path, films: Path, pneumo
) -> None:
    done = pneumo("predict", run, films, "--checkpoint", "last", "--json")
    assert done.code == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["temperature"], content["bias"], content["operating_point"]["logit_threshold"]) == (
        1.0,
        0.0,
        0.0,
    )
    assert content["prevalence"] is None
    assert "nothing calibrated it" in done.stderr
    done = pneumo("predict", run, films, "--checkpoint", "last", "--prevalence", "0.05")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "were not calibrated" in done.stderr
    done = pneumo("predict", run, films, "--checkpoint", "last", "--operating-point", "screening")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "has no fitted operating points" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "nowhere", "films"), "there is no run folder"),
        (("predict", "films", "films"), "is no run folder"),
        (("predict", "RUN", "nothing-there-*.png"), "nothing-there-*.png"),
        (("predict", "RUN", "films", "--json", "--csv"), "ask for one of them"),
        (("predict", "RUN", "films", "--prevalence", "1"), "--prevalence is 1"),
        (("predict", "RUN", "films", "--prevalence", "nan"), "--prevalence is nan"),
        (("predict", "RUN", "films", "--prevalence", "rare"), "--prevalence"),
        (("predict", "RUN", "films", "--checkpoint", "first"), "is none of best, last"),
        (("predict", "RUN"), "PATH"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(run: Path, films: Path, pneumo, arguments, words: str) -> None:
    done = pneumo(*(run if argument == "RUN" else argument for argument in arguments))
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_runs_of_other_tasks_and_damaged_ones_are_refused(
    run: Path, films: Path, pneumo, trained_run, tmp_path: Path
) -> None:
    other = trained_run("duel", epochs=1)
    done = pneumo("predict", other, films)
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "classifies no images" in done.stderr
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    best = broken / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-100])
    done = pneumo("predict", broken, films)
    assert (done.code, len(done.stderr.splitlines())) == (1, 1)
    assert "damaged" in done.stderr


def test_a_model_of_synthetic_images_has_a_note(run: Path, films: Path, pneumo, tmp_path: Path) -> None:
    done = pneumo("predict", run, films, "--json")
    assert json.loads(done.stdout)["synthetic"] is True
    assert "the model was trained on synthetic images (tiny)" in done.stderr
    copy = shutil.copytree(run, tmp_path / "copy")
    report = json.loads((copy / "report.json").read_text())
    report["dataset"]["synthetic"] = False
    (copy / "report.json").write_text(json.dumps(report))
    done = pneumo("predict", copy, films, "--json")
    assert json.loads(done.stdout)["synthetic"] is False
    assert "synthetic" not in done.stderr
    # An unfinished run has no report: the registered dataset is asked.
    (copy / "report.json").unlink()
    assert json.loads(pneumo("predict", copy, films, "--json").stdout)["synthetic"] is True


def test_multiples_of_the_threshold_never_round_to_it() -> None:
    from pneumo_cli.cli.prediction_output import _times

    assert [_times(value) for value in (1.0004, 1.04, 1.26)] == ["1.01 ×", "1.04 ×", "1.3 ×"]


_ELSEWHERE = """
from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="elsewhere", summary="Noise", factory="elsewhere_plugin:open_elsewhere", synthetic=True
    )


def open_elsewhere(request):
    from pneumo_cli.testing import TinyDataset

    return TinyDataset("elsewhere")
"""


def test_a_run_predicts_without_the_plugin_of_its_dataset(
    films: Path, pneumo, install, trained_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("pneumo-elsewhere", {"elsewhere": "elsewhere_plugin"}, {"elsewhere_plugin": _ELSEWHERE})
    folder = trained_run("fake", dataset="elsewhere", epochs=1)
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", f"{os.environ['PNEUMO_DISABLE_PLUGINS']},elsewhere")
    done = pneumo("predict", folder, films, "--csv")
    assert done.code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 17
    again = pneumo("evaluate", folder)
    assert (again.code, len(again.stderr.splitlines())) == (2, 1), "its own images are not available, though"


def test_a_file_name_cannot_control_the_terminal(run: Path, films: Path, pneumo) -> None:
    source = next(films.rglob("*.png"))
    odd = films / "\x1b[31mred\n.png"
    shutil.copy(source, odd)
    done = pneumo("predict", run, odd)
    assert done.code == 0, done.stderr
    assert "\\x1b[31mred\\n.png" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(pneumo("predict", run, odd, "--json").stdout)["predictions"][0]["file"] == str(odd)
