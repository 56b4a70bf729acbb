"""``pneumo compare``: on the same images only, from the folders alone, and honest about what was found."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.testing import Invocation
from pneumo_compare.comparison import compare_runs
from pneumo_compare.page import write_comparison

CLASSES = ["NORMAL", "PNEUMONIA"]
_GENERATOR = np.random.default_rng(0)
LABELS = (np.arange(120) % 3 > 0).astype(int)
SEEN = _GENERATOR.normal(0, 1, 120) + 2 * LABELS - 1
"""What any network would see in the images; two networks add errors of their own."""


def logits(seed: int, better: float = 0.0) -> np.ndarray:
    own = np.random.default_rng(seed).normal(0, 0.4, 120)
    return np.asarray(SEEN + own + better * (2 * LABELS - 1))


def write_run(path: Path, scores: np.ndarray, *, seed: int = 42, cut: float = 0.0, **changes: Any) -> Path:
    """A finished classifier's files, as the runner writes them; ``changes`` replace parts of its report."""
    metrics = binary_metrics(scores, LABELS, logit_threshold=cut)
    report = {
        "run": {"name": path.name, "started": "2026-01-02T03:04:05+00:00", "seconds": 3.0},
        "trainer": {"name": "fake"},
        "model": {"name": "tiny-net", "parameters": 12},
        "dataset": {"name": "tiny", "classes": CLASSES, "fingerprint": "f" * 64, "synthetic": False},
        "settings": [
            {"name": "epochs", "value": 2},
            {"name": "seed", "value": seed},
            {"name": "output", "value": str(path.parent)},
        ],
        "monitor": {"metric": "auc", "mode": "max", "epoch": 2},
        "history": [
            {"epoch": e, "train": {"auc": 0.4 + e / 10}, "validation": {"auc": 0.5 + e / 10}}
            for e in range(3)
        ],
        "curves": ["auc"],
        "evaluations": {"validation": metrics, "test": metrics},
        "details": {
            split: {"operating_point": "own", "operating_points": {"own": {"cut": cut}}, "temperature": 1.5}
            for split in ("validation", "test")
        },
    } | changes
    (path / "predictions").mkdir(parents=True)
    (path / "run.toml").write_text('trainer = "fake"\nepochs = 2\n\n[run]\ntrainer = "pneumo-fake:fake"\n')
    (path / "report.json").write_text(json.dumps(report))
    for split in ("validation", "test"):
        with (path / "predictions" / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "patient", "subtype", "logits", "labels"])
            for i, (score, label) in enumerate(zip(scores, LABELS, strict=True)):
                writer.writerow([f"{split}/{i:03}.png", f"p{i // 2}", "", float(score), int(label)])
    return path


def write_generator(path: Path, metrics: dict[str, float]) -> Path:
    """A run that predicts no classes."""
    write_run(path, logits(1), evaluations={"test": metrics}, details={})
    names = "".join(f"test/{i}.png,p{i},0.5\n" for i in range(4))
    (path / "predictions" / "test.csv").write_text("name,patient,real_score\n" + names)
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fake" / "a", logits(1))


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fake" / "b", logits(2), seed=43)


def change(run: Path, edit: Callable[[list[list[str]]], Any], split: str = "test") -> None:
    """Edit the rows of a run's predictions, the first of which is the head."""
    file = run / "predictions" / f"{split}.csv"
    rows = list(csv.reader(file.read_text().splitlines()))
    edit(rows)
    file.write_text("".join(",".join(row) + "\n" for row in rows))


def test_a_run_compared_with_itself_is_the_same_run_with_p_one(
    pneumo: Callable[..., Invocation], a: Path
) -> None:
    found = json.loads(pneumo("compare", a, a, "--json").stdout)
    (difference,) = found["differences"]
    assert difference["same_run"]
    assert difference["verdict"] == "B and A are the same run: no difference, p = 1."
    assert {(one["value"], one["p"], one["significant"]) for one in difference["metrics"].values()} == {
        (0, 1, False)
    }
    assert difference["delong"]["p"] == difference["mcnemar"]["accuracy"]["p"] == 1


