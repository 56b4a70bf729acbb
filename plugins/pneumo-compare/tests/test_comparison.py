"""Runs are compared on the same images only, from their folders alone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.testing import Invocation
from pneumo_compare.comparison import compare_runs
from pneumo_compare.settings import ABSENT, settings_that_differ, short_names
from pneumo_compare.wording import metric_verdict, verdict

Pneumo = Callable[..., Invocation]
Write = Callable[..., Path]


def change(run: Path, edit: Callable[[list[list[str]]], Any], split: str = "test") -> None:
    """Edit the rows of a run's predictions, the first of which is the header."""
    file = run / "predictions" / f"{split}.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    edit(rows)
    file.write_text("".join(",".join(row) + "\n" for row in rows))


def as_generator(run: Path, metrics: dict[str, float]) -> None:
    """Make a run's files those of a run that is not a classifier."""
    report = json.loads((run / "report.json").read_text())
    report |= {"evaluations": {"test": metrics}, "details": {}}
    (run / "report.json").write_text(json.dumps(report))
    names = "".join(f"test/{i}.png,p{i},0.5\n" for i in range(4))
    (run / "predictions" / "test.csv").write_text("name,patient,real_score\n" + names)


def test_a_copied_folder_predicts_the_same(a: Path, tmp_path: Path) -> None:
    shutil.copytree(a, tmp_path / "fake" / "copy")
    found = compare_runs([a, tmp_path / "fake" / "copy"], resamples=50)
    assert not found.same_run((0, 1))
    assert found.pairs[0, 1].equal
    assert [run.label for run in found.runs] == ["fake a", "fake copy"]


def test_a_true_difference_is_found_with_its_size_and_direction(
    write_run: Write, a: Path, tmp_path: Path
) -> None:
    better = write_run(tmp_path / "fake" / "better", 2, better=1.0)
    found = compare_runs([a, better], resamples=300)
    tested = found.pairs[0, 1].metrics["auc"]
    value, low, high, _ = tested.difference
    assert metric_verdict(found, (0, 1), "auc") == "fake better is better"
    size = f"{value:.3f} ({low:.3f} to {high:.3f})"
    assert verdict(found).startswith(f"ROC AUC: fake better is better than fake a by {size}, p = ")
    reverse = compare_runs([a, better], baseline=better, resamples=300)
    assert [run.letter for run in reverse.runs] == ["A", "B"]
    assert reverse.first.letter == "B"
    assert metric_verdict(reverse, (1, 0), "auc") == metric_verdict(found, (0, 1), "auc")
    assert reverse.pairs[1, 0].metrics["auc"].difference.value == pytest.approx(-value)


@pytest.mark.parametrize("key", ["logit_threshold", "cut"])  # the second one is that of version 0.1
def test_metrics_and_differences_are_those_at_each_runs_own_operating_point(
    write_run: Write, a: Path, tmp_path: Path, key: str
) -> None:
    strict = write_run(tmp_path / "fake" / "strict", 1, threshold=1.0, threshold_key=key)
    found = compare_runs([a, strict], resamples=50)
    pair, reports = found.pairs[0, 1], [run.metrics for run in found.runs]
    assert pair.metrics["auc"].difference.value == 0
    assert pair.metrics["recall"].difference.value < 0 < pair.metrics["specificity"].difference.value
    for name in ("recall", "specificity", "accuracy"):
        assert pair.metrics[name].difference.value == pytest.approx(reports[1][name] - reports[0][name])


