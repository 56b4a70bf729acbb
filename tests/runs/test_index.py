"""``pneumo list-runs``: all runs below a folder, the problems of damaged ones, and no heavy imports."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.runs.index import BUNDLE, problem_of
from pneumo_cli.testing import Invocation
from tests.runs.written_runs import FOLDS, write_group, write_run


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
    assert "0.520" in new  # of the last epoch
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
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # listing has released it


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "report.json").write_text('{"evaluations": '), "report.json is damaged"),
        (lambda run: (run / "report.json").write_text("[1, 2]"), "it is no JSON object"),
        (lambda run: (run / "report.json").write_text("[" * 100_000), "report.json is damaged (it is nested"),
        (lambda run: (run / "run.toml").write_text("= = ="), "run.toml cannot be read"),
        (lambda run: (run / "run.toml").write_bytes(b"\xff\xfe"), "run.toml cannot be read: it is not UTF-8"),
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
    assert str(tmp_path) not in problem["problem"]


@pytest.mark.parametrize("history", [{}, {"history": None}])
def test_a_report_without_its_epochs_is_that_of_a_run_that_is_not_finished(
    tmp_path: Path, history: dict[str, None]
) -> None:
    path = write_run(tmp_path / "cnn" / "bad") / "report.json"
    content = json.loads(path.read_text())
    del content["history"]
    path.write_text(json.dumps(content | history))
    (found,), problems = find_runs(tmp_path)
    assert not problems
    assert (found.epochs, found.state) == (0, "interrupted")


def test_an_unrelated_run_toml_is_a_problem_and_a_half_written_epoch_is_not(
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


def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pneumo_cli.cli import list_runs

    write_group(tmp_path / "fake" / "2026-11-24-a1b2-folds", FOLDS)
    runs, _ = find_runs(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for width, columns in ((160, 11), (80, 4)):
        monkeypatch.setenv("COLUMNS", str(width))
        list_runs._print_runs(runs, [])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert max(map(len, lines)) <= width
        assert lines[0].endswith("TEST")
        assert len(lines[0].split()) == columns


def test_the_reason_is_whole_whatever_the_folder_is_called(tmp_path: Path) -> None:
    run = tmp_path / "first; second"
    assert (
        problem_of(run, PneumoError(f"{run}/report.json is damaged; delete it")).reason
        == "report.json is damaged"
    )


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "cnn" / "a")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs", target_is_directory=True)
    assert len(find_runs(tmp_path)[0]) == 1


def test_an_exported_bundle_is_not_listed_as_an_interrupted_run(tmp_path: Path) -> None:
    bundle = write_run(tmp_path / "bundle", auc=None)
    (bundle / "metrics.jsonl").unlink()
    (bundle / BUNDLE).write_text("{}")
    ((found,), _) = find_runs(tmp_path)
    assert found.state == "exported"


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
    for number in range(980):
        write_run(tmp_path / f"{number % 10}" / f"{number}", auc=0.9 if number % 4 else None)
    for number in range(20):
        write_group(tmp_path / f"{number}-folds", FOLDS)
    runs, problems = find_runs(tmp_path)
    assert (len(runs), len(problems)) == (1000, 0)


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