def test_a_copied_folder_predicts_the_same(a: Path, tmp_path: Path) -> None:
    shutil.copytree(a, tmp_path / "fake" / "copy")
    found = compare_runs([a, tmp_path / "fake" / "copy"], resamples=50)
    assert not found.same_run(1)
    assert found.pairs[1].equal


def test_two_seeds_do_not_differ_and_the_seed_is_all_that_was_set_differently(
    pneumo: Callable[..., Invocation], a: Path, b: Path
) -> None:
    ended = pneumo("compare", a, b)
    assert ended.code == 0
    assert "ROC AUC: no significant difference between A and B" in ended.stdout
    assert "SET DIFFERENTLY  A   B\nseed             42  43\n" in ended.stdout
    assert "It knows nothing of other seeds" in ended.stdout


def test_a_planted_difference_is_found_with_its_size_and_its_direction(a: Path, tmp_path: Path) -> None:
    better = write_run(tmp_path / "fake" / "better", logits(2, better=1.0))
    from pneumo_compare.wording import metric_verdict, verdict

    found = compare_runs([a, better], resamples=300)
    tested = found.pairs[1].metrics["auc"]
    value, low, high, _ = tested.difference
    assert metric_verdict(found, 1, "auc") == f"B is better by {value:.3f} ({low:.3f} to {high:.3f})"
    assert verdict(found).startswith("ROC AUC: B is better by ")
    turned = compare_runs([a, better], baseline=better, resamples=300)
    assert [run.letter for run in turned.runs] == ["A", "B"]
    assert turned.first.letter == "B"
    assert metric_verdict(turned, 0, "auc") == metric_verdict(found, 1, "auc")
    assert turned.pairs[0].metrics["auc"].difference.value == pytest.approx(-value)


def test_metrics_and_differences_are_those_at_each_runs_own_operating_point(a: Path, tmp_path: Path) -> None:
    strict = write_run(tmp_path / "fake" / "strict", logits(1), logit_threshold=1.0)
    found = compare_runs([a, strict], resamples=50)
    pair, reports = found.pairs[1], [run.metrics for run in found.runs]
    assert pair.metrics["auc"].difference.value == 0
    for name in ("recall", "specificity", "accuracy"):
        assert pair.metrics[name].difference.value == pytest.approx(reports[1][name] - reports[0][name])