def test_rows_in_another_order_are_the_same_predictions(a: Path, b: Path) -> None:
    before = compare_runs([a, b], resamples=50).pairs[0, 1]
    change(b, lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
    assert compare_runs([a, b], resamples=50).pairs[0, 1] == before


def test_a_baseline_that_is_not_among_the_runs_comes_first(
    write_run: Write, a: Path, b: Path, tmp_path: Path
) -> None:
    third = write_run(tmp_path / "fake" / "c", 3)
    found = compare_runs([a, b], baseline=third, resamples=50)
    assert [run.listed.path for run in found.runs] == [third, a, b]
    assert found.baseline == 0
    assert found.tests["primary"] == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda rows: rows[5].__setitem__(0, "test/other.png"),
            r"different test images, .*: 1 of A are not among those of B \(test/004.png\); "
            r"1 of B are not among those of A \(test/other.png\)",
        ),
        (lambda rows: rows.__delitem__(slice(100, None)), "21 of A are not among those of B .* and 18 more"),
        (lambda rows: rows[3].__setitem__(1, "somebody"), r"different patients: 1 differ \(test/002.png\)"),
    ],
)
def test_different_images_are_refused_with_their_number_and_first_names(
    a: Path, b: Path, edit: Callable[..., Any], message: str
) -> None:
    change(b, edit)
    # The report is changed, too, so that only the images are wrong.
    report = json.loads((b / "report.json").read_text())
    report["evaluations"]["test"] = {"auc": None, "recall": 1.0}
    (b / "report.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match=message):
        compare_runs([a, b])


def test_different_labels_and_different_classes_are_refused(
    write_run: Write, a: Path, tmp_path: Path
) -> None:
    flipped = write_run(tmp_path / "fake" / "flipped", 2, evaluations={"test": {"recall": 0.5}})
    change(flipped, lambda rows: [row.__setitem__(4, "1") for row in rows[1:4]])
    with pytest.raises(UsageError, match=r"with different labels: 1 differ \(test/000.png\)"):
        compare_runs([a, flipped])
    renamed = write_run(tmp_path / "fake" / "renamed", 2, dataset={"classes": ["SICK", "WELL"]})
    with pytest.raises(UsageError, match="have different classes: NORMAL, PNEUMONIA; and SICK, WELL"):
        compare_runs([a, renamed])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda run: (run / "report.json").unlink(), UsageError, "is not finished .*; pneumo resume"),
        (lambda run: (run / "report.json").write_text("{"), PneumoError, "report.json is damaged"),
        (lambda run: (run / "predictions" / "test.csv").unlink(), PneumoError, "test.csv is missing"),
        (lambda run: (run / "predictions" / "test.csv").write_text(""), PneumoError, "test.csv is damaged"),
        (
            lambda run: (run / "predictions" / "test.csv").write_bytes(b"\xff\x00"),
            PneumoError,
            "test.csv is damaged",
        ),
        (lambda run: change(run, lambda r: r[7].__setitem__(3, "much")), PneumoError, "line 8 has no number"),
        (
            lambda run: change(run, lambda r: r[7].__setitem__(3, "nan")),
            PneumoError,
            "line 8 has the logit nan",
        ),
        (lambda run: change(run, lambda r: r[7].__delitem__(4)), PneumoError, "line 8 has no number"),
        (lambda run: change(run, lambda r: r.append(r[1])), PneumoError, "repeats test/000.png"),
        (
            lambda run: change(run, lambda r: [row.__setitem__(3, "0.5") for row in r[1:]]),
            PneumoError,
            r"does not belong to .*report.json: the predictions give accuracy 0.6667, the report says",
        ),
        (lambda run: shutil.rmtree(run), UsageError, "there is no run folder"),
    ],
)
def test_missing_and_damaged_files_are_named(
    a: Path, b: Path, spoil: Callable[[Path], Any], error: type[PneumoError], message: str
) -> None:
    spoil(b)
    with pytest.raises(error, match=message):
        compare_runs([a, b])


