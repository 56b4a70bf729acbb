"""``pneumo list-runs``: every run below a folder, what is wrong with the others, and nothing heavy to find out."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runlist import find_runs
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
        (lambda run: (run / "report.json").write_text("[1, 2]"), "it holds no evaluations"),
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


def test_links_are_not_followed_so_that_a_circle_ends(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "cnn" / "a")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs", target_is_directory=True)
    assert len(find_runs(tmp_path)[0]) == 1


def test_an_exported_bundle_is_no_interrupted_run(pneumo: Callable[..., Invocation], tmp_path: Path) -> None:
    from pneumo_cli.exported import DESCRIPTION

    bundle = write_run(tmp_path / "bundle", auc=None)
    (bundle / "metrics.jsonl").unlink()
    (bundle / DESCRIPTION).write_text("{}")
    ((found,), _) = find_runs(tmp_path)
    assert found.state == "exported"
    assert "is an exported bundle" in pneumo("compare", bundle, bundle).stderr


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


def test_a_thousand_runs_take_a_second_or_two(tmp_path: Path) -> None:
    for number in range(1000):
        write_run(tmp_path / f"{number % 10}" / f"{number}", auc=0.9 if number % 4 else None)
    start = time.perf_counter()
    runs, problems = find_runs(tmp_path)
    assert (len(runs), len(problems)) == (1000, 0)
    assert time.perf_counter() - start < 4


def test_listing_a_folder_imports_nothing_heavy(
    fake_environ: dict[str, str], fake_site: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "a")
    program = (
        "import sys; from pneumo_cli.cli.main import main\n"
        f"sys.argv[1:] = ['list-runs', {str(tmp_path)!r}]\n"
        "try: main()\n"
        "finally: print('loaded', *sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
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