def test_rows_in_another_order_are_the_same_predictions(a: Path, b: Path) -> None:
    before = compare_runs([a, b], resamples=50).pairs[1]
    change(b, lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
    assert compare_runs([a, b], resamples=50).pairs[1] == before


def test_a_baseline_beside_the_runs_comes_first(a: Path, b: Path, tmp_path: Path) -> None:
    third = write_run(tmp_path / "fake" / "c", logits(3))
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
def test_other_images_are_refused_with_their_number_and_first_names(
    a: Path, b: Path, edit: Callable[..., Any], message: str
) -> None:
    change(b, edit)
    # The report follows, so that the images alone are what is wrong.
    report = json.loads((b / "report.json").read_text())
    report["evaluations"]["test"] = {"auc": None, "recall": 1.0}
    (b / "report.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match=message):
        compare_runs([a, b])


def test_other_labels_and_other_classes_are_refused(a: Path, tmp_path: Path) -> None:
    flipped = write_run(tmp_path / "fake" / "flipped", logits(2), evaluations={"test": {"recall": 0.5}})
    change(flipped, lambda rows: [row.__setitem__(4, "1") for row in rows[1:4]])
    with pytest.raises(UsageError, match=r"with different labels: 1 differ \(test/000.png\)"):
        compare_runs([a, flipped])
    renamed = write_run(tmp_path / "fake" / "renamed", logits(2), dataset={"classes": ["SICK", "WELL"]})
    with pytest.raises(UsageError, match="know different classes: NORMAL, PNEUMONIA; and SICK, WELL"):
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
        (lambda run: change(run, lambda r: r.append(r[1])), PneumoError, "a second one of test/000.png"),
        (
            lambda run: change(run, lambda r: [row.__setitem__(3, "0.5") for row in r[1:]]),
            PneumoError,
            r"does not belong to .*report.json: the predictions give accuracy 0.6667, the report says",
        ),
        (lambda run: shutil.rmtree(run), UsageError, "there is no run folder"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    a: Path, b: Path, spoil: Callable[[Path], Any], error: type[PneumoError], message: str
) -> None:
    spoil(b)
    with pytest.raises(error, match=message):
        compare_runs([a, b])


def test_without_a_test_evaluation_the_error_says_what_can_be_compared(
    pneumo: Callable[..., Invocation], a: Path, tmp_path: Path
) -> None:
    unjudged = write_run(
        tmp_path / "fake" / "unjudged",
        logits(2),
        evaluations={"validation": binary_metrics(logits(2), LABELS)},
    )
    ended = pneumo("compare", a, unjudged)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"pneumo: {unjudged} was not judged on its test images; compare on the validation images: "
        "--split validation\n"
    )
    ended = pneumo("compare", a, unjudged, "--split", "validation")
    assert ended.code == 0
    assert "each run chose its best epoch" in ended.stdout


def test_other_kinds_stand_side_by_side_and_are_not_mixed(
    pneumo: Callable[..., Invocation], a: Path, tmp_path: Path
) -> None:
    one, two = (
        write_generator(tmp_path / "gan" / name, {"kid": kid}) for name, kid in (("x", 0.5), ("y", 0.25))
    )
    ended = pneumo("compare", one, two)
    assert ended.code == 0, ended.stderr
    assert "KID × 1000  500.0  250.0" in ended.stdout
    assert "p =" not in ended.stdout
    coder = write_generator(tmp_path / "autoencoder" / "z", {"psnr": 30.0, "loss": 0.1})
    assert "no metric of their test images is of both" in pneumo("compare", one, coder).stderr
    assert "gan/x predicts no classes" in pneumo("compare", a, one).stderr
    (two / "predictions" / "test.csv").write_text("name,patient,real_score\ntest/9.png,p9,0.5\n")
    assert "were judged on different test images" in pneumo("compare", one, two).stderr


def test_the_page_needs_no_other_file_and_is_not_written_over_another(
    pneumo: Callable[..., Invocation], a: Path, b: Path, tmp_path: Path
) -> None:
    hostile = write_run(tmp_path / "fake" / "<script>", logits(3), trainer={"name": "<b>x</b>"})
    page = tmp_path / "new" / "compare.html"
    ended = pneumo("compare", a, b, hostile, "--out", page)
    assert ended.code == 0, ended.stderr
    assert f"the page is {page}" in ended.stderr
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 4  # ROC curves, two of differences, training curves
    for said in ("3 runs compared", "no significant difference", "What to keep in mind", "McNemar", "Holm"):
        assert said in html
    assert "Missing figure" not in html
    assert "<script>" not in html
    assert "<b>x</b>" not in html
    ended = pneumo("compare", a, b, "--out", page)
    assert (ended.code, ended.stdout) == (2, "")
    assert "exists already" in ended.stderr
    assert page.read_text() == html
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert "is not empty" in pneumo("compare", a, b, "--out", tmp_path / "full").stderr
    ended = pneumo("compare", a, b, "--out", tmp_path / "full" / "mine.txt" / "deeper.html")
    assert ended.code == 2
    assert "cannot be written" in ended.stderr


def test_a_folder_gets_the_numbers_beside_the_page(a: Path, b: Path, tmp_path: Path) -> None:
    found = compare_runs([a, b], resamples=50)
    page = write_comparison(found, tmp_path / "out")
    assert sorted(file.name for file in page.parent.iterdir()) == ["compare.html", "compare.json"]
    content = json.loads((page.parent / "compare.json").read_text())
    assert content["settings"]["seed"] == {"A": 42, "B": 43}
    difference = content["differences"][0]["metrics"]["accuracy"]
    assert difference["value"] == pytest.approx(
        content["runs"][1]["metrics"]["accuracy"] - content["runs"][0]["metrics"]["accuracy"]
    )


def write_group(path: Path, scores: np.ndarray, **changes: Any) -> Path:
    """A finished group of classifiers: its own report is of their mean, whose spread says something else."""
    spread = {split: {"auc": {"mean": 0.1, "sd": 0.01}} for split in ("validation", "test")}
    write_run(path, scores, spread=spread, **changes)
    (path / "run.toml").rename(path / "group.toml")
    write_run(path / "members" / "fold-1", logits(9))
    return path


def test_a_group_is_compared_by_what_its_parts_say_together(a: Path, tmp_path: Path, pneumo) -> None:
    group = write_group(tmp_path / "fake" / "g-folds", logits(2, better=2.0))
    alone = write_run(tmp_path / "fake" / "alone", logits(2, better=2.0))
    found, wanted = compare_runs([a, group], resamples=50), compare_runs([a, alone], resamples=50)
    assert found.pairs == wanted.pairs
    assert found.runs[1].metrics == wanted.runs[1].metrics
    assert found.runs[1].name == "fake/g-folds"
    ended = pneumo("compare", group, a, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.stderr
    assert "g-folds" in ended.stdout
    (group / "report.json").unlink()
    assert f"pneumo resume {group} goes on with it" in pneumo("compare", group, a).stderr


def test_a_name_of_another_kind_of_file_is_no_folder(
    pneumo: Callable[..., Invocation], a: Path, b: Path, tmp_path: Path
) -> None:
    for name in ("x.pdf", "x.htm", "x.HTML", "x.json"):
        ended = pneumo("compare", a, b, "--out", tmp_path / name)
        assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
        assert "ends as a file does" in ended.stderr
        assert not (tmp_path / name).exists()
    for name in ("lr-0.5", "trial.v2"):
        assert pneumo("compare", a, b, "--out", tmp_path / name).code == 0
        assert (tmp_path / name / "compare.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "a comparison takes two runs at least"),
        (["a", "nowhere"], "there is no run folder nowhere"),
        (["a", "b", "--split", "train"], "--split is test or validation, not 'train'"),
    ],
)
def test_misuse_is_one_line(
    pneumo: Callable[..., Invocation],
    a: Path,
    b: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(a.parent)
    ended = pneumo("compare", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"pneumo: {message}")


def test_what_the_program_writes_is_what_is_listed_and_compared(
    start_run: Callable[..., Any], fakes: Path
) -> None:
    run = start_run("fake", epochs=1, seed=7, output=fakes / "runs")
    shutil.copytree(run.folder.path, fakes / "runs" / "fake" / "copy")
    listed, problems = find_runs(fakes / "runs")
    assert not problems
    assert sorted(one.name for one in listed) == [f"fake/{run.folder.path.name}", "fake/copy"]
    assert {(one.state, one.epochs, one.of, one.settings["seed"]) for one in listed} == {
        ("finished", 1, 1, 7)
    }
    assert {one.started for one in listed} == {run.started.isoformat(timespec="seconds")}
    found = compare_runs([one.path for one in listed], resamples=100)
    assert {*found.pairs[1].metrics} >= {"auc", "accuracy", "brier_calibrated"}
    assert found.pairs[1].equal
    report = json.loads(run.folder.report_json.read_text())
    assert found.first.metrics == pytest.approx(report["evaluations"]["test"])
    assert found.first.intervals == {name: tuple(ends) for name, ends in report["intervals"]["test"].items()}


def test_test_images_of_the_same_names_that_are_other_files_are_refused(tmp_path: Path) -> None:
    dataset = {"name": "tiny", "classes": CLASSES, "fingerprint": "f" * 64, "synthetic": False}
    paths = [
        write_run(tmp_path / name, logits(seed), dataset={**dataset, "test_fingerprint": contents * 64})
        for name, seed, contents in (("a", 1, "1"), ("b", 2, "1"), ("c", 3, "2"))
    ]
    assert compare_runs(paths[:2])
    with pytest.raises(UsageError, match="same names that are other files"):
        compare_runs([paths[0], paths[2]])
    assert compare_runs([paths[0], paths[2]], split="validation")
