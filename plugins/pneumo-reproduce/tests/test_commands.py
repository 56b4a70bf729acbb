"""``pneumo reproduce``: dry runs, misuse, and continuing after a kill."""

import json
import re

import pytest


@pytest.fixture
def without_benchmark(monkeypatch):
    monkeypatch.setattr("pneumo_reproduce.plan.estimate", lambda *arguments: None)


def test_a_dry_run_shows_the_plan_and_writes_nothing(with_tasks, without_benchmark, pneumo, fakes):
    shown = pneumo("reproduce", "--dry-run")
    assert shown.code == 0
    assert re.search(r"^cnn +tiny-net +32 px +\d+ +\d+ +not known", shown.stdout, re.M)
    said = "the report's tasks, preset source, on the dataset tiny (synthetic); --preset quick takes minutes"
    assert f"pneumo: {said}" in shown.stderr.splitlines()
    assert "the trainer 'autoencoder' comes with pneumo-autoencoder" in shown.stdout
    assert list(fakes.iterdir()) == []


def test_a_dry_run_of_some_tasks_plans_and_shows_only_these(with_tasks, pneumo, monkeypatch):
    def estimate(plan, plugins, names, folder, finished):
        for name in names:
            finished(name)

    monkeypatch.setattr("pneumo_reproduce.plan.estimate", estimate)
    shown = pneumo("reproduce", "--dry-run", "--only", "cnn", "--json")
    assert shown.code == 0
    assert [task["name"] for task in json.loads(shown.stdout)["tasks"]] == ["cnn"]
    assert "timing 1 of 1, cnn" in shown.stderr
    both = pneumo("reproduce", "--dry-run")
    timed = [line for line in both.stderr.splitlines() if "timing" in line]
    assert timed == ["pneumo: timing 1 of 2, cnn", "pneumo: timing 2 of 2, gan"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "autoencoders"], "did you mean autoencoder?"),
        (["--preset", "quik"], "did you mean quick?"),
        (["--dataset", "fake-three"], "has 3 classes (normal, bacteria, virus): name one of two classes"),
        (["--dataset", "fake-labels"], "has 3 labels (effusion, fracture, nodule): name one of two classes"),
        (["--dataset", "tinny"], "did you mean tiny?"),
        (["--threads", "99999"], "threads"),
        (["--output", "file"], "file is not a folder"),
        (["--output", "/proc/new"], "cannot be written"),
    ],
)
def test_misuse_is_an_error_of_one_line(with_tasks, without_benchmark, pneumo, fakes, arguments, expected):
    (fakes / "file").touch()
    ended = pneumo("reproduce", *arguments)
    assert ended.code == 2
    assert expected in ended.stderr.splitlines()[-1]
    assert [path.name for path in fakes.iterdir()] == ["file"]


def test_settings_that_make_several_runs_of_a_task_are_refused(
    with_tasks, without_benchmark, pneumo, monkeypatch
):
    monkeypatch.setenv("PNEUMO_SEEDS", "3")
    ended = pneumo("reproduce")
    assert ended.code == 2
    assert "a reproduction has one of each" in ended.stderr


@pytest.mark.slow
def test_a_killed_reproduction_continues_to_the_same_bits(
    with_tasks, without_benchmark, pneumo, fakes, monkeypatch
):
    monkeypatch.setenv("SABOTAGE", "SIGKILL@step:2:2")
    folder = fakes / "mine"
    ended = pneumo(
        *("reproduce", "--only", "gan", "--preset", "quick", "--output", str(folder), "--threads", "1")
    )
    assert ended.code == 1
    assert "SIGKILL" in ended.stderr
    page = (folder / "report.html").read_text()
    assert "no result here: its process was ended by SIGKILL" in page
    monkeypatch.setenv("SABOTAGE", "")

    changed = pneumo("reproduce", "--output", str(folder), "--preset", "source")
    assert changed.code == 2
    assert "was begun with --preset quick" in changed.stderr

    ended = pneumo("reproduce", "--only", "gan", "--output", str(folder), "--json")
    assert ended.code == 0
    content = json.loads(ended.stdout)
    assert content["filled"] == 1
    assert len(list((folder / "tasks" / "gan").glob("*/run.toml"))) == 1

    monkeypatch.setenv("PNEUMO_THREADS", "1")
    assert pneumo("run", "gan", "--preset", "quick", "--output", str(fakes / "runs")).code == 0
    (whole,) = (fakes / "runs" / "gan").iterdir()
    (resumed,) = (folder / "tasks" / "gan").glob("*/")

    def results(run):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        predictions = (run / "predictions" / "test.csv").read_text()
        return [(row["train"], row["validation"]) for row in rows], predictions

    assert results(resumed) == results(whole)
    task = next(task for task in content["tasks"] if task["name"] == "gan")
    images = next(number for number in task["numbers"] if number["label"] == "Images")
    assert (images["report"], images["ours"]) == (3883, 36)
