"""Results as values: of finished and unfinished runs, groups, evaluations, old versions, and damaged folders."""

from __future__ import annotations

import html
import json
import math
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli import EvaluationResult, Metric, PneumoError, RunResult, UsageError
from tests.runs.written_runs import write_group, write_run
from tools.builds import unpack

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "made-with-0.1.0.tar.xz"


def changed(file: Path, **values: object) -> None:
    """Replace parts of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_finished_run_has_its_numbers_predictions_and_page(finished_run: Callable[..., Path]) -> None:
    folder = finished_run("fake", "--epochs", 2)
    result, report = RunResult(folder), json.loads((folder / "report.json").read_text())
    auc = result.metrics["test"]["auc"]
    assert auc == report["evaluations"]["test"]["auc"]
    assert isinstance(auc, float)
    assert list(auc.interval or ()) == report["intervals"]["test"]["auc"]
    assert pickle.loads(pickle.dumps(auc)).interval == auc.interval
    facts = (result.trainer, result.model, result.dataset, result.state, result.epochs, result.seconds)
    assert facts == ("fake", "tiny-net", "tiny", "finished", 2, report["run"]["seconds"])
    assert result.caveats == [caveat["text"] for caveat in report["caveats"]]
    assert result.members == []
    assert result.spread == {}
    rows = result.predictions("validation")
    assert rows.columns[:3] == ["name", "patient", "subtype"]
    assert {type(row["logits"]) for row in rows} == {float}
    assert {type(row["labels"]) for row in rows} == {int}
    with pytest.raises(
        UsageError, match=r"no predictions of 'train' images: there are those of test, validation"
    ):
        result.predictions("train")
    page = result.report._repr_html_()
    assert page.startswith("<iframe srcdoc=")
    assert 'sandbox=""' in page
    assert f"{auc:.3f}" in page
    assert html.unescape(page).count("<html") == 1
    assert result.report.content == report
    assert str(folder) in repr(result)
    assert RunResult(result).folder == folder


def test_undefined_metrics_are_nan_and_odd_names_are_escaped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "a")
    odd = {"auc": None, "<b>own</b>": 1.0, "loss": "much"}
    changed(
        folder / "report.json", evaluations={"test": odd}, caveats=[{"text": "<script>alert(1)</script>"}]
    )
    result = RunResult(folder)
    metrics = result.metrics["test"]
    assert math.isnan(metrics["auc"])
    assert str(metrics["auc"]) == "–"
    assert math.isnan(metrics["loss"])
    assert "<script>" not in result._repr_html_()
    assert "<b>" not in result._repr_html_()


def test_an_unfinished_run_has_what_there_is(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", auc=None, done=2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tra')  # killed while it wrote
    result = RunResult(folder)
    assert (result.state, result.epochs, len(result.history)) == ("interrupted", 2, 3)
    assert result.metrics == {"train": {"loss": 1.0}, "validation": {"loss": 0.5, "auc": 0.52}}
    assert (result.notes, result.caveats) == ([], [])
    assert "The metrics are those of epoch 2." in repr(result)
    with pytest.raises(PneumoError, match=f"pneumo resume {folder} finishes it"):
        _ = result.report.content
    assert "no page" in result.report._repr_html_()
    with pytest.raises(PneumoError, match="no page"):
        result.report.open()
    (folder / "metrics.jsonl").unlink()
    assert result.history == []
    with pytest.raises(PneumoError, match="no metrics yet"):
        _ = result.metrics
    assert "no metrics yet" in RunResult(folder)._repr_html_()


def test_a_run_that_goes_on_has_its_new_results(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", epochs=5, auc=None, done=2)
    result = RunResult(folder)
    assert "interrupted, 2 of 5 epochs" in repr(result)
    finished = write_run(tmp_path / "b", epochs=5, auc=0.8)
    for name in ("metrics.jsonl", "report.json"):
        (finished / name).replace(folder / name)
    assert (result.state, result.epochs, len(result.history)) == ("finished", 5, 6)
    assert result.metrics["test"]["auc"] == 0.8
    longer = write_run(tmp_path / "c", epochs=7, auc=0.85)
    for name in ("run.toml", "metrics.jsonl", "report.json"):
        (longer / name).replace(folder / name)
    assert (result.epochs, len(result.history)) == (7, 8)
    assert result.metrics["test"]["auc"] == 0.85
    assert "finished, 7 of 7 epochs" in repr(result)


def test_a_group_has_members_spread_and_the_metrics_of_its_ensemble(tmp_path: Path) -> None:
    aucs = {f"fold-{number}": 0.9 for number in (10, 2, 1)}
    result = RunResult(write_group(tmp_path / "g", aucs))
    assert [one.folder.name for one in result.members] == ["fold-1", "fold-2", "fold-10"]
    assert result.metrics["test"]["auc"] == 0.93
    assert result.metrics["test"]["auc"].interval == (0.91, 0.93 + 0.02)
    assert result.spread["validation"]["auc"]["sd"] == 0.01
    assert {row["member"] for row in result.history} == set(aucs)
    assert "0.900 ± 0.020" in repr(result)
    generative = RunResult(write_group(tmp_path / "h", {"seed-1": 0.9}, summary={"kid_pixels": 0.002}))
    assert generative.metrics["whole"]["kid_pixels"] == 0.002
    unfinished = RunResult(write_group(tmp_path / "i", {"fold-1": 0.9, "fold-2": None}))
    assert [one.state for one in unfinished.members] == ["finished", "interrupted"]
    with pytest.raises(PneumoError, match="pneumo resume"):
        _ = unfinished.metrics
    assert "pneumo resume" in unfinished._repr_html_()


def test_damaged_files_are_errors_of_one_line_and_a_notebook_shows_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    changed(folder / "report.json", evaluations={"test": {"auc": 10**400}})
    assert math.isnan(RunResult(folder).metrics["test"]["auc"])
    assert "ROC AUC  –" in repr(RunResult(folder))
    (folder / "predictions").mkdir()
    for content in ("", "name,logits\na,1\nb\n", 'name,"x\n', "name,name\na,b\n"):
        (folder / "predictions" / "test.csv").write_text(content)
        with pytest.raises(PneumoError, match=r"test\.csv is damaged"):
            RunResult(folder).predictions()
    (folder / "predictions" / "test.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(PneumoError, match="UTF-8"):
        RunResult(folder).predictions()
    (folder / "metrics.jsonl").write_text('{"epoch": 0}\n[1]\n{"epoch": 2}\n')
    with pytest.raises(PneumoError, match="line 2 is no epoch"):
        _ = RunResult(folder).history
    for content in ("{", "[]", '{"evaluations": 3}'):
        (folder / "report.json").write_text(content)
        with pytest.raises(PneumoError) as caught:
            _ = RunResult(folder).metrics
        assert len(str(caught.value).splitlines()) == 1
        assert "damaged" in RunResult(folder)._repr_html_()
    (folder / "report.json").write_text(
        '{"evaluations": {"test": [], "x": null}, "caveats": 1, "spread": {"a": 2}}'
    )
    assert RunResult(folder).metrics == {}
    assert RunResult(folder)._repr_html_()
    (folder / "run.toml").write_text("= =")
    assert f"{folder} cannot be shown: " in repr(RunResult(folder))
    with pytest.raises(UsageError, match="cannot be read"):
        _ = RunResult(folder).settings
    for wrong in (tmp_path / "nothing", 3):
        with pytest.raises(UsageError):
            RunResult(wrong)  # type: ignore[arg-type]


def test_a_result_is_shown_after_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, here = RunResult(write_run(tmp_path / "a")), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert str(result.folder) in repr(result)
    assert str(result.folder) in result._repr_html_()


def test_runs_of_version_0_1_are_read(tmp_path: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        wanted = [
            one for one in archive if one.name.startswith("./runs") and not one.name.endswith((".pt", ".png"))
        ]
        unpack(archive, tmp_path, wanted)
    results = [RunResult(path) for path in sorted(tmp_path.glob("runs/*/*"))]
    finished = [one for one in results if one.state == "finished"]
    assert len(results) > len(finished) > 4
    for result in results:
        assert result.history
        assert result.settings["epochs"] > 0
        assert "cannot be shown" not in result._repr_html_()
    (group,) = (one for one in finished if one.folder.name.endswith("469d-seeds"))
    assert group.metrics["test"]["auc"].interval
    assert len(group.members) == 2
    assert group.caveats
    assert "predicted" in group.predictions("test").columns
    (painter,) = (one for one in finished if one.folder.name.endswith("2237"))
    assert painter.metrics["whole"]["kid_pixels"] > 0
    assert painter.notes
    assert repr(painter).splitlines()[1].strip() == "whole run"  # losses alone make no column


def test_an_evaluation_shows_itself() -> None:
    classes = [
        {"name": "A", "images": 9, "positives": 3, "metrics": {"auc": 0.8}, "intervals": {"auc": [0.7, 0.9]}}
    ]
    content = {
        "checkpoint": "best",
        "dataset": "tiny",
        "split": "test",
        "images": 16,
        "metrics": {"auc": 0.9, "f1": None},
    }
    result = EvaluationResult(
        {**content, "intervals": {"auc": [0.8, 0.95]}, "operating_point": "screening", "classes": classes}
    )
    assert result.metrics["auc"].interval == (0.8, 0.95)
    assert math.isnan(result.metrics["f1"])
    assert (result.split, result.dataset, result.images) == ("test", "tiny", 16)
    assert result.operating_point == "screening"
    assert result.classes[0]["auc"].interval == (0.7, 0.9)
    assert "0.900 (0.800–0.950)" in repr(result)
    assert "0.900 (0.800–0.950)" in result._repr_html_()
    assert EvaluationResult(content).classes == []


def test_a_metric_is_a_float_with_an_interval() -> None:
    metric = Metric(0.9, "auc", (0.8, 0.95))
    assert metric == 0.9
    assert f"{metric:.2f}" == "0.90"
    assert str(metric) == "0.900 (0.800–0.950)"
    assert json.dumps({"auc": metric}) == '{"auc": 0.9}'