def test_runs_that_are_not_classifiers_are_shown_side_by_side_and_kinds_are_not_mixed(
    write_run: Write, pneumo: Pneumo, a: Path, tmp_path: Path
) -> None:
    one, two, coder = (write_run(tmp_path / name, 1) for name in ("gan/x", "gan/y", "autoencoder/z"))
    as_generator(one, {"kid": 0.5})
    as_generator(two, {"kid": 0.25})
    as_generator(coder, {"psnr": 30.0, "loss": 0.1})
    ended = pneumo("compare", one, two)
    assert ended.code == 0, ended.stderr
    assert "KID × 1000  500.0  250.0" in ended.stdout
    assert "p =" not in ended.stdout
    assert "they have no metric of their test images in common" in pneumo("compare", one, coder).stderr
    assert "gan/x is not" in pneumo("compare", a, one).stderr
    (two / "predictions" / "test.csv").write_text("name,patient,real_score\ntest/9.png,p9,0.5\n")
    assert "were evaluated on different test images" in pneumo("compare", one, two).stderr


def test_a_group_is_compared_as_an_ensemble(
    write_run: Write, a: Path, tmp_path: Path, pneumo: Pneumo
) -> None:
    # The group's report is that of the ensemble; its spread has other numbers.
    spread = {split: {"auc": {"mean": 0.1, "sd": 0.01}} for split in ("validation", "test")}
    group = write_run(tmp_path / "fake" / "g-folds", 2, better=2.0, spread=spread)
    (group / "run.toml").rename(group / "group.toml")
    write_run(group / "members" / "fold-1", 9)
    alone = write_run(tmp_path / "fake" / "alone", 2, better=2.0)
    found, wanted = compare_runs([a, group], resamples=50), compare_runs([a, alone], resamples=50)
    assert found.pairs == wanted.pairs
    assert found.runs[1].metrics == wanted.runs[1].metrics
    assert found.runs[1].name == "fake/g-folds"
    ended = pneumo("compare", group, a, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.stderr
    assert "g-folds" in ended.stdout
    (group / "report.json").unlink()
    assert f"pneumo resume {group} continues it" in pneumo("compare", group, a).stderr


def test_a_real_run_is_listed_and_compared(finished_run: Callable[..., Path], tmp_path: Path) -> None:
    run = finished_run("fake", "--split", "patient")
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / "fake" / name)
    listed, problems = find_runs(tmp_path)
    assert not problems
    assert sorted(one.name for one in listed) == ["fake/one", "fake/two"]
    report = json.loads((run / "report.json").read_text())
    settings = {setting["name"]: setting["value"] for setting in report["settings"]}
    expected = ("finished", settings["epochs"], settings["epochs"], settings["seed"])
    assert {(one.state, one.epochs, one.of, one.settings["seed"]) for one in listed} == {expected}
    assert {one.started for one in listed} == {report["run"]["started"]}
    found = compare_runs([one.path for one in listed], resamples=100)
    assert {*found.pairs[0, 1].metrics} >= {"auc", "accuracy", "brier_calibrated"}
    assert found.pairs[0, 1].equal
    assert found.first.metrics == pytest.approx(report["evaluations"]["test"])
    assert found.first.intervals == {name: tuple(ends) for name, ends in report["intervals"]["test"].items()}


def test_other_test_images_with_the_same_names_are_refused(write_run: Write, tmp_path: Path) -> None:
    dataset = {"name": "tiny", "classes": ["NORMAL", "PNEUMONIA"], "fingerprint": "f" * 64}
    paths = [
        write_run(tmp_path / name, seed, dataset={**dataset, "test_fingerprint": contents * 64})
        for name, seed, contents in (("a", 1, "1"), ("b", 2, "1"), ("c", 3, "2"))
    ]
    assert compare_runs(paths[:2])
    with pytest.raises(UsageError, match="same names that are other files"):
        compare_runs([paths[0], paths[2]])
    assert compare_runs([paths[0], paths[2]], split="validation")


