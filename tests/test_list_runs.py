"""``pneumo list-runs``: every run below a folder, what is wrong with the others, and nothing heavy to find out."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.runs.index import BUNDLE
from pneumo_cli.testing import Invocation


def write_run(
    path: Path,
    *,
    epochs: int = 3,
    done: int | None = None,
    auc: float | None = 0.9,
    started: str = "2026-01-02T03:04:05+00:00",
    trainer: str = "fake",
    **settings: Any,
) -> Path:
    """A run's files as the runner writes them, finished where it has an ``auc``."""
    values = {
        "model": "tiny-net",
        "dataset": "tiny",
        "split": "patient",
        "seed": 42,
        **settings,
        "epochs": epochs,
    }
    path.mkdir(parents=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in {"trainer": trainer, **values}.items()]
    facts = {
        "trainer": f"pneumo-fake:{trainer}",
        "model": "pneumo-fake:tiny-net",
        "dataset": "pneumo-fake:tiny",
    }
    lines += ["\n[run]\n", *(f"{name} = {json.dumps(value)}\n" for name, value in facts.items())]
    (path / "run.toml").write_text(
        "".join([*lines, f'started = "{started}"\n', '\n[origin]\nseed = "default"\n'])
    )
    history = [
        {"epoch": epoch, "train": {"loss": 1.0}, "validation": {"loss": 0.5, "auc": 0.5 + epoch / 100}}
        for epoch in range((epochs if done is None else done) + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    if auc is not None:
        report = {
            "run": {"started": started},
            "trainer": {"name": trainer},
            "model": {"name": "tiny-net"},
            "dataset": {"name": "tiny"},
            "settings": [{"name": name, "value": value} for name, value in values.items()],
            "history": history,
            "evaluations": {"validation": {"loss": 0.4, "auc": 0.95}, "test": {"loss": 0.6, "auc": auc}},
            "intervals": {"test": {"auc": [auc - 0.02, auc + 0.02]}},
        }
        (path / "report.json").write_text(json.dumps(report))
    return path


def write_group(
    path: Path,
    aucs: Mapping[str, float | None],
    *,
    folds: int = 3,
    seeds: int = 1,
    epochs: int = 3,
    test: float = 0.93,
    judged: dict[str, float] | None = None,
) -> Path:
    """A group's files as it writes them itself; a part without an ``auc`` is under way.

    Args:
        aucs: of each part, by its name.
        judged: of a task without a mean: what it says of its images, the same in each part.
    """
    path.mkdir(parents=True)
    values = {"model": "", "dataset": "tiny", "split": "patient", "lr": 0.5}
    values |= {"epochs": epochs, "folds": folds, "fold": 0, "seeds": seeds}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in {"trainer": "fake", **values}.items()]
    lines += ['\n[run]\ntrainer = "pneumo-fake:fake"\nstarted = "2026-01-02T03:04:05+00:00"\n']
    (path / "group.toml").write_text("".join(lines))
    for name, auc in aucs.items():
        part = write_run(path / "members" / name, epochs=epochs, auc=auc, done=None if auc else 1, lr=0.5)
        if judged and auc:
            report = json.loads((part / "report.json").read_text())
            report["summary"] = {"metrics": {**judged, "kid_noise_pixels": 9.0}}
            (part / "report.json").write_text(json.dumps(report))
    if all(aucs.values()):
        splits = {"validation": {"auc": (0.95, 0.01)}, "test": {"auc": (0.90, 0.02)}}
        if judged:
            splits = {"whole": {name: (value, 0.001) for name, value in judged.items()}}
        report = {
            "kind": "group",
            "model": {"name": "tiny-net"},
            "members": [{"name": name, "state": "finished", "epochs": epochs} for name in aucs],
            "spread": {
                split: {name: {"mean": mean, "sd": sd} for name, (mean, sd) in metrics.items()}
                for split, metrics in splits.items()
            },
            "evaluations": {} if judged else {"validation": {"auc": 0.94}, "test": {"auc": test}},
            "intervals": {} if judged else {"test": {"auc": [test - 0.02, test + 0.02]}},
        }
        (path / "report.json").write_text(json.dumps(report))
    return path


FOLDS = {f"fold-{number}": 0.9 for number in (1, 2, 3)}


@pytest.fixture
def listed(pneumo: Callable[..., Invocation]) -> Callable[..., Any]:
    """``pneumo list-runs ARGUMENTS --json``: names in their order, and the problems."""

    def run(*arguments: object) -> tuple[list[str], list[dict[str, str]]]:
        ended = pneumo("list-runs", *arguments, "--json")
        assert ended.code == 0, ended.stderr
        found = json.loads(ended.stdout)
        return [one["name"] for one in found["runs"]], found["problems"]

    return run


def test_nested_runs_are_listed_the_newest_first_with_state_and_results(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    write_run(tmp_path / "cnn" / "old", started="2026-01-01T00:00:00+00:00")
    write_run(tmp_path / "deep" / "er" / "cnn" / "new", auc=None, done=2, epochs=5)
    ended = pneumo("list-runs", tmp_path)
    head, new, old = ended.stdout.splitlines()
    assert head.split()[:4] == ["RUN", "TRAINER", "MODEL", "DATASET"]
    assert new.split()[0] == "deep/er/cnn/new"
    assert "2/5" in new
    assert "interrupted" in new
    assert "0.520" in new  # the last epoch's
    assert old.split()[0] == "cnn/old"
    assert "3/3" in old
    assert "finished" in old
    assert "0.950" in old
    assert "0.900 (0.880–0.920)" in old


def test_a_finished_run_that_is_trained_further_is_unfinished_until_it_has_all_epochs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "cnn" / "a")
    settings = run / "run.toml"
    settings.write_text(settings.read_text().replace("epochs = 3", "epochs = 9"))
    ((found,), _) = find_runs(tmp_path)
    assert (found.epochs, found.of, found.state) == (3, 9, "interrupted")


def test_a_run_is_running_while_a_process_holds_its_lock(tmp_path: Path) -> None:
    run = write_run(tmp_path / "cnn" / "a", auc=None, done=1)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ((found,), _) = find_runs(tmp_path)
        assert found.state == "running"
    ((found,), _) = find_runs(tmp_path)
    assert found.state == "interrupted"
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # having been looked at, it is free


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "report.json").write_text('{"evaluations": '), "report.json is damaged"),
        (lambda run: (run / "report.json").write_text("[1, 2]"), "it is no JSON object"),
        (lambda run: (run / "report.json").write_text("[" * 100_000), "report.json is damaged"),
        (lambda run: (run / "run.toml").write_text("= = ="), "run.toml cannot be read"),
        (lambda run: (run / "run.toml").write_bytes(b"\xff\xfe"), "run.toml cannot be read"),
        (lambda run: (run / "run.toml").unlink(), "has no run.toml"),
    ],
)
def test_a_damaged_folder_is_named_with_the_reason_and_the_others_are_listed(
    listed: Callable[..., Any], tmp_path: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    write_run(tmp_path / "cnn" / "good")
    spoil(write_run(tmp_path / "cnn" / "bad"))
    names, (problem,) = listed(tmp_path)
    assert names == ["cnn/good"]
    assert problem["path"] == str(tmp_path / "cnn" / "bad")
    assert reason in problem["problem"]


def test_a_foreign_run_toml_is_a_problem_and_a_half_written_epoch_is_none(
    listed: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "run.toml").write_text('title = "a marathon"\n')
    run = write_run(tmp_path / "cnn" / "killed", auc=None, done=2)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tra')
    names, (problem,) = listed(tmp_path)
    assert names == ["cnn/killed"]
    assert "names no trainer" in problem["problem"]
    ((found,), _) = find_runs(tmp_path / "cnn")
    assert found.epochs == 2


def test_a_group_is_one_line_with_the_spread_of_its_parts_and_the_test_value_of_their_mean(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    write_group(tmp_path / "fake" / "a-folds", FOLDS)
    write_run(tmp_path / "fake" / "alone", started="2026-01-01T00:00:00+00:00")
    _, group, alone = pneumo("list-runs", tmp_path).stdout.splitlines()
    assert group.split()[:2] == ["fake/a-folds", "fake"]
    assert "tiny-net" in group
    assert "3/3" in group
    assert "finished, 3 folds" in group
    assert "0.950 ± 0.010" in group
    assert "0.930 (0.910–0.950)" in group
    assert alone.split()[0] == "fake/alone"


@pytest.mark.parametrize(
    ("aucs", "said"),
    [
        ({}, "interrupted, 0 of 3 folds"),
        ({"fold-1": 0.9, "fold-2": None}, "interrupted, 1 of 3 folds"),
        ({"fold-1": 0.9, "fold-2": 0.9}, "interrupted, 2 of 3 folds"),
    ],
)
def test_a_group_says_how_many_of_its_parts_are_there(
    pneumo: Callable[..., Invocation], tmp_path: Path, aucs: Mapping[str, float | None], said: str
) -> None:
    group = write_group(tmp_path / "a-folds", aucs)
    (group / "report.json").unlink(missing_ok=True)
    _, line = pneumo("list-runs", tmp_path).stdout.splitlines()
    assert said in line
    with (group / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert said.replace("interrupted", "running") in pneumo("list-runs", tmp_path).stdout


def test_a_group_that_is_trained_further_is_unfinished_until_all_parts_are(tmp_path: Path) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    settings = group / "group.toml"
    settings.write_text(settings.read_text().replace("epochs = 3", "epochs = 9"))
    ((found,), _) = find_runs(tmp_path)
    assert (found.state, found.epochs, found.of) == ("interrupted", 3, 9)
    assert found.members is not None
    assert found.members.finished == 0


def test_the_parts_of_a_group_are_listed_where_they_are_asked_for(
    listed: Callable[..., Any], tmp_path: Path
) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    write_run(tmp_path / "alone")
    assert sorted(listed(tmp_path)[0]) == ["a-folds", "alone"]
    parts = [f"a-folds/members/{name}" for name in FOLDS]
    assert sorted(listed(tmp_path, "--members")[0]) == ["a-folds", *parts, "alone"]
    assert sorted(listed(group)[0]) == ["a-folds", *(f"members/{name}" for name in FOLDS)]
    assert sorted(listed(group / "members")[0]) == list(FOLDS)


def test_groups_are_filtered_and_sorted_like_runs(listed: Callable[..., Any], tmp_path: Path) -> None:
    write_group(tmp_path / "good-folds", FOLDS, test=0.97)
    write_group(tmp_path / "half-folds", {"fold-1": 0.9})
    (tmp_path / "half-folds" / "report.json").unlink()
    write_run(tmp_path / "high", auc=0.98)
    write_run(tmp_path / "low", auc=0.8)
    assert listed(tmp_path, "--sort", "auc")[0][:3] == ["high", "good-folds", "low"]
    assert listed(tmp_path, "--finished", "--where", "folds=3")[0] == ["good-folds"]
    assert listed(tmp_path, "--unfinished")[0] == ["half-folds"]
    assert listed(tmp_path, "--trainer", "other")[0] == []


def test_machines_are_told_what_a_group_consists_of(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    group = write_group(
        tmp_path / "a", {f"fold-{f}-seed-{s}": 0.9 for f in (1, 2) for s in (4, 5)}, folds=2, seeds=2
    )
    found = json.loads(pneumo("list-runs", tmp_path, "--members", "--json").stdout)["runs"]
    (one,) = (run for run in found if run["members"])
    assert one["members"] == {"folds": 2, "seeds": 2, "wanted": 4, "finished": 4}
    assert one["spread"]["validation"]["auc"] == 0.01
    assert {run["group"] for run in found if run is not one} == {str(group)}
    assert "finished, 2 folds × 2 seeds" in pneumo("list-runs", tmp_path).stdout


def test_images_that_were_made_are_listed_by_their_distance(
    pneumo: Callable[..., Invocation], listed: Callable[..., Any], tmp_path: Path
) -> None:
    for name, distance in (("far", 0.4), ("near", 0.02)):
        write_group(
            tmp_path / name, {"seed-1": 0.5, "seed-2": 0.5}, folds=0, seeds=2, judged={"kid_pixels": distance}
        )
    lines = {line.split()[0]: line for line in pneumo("list-runs", tmp_path).stdout.splitlines()}
    assert "finished, 2 seeds" in lines["near"]
    assert lines["near"].endswith("20.0 ± 1.0")
    assert "KID × 1000 (pixels)" in lines["near"]
    assert listed(tmp_path, "--sort", "kid_pixels")[0] == ["near", "far"]
    report = json.loads(pneumo("list-runs", tmp_path, "--members", "--json").stdout)["runs"]
    assert all("kid_noise_pixels" not in run["evaluations"].get("whole", {}) for run in report)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda group: (group / "group.toml").write_text("= ="), "group.toml cannot be read"),
        (lambda group: (group / "group.toml").write_text('title = "a band"'), "names no trainer"),
        (lambda group: (group / "report.json").write_text("{"), "report.json is damaged"),
        (lambda group: (group / "group.toml").write_text('trainer = "a"\nfolds = "many"'), ""),
    ],
)
def test_a_damaged_group_is_named_and_its_parts_are_listed_instead(
    listed: Callable[..., Any], tmp_path: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    spoil(group)
    names, problems = listed(tmp_path)
    assert [reason in problem["problem"] for problem in problems] == [True] * bool(reason)
    assert sorted(names) == ([f"a-folds/members/{name}" for name in FOLDS] if reason else ["a-folds"])


def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pneumo_cli.cli import list_runs

    write_group(tmp_path / "fake" / "2026-11-24-a1b2-folds", FOLDS)
    runs, _ = find_runs(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for width, columns in ((160, 11), (80, 4)):
        monkeypatch.setenv("COLUMNS", str(width))
        list_runs._show(runs, [], False)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert max(map(len, lines)) <= width
        assert lines[0].endswith("TEST")
        assert len(lines[0].split()) == columns


def test_links_are_not_followed_so_that_a_circle_ends(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "cnn" / "a")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs", target_is_directory=True)
    assert len(find_runs(tmp_path)[0]) == 1


def test_an_exported_bundle_is_no_interrupted_run(tmp_path: Path) -> None:
    bundle = write_run(tmp_path / "bundle", auc=None)
    (bundle / "metrics.jsonl").unlink()
    (bundle / BUNDLE).write_text("{}")
    ((found,), _) = find_runs(tmp_path)
    assert found.state == "exported"


def test_filters_and_conditions_narrow_the_list(listed: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "a", lr=0.005, augment=True, started="2026-01-04T00:00:00+00:00")
    write_run(tmp_path / "b", lr=0.1, trainer="other", started="2026-01-03T00:00:00+00:00")
    write_run(tmp_path / "c", lr=0.005, augment=False, auc=None, done=1, started="2026-01-02T00:00:00+00:00")
    assert listed(tmp_path)[0] == ["a", "b", "c"]
    assert listed(tmp_path, "--trainer", "other")[0] == ["b"]
    assert listed(tmp_path, "--dataset", "none-such")[0] == []
    assert listed(tmp_path, "--finished")[0] == ["a", "b"]
    assert listed(tmp_path, "--unfinished")[0] == ["c"]
    assert listed(tmp_path, "--where", "lr=5e-3")[0] == ["a", "c"]
    assert listed(tmp_path, "--where", "lr=5e-3", "--where", "augment=yes")[0] == ["a"]
    assert listed(tmp_path, "--where", "augment=false")[0] == ["c"]


def test_a_metric_sorts_the_best_first_and_runs_without_it_last(
    listed: Callable[..., Any], tmp_path: Path
) -> None:
    for name, auc in (("low", 0.7), ("high", 0.99), ("middle", 0.8)):
        write_run(tmp_path / name, auc=auc)
    write_run(tmp_path / "unjudged", auc=None, done=1)
    assert listed(tmp_path, "--sort", "auc")[0] == ["high", "middle", "low", "unjudged"]
    assert listed(tmp_path, "--sort", "name")[0] == ["high", "low", "middle", "unjudged"]
    report = tmp_path / "low" / "report.json"
    report.write_text(report.read_text().replace('"loss": 0.6', '"loss": 0.1'))
    assert listed(tmp_path, "--sort", "loss")[0][0] == "low"


def test_values_of_test_and_validation_images_are_not_mixed_and_that_is_said(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    """The validation values, 0.95 and 0.53, lie on both sides of the test values."""
    for name, auc in (("low", 0.7), ("high", 0.9)):
        write_run(tmp_path / name, auc=auc)
    sealed = write_run(tmp_path / "sealed", auc=0.8) / "report.json"
    sealed.write_text(sealed.read_text().replace('"test": {"loss": 0.6, "auc": 0.8}', '"test": {}'))
    write_run(tmp_path / "unfinished", auc=None)
    ended = pneumo("list-runs", tmp_path, "--sort", "auc")
    assert [line.split()[0] for line in ended.stdout.splitlines()[1:]] == [
        "high",
        "low",
        "sealed",
        "unfinished",
    ]
    assert ended.stderr == (
        "pneumo: sorted by auc on the test images; then come 2 without, by that on the validation images\n"
    )
    for name in ("high", "low"):
        shutil.rmtree(tmp_path / name)
    assert "no run has auc on the test images" in pneumo("list-runs", tmp_path, "--sort", "auc").stderr
    assert pneumo("list-runs", tmp_path).stderr == ""


def test_an_empty_list_says_why(pneumo: Callable[..., Invocation], tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    write_run(tmp_path / "runs" / "a", trainer="cnn")
    for arguments, said in (
        ([tmp_path / "films"], f"there are no runs in or below {tmp_path / 'films'}"),
        ([tmp_path, "--trainer", "cn"], f"no run below {tmp_path} has the trainer cn; did you mean cnn?"),
        ([tmp_path, "--unfinished"], f"no run below {tmp_path} meets all conditions"),
    ):
        ended = pneumo("list-runs", *arguments)
        assert (ended.code, ended.stdout, ended.stderr) == (0, "", f"pneumo: {said}\n")
        assert json.loads(pneumo("list-runs", *arguments, "--json").stdout)["runs"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "lr"], "--where takes setting=value, such as lr=0.005, not 'lr'"),
        (["--where", "sed=42"], "no run has a setting 'sed'; did you mean seed?"),
        (["--sort", "acu"], "no run has a metric 'acu'; did you mean auc?"),
    ],
)
def test_what_no_run_has_is_an_error_that_names_the_nearest(
    pneumo: Callable[..., Invocation], tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_run(tmp_path / "a")
    ended = pneumo("list-runs", tmp_path, *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"pneumo: {message}")


def test_the_output_folder_is_the_default_and_may_not_exist_yet(
    pneumo: Callable[..., Invocation], fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = pneumo("list-runs", "--json")
    assert ended.code == 0
    assert json.loads(ended.stdout) == {"runs": [], "problems": []}
    assert "there are no runs yet" in ended.stderr
    write_run(fakes / "elsewhere" / "cnn" / "a")
    monkeypatch.setenv("PNEUMO_OUTPUT", "elsewhere")
    assert "cnn/a" in pneumo("list-runs").stdout
    ended = pneumo("list-runs", "nowhere")
    assert (ended.code, ended.stderr) == (2, "pneumo: there is no folder nowhere\n")


def test_a_thousand_runs_and_groups_are_all_found(tmp_path: Path) -> None:
    for number in range(940):
        write_run(tmp_path / f"{number % 10}" / f"{number}", auc=0.9 if number % 4 else None)
    for number in range(20):
        write_group(tmp_path / f"{number}-folds", FOLDS)
    runs, problems = find_runs(tmp_path)
    assert (len(runs), len(problems)) == (960, 0)


def test_listing_a_folder_imports_nothing_heavy(
    fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "a")
    program = (
        "import sys; from pneumo_cli.cli.main import main\n"
        f"sys.argv[1:] = ['list-runs', {str(tmp_path)!r}]\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pydantic_settings'}\n"
        "try: main()\n"
        "finally: print('loaded', *sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**fake_environ, "PYTHONPATH": str(fake_site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[1].startswith("a ")
    assert ended.stderr == "loaded\n"