def test_extensions_that_differ_and_their_settings_belong_to_the_recipe(
    write_run, tmp_path: Path, pneumo
) -> None:
    def settings(*rows: tuple[str, object]) -> list[dict[str, object]]:
        return [{"name": name, "value": value} for name, value in (("epochs", 2), *rows)]

    plain = write_run(tmp_path / "fake" / "plain", 1, settings=settings(("tracker.folder", "one")))
    sharp = write_run(
        tmp_path / "fake" / "sharp",
        2,
        settings=settings(("sam.rho", 0.05), ("tracker.folder", "two")),
        extensions={"sam": "pneumo-sam 0.1"},
    )
    early = write_run(
        tmp_path / "fake" / "early", 3, environment={"extensions": ["sam"]}, settings=settings()
    )
    reports = [run.report for run in compare_runs([plain, sharp, early]).runs]
    differing = {name: (values, machine) for name, values, machine in settings_that_differ(reports)}
    assert differing["extensions"] == (("none", "sam (pneumo-sam 0.1)", "sam"), False)
    assert differing["sam.rho"] == ((ABSENT, 0.05, ABSENT), False)
    assert differing["tracker.folder"][1], "an observer is no part of the recipe"
    printed = pneumo("compare", plain, sharp).stdout
    assert "sam (pneumo-sam 0.1)" in printed
    assert "The recipe is the same" not in printed


def test_three_runs_are_compared_pair_by_pair_and_with_a_baseline_each_with_that(
    write_run: Write, a: Path, b: Path, tmp_path: Path
) -> None:
    third = write_run(tmp_path / "fake" / "c", 3, better=1.0, seed=44)
    found = compare_runs([a, b, third], resamples=50)
    assert (found.all_pairs, [*found.pairs], found.tests["primary"]) == (True, [(0, 1), (0, 2), (1, 2)], 3)
    alone = compare_runs([b, third], resamples=50)
    assert found.pairs[1, 2].metrics["auc"].difference == alone.pairs[0, 1].metrics["auc"].difference
    based = compare_runs([a, b, third], baseline=b, resamples=50)
    assert (based.all_pairs, [*based.pairs], based.tests["primary"]) == (False, [(1, 0), (1, 2)], 2)
    assert based.pairs[1, 2].metrics["auc"].p <= found.pairs[1, 2].metrics["auc"].p
    assert [run.label for run in found.runs] == ["fake seed 42", "fake seed 43", "fake seed 44"]
    many = [write_run(tmp_path / "many" / str(seed), seed, seed=seed) for seed in range(9)]
    assert [*compare_runs(many, resamples=2).pairs] == [(0, place) for place in range(1, 9)]


def report_of(model: str = "net", **settings: object) -> dict[str, Any]:
    return {
        "model": {"name": model},
        "settings": [{"name": name, "value": value} for name, value in settings.items()],
    }


@pytest.mark.parametrize(
    ("trainers", "reports", "folders", "names"),
    [
        (["cnn", "gan"], [report_of(seed=1), report_of(seed=2)], "ab", ["cnn", "gan"]),
        (["cnn"] * 2, [report_of(seed=1, lr=1), report_of(seed=2, lr=2)], "ab", ["cnn seed 1", "cnn seed 2"]),
        (["cnn"] * 2, [report_of("small", seed=1), report_of("big", seed=2)], "ab", ["cnn small", "cnn big"]),
        (
            ["cnn"] * 3,
            [report_of(seed=1, lr=1), report_of(seed=1, lr=2), report_of(seed=2, lr=2)],
            "abc",
            ["cnn seed 1 lr 1", "cnn seed 1 lr 2", "cnn seed 2"],
        ),
        (["cnn"] * 2, [report_of()] * 2, ["2026-11-27-76dd", "2026-11-28-0a1b"], ["cnn 76dd", "cnn 0a1b"]),
        (["cnn"] * 2, [report_of()] * 2, "aa", ["cnn a (1)", "cnn a (2)"]),
        (["cnn"] * 2, [report_of(output="a"), report_of(output="b")], "ab", ["cnn a", "cnn b"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(
    trainers: list[str], reports: list[dict[str, Any]], folders: list[str], names: list[str]
) -> None:
    assert short_names(trainers, reports, [Path(folder) for folder in folders]) == names
