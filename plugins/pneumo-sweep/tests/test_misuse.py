"""Requests that cannot be met: one line, exit code 2, and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pneumo_cli import UsageError
from pneumo_cli.testing import Invocation


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--set lrr=0.1", "unknown setting 'lrr'; did you mean lr? (--set)"),
        ("--set lr=0.1,99", "lr = '99' (--set): input should be less than or equal to 10"),
        ("--search lr=0.1..99", "lr = '99' (--search): input should be less than or equal to 10"),
        ("--set lr=nan", "lr = 'nan' (--set): input should be a finite number"),
        ("--search lr=nan..1", "lr = 'nan' (--search): input should be a finite number"),
        ("--set optimizer=sgd,lion", "optimizer = 'lion' (--set): input should be 'sgd' or 'adamw'"),
        ("--set lr", "--set 'lr': write NAME=VALUES, such as lr=0.1,0.01"),
        ("--set lr=", "--set lr has no values: lr=A,B"),
        ("--set lr=0.1,,0.2", "--set lr has an empty value: lr=A,B"),
        ("--set lr=0.1,0.10", "--set lr has the value 0.1 twice"),
        (
            "--set lr=0.1 --search lr=1..2",
            "lr is given twice: by --set and by --search; leave one of them out",
        ),
        ("--lr 0.1 --set lr=0.2", "lr is given twice: by --lr and by --set; leave one of them out"),
        ("--search lr=0.2..0.1", "--search lr=0.2..0.1: a range ascends, LOW..HIGH"),
        ("--search momentum=log:0..0.9", "a logarithmic range begins above 0"),
        ("--search lr=log:0..1", "lr = '0' (--search): input should be greater than 0"),
        ("--search epochs=1.5..3", "epochs = '1.5' (--search): input should be a valid integer"),
        ("--search optimizer=1..2", "optimizer is no number: list its values, --search optimizer=sgd,adamw"),
        ("--search optimizer=sgd,adamw --trials 3", "the listed values have 2 combinations: try each once"),
        ("--set lr=0.1 --trials 3", "a grid has as many trials as points"),
        ("--search lr=0.1..0.2 --trials 0", "--trials is 0: at least 1"),
        ("--search lr=0.1..0.2 --trials 1001", "more than 1,000 trials"),
        ("", "nothing is tried: name settings with --set lr=0.1,0.01"),
        ("--set device=cpu", "--set device: it is a setting of the machine and not of the recipe: --device"),
        ("--set seed=1,2", "the best of several seeds is luck; --with-seeds N tells luck from a lead"),
        ("--set split=source,patient", "trials would be compared on different validation images"),
        ("--set evaluate-test=true", "the test images are for the winner alone"),
        ("--set lr=0.1 --folds 3", "folds and seeds make a group of runs, and a trial is one run"),
        ("--set monitor=auc,loss", "name the metric by which trials are compared, --metric NAME"),
        (
            "--set lr=0.1 --metric wobble",
            "--metric wobble: whether more or less of it is better is not known",
        ),
        ("--set lr=0.1 --sampler tpe", "--sampler tpe draws from --search, and there is only a grid"),
        (
            "--search lr=0.1..1 --sampler tep",
            "--sampler 'tep' is none of quasi-random, tpe; did you mean tpe?",
        ),
        ("--set lr=0.1 --prune medium", "did you mean median?"),
        ("--set lr=0.1 --with-seeds 1", "an interval needs at least 2 seeds"),
        ("--set lr=0.1 --workers 0", "--workers is 0: 1 to 256"),
        ("--set lr=0.1 --devices 2", "devices = 2: a trial runs on one; --workers N runs N trials at once"),
        ("--set lr=0.1 --storage runs.db", "--storage 'runs.db' is no URL of a database"),
        ("--set lr=0.1 --storage sqlite://", "a database in memory cannot be shared or resumed"),
        ("--set lr=0.1 --storage sqlite:///nowhere/x.db", "there is no folder"),
        ("--set model=tiny-net,tny-net", "unknown model 'tny-net'; did you mean"),
        ("--set lr=0.1 --dataset tny", "unknown dataset 'tny'"),
    ],
)
def test_it_is_refused(pneumo: Callable[..., Invocation], fakes: Path, flags: str, message: str) -> None:
    before = sorted(fakes.rglob("*"))
    ended = pneumo("sweep", "fake", *flags.split())
    assert ended.code == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert sorted(fakes.rglob("*")) == before


def test_a_grid_has_a_limit(pneumo: Callable[..., Invocation]) -> None:
    values = ",".join(f"0.{number:03}" for number in range(1, 35))
    ended = pneumo("sweep", "fake", "--set", f"lr={values}", "--set", f"momentum={values}")
    assert ended.code == 2
    assert "the grid has 1,156 points, and a sweep at most 1,000 trials" in ended.stderr


LAST = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl
from pneumo_cli.runs import Monitor
from pneumo_fake.trainers import DuelTrainer
api_version = 1

class Last(DuelTrainer):
    monitor = Monitor("", "max")

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="last", summary="Keeps the last epoch", trainer="last_plugin:Last", kind="pair", model="two-nets",
        settings="pneumo_fake.settings:DuelSettings", presets=(Preset(name="source", summary="One"),),
    )
"""


def test_a_trainer_without_a_validation_metric_needs_one_named(
    pneumo: Callable[..., Invocation], install: Callable[..., None]
) -> None:
    install("pneumo-last", {"last": "last_plugin"}, {"last_plugin": LAST})
    ended = pneumo("sweep", "last", "--set", "latent=2,4")
    assert ended.code == 2
    assert "last chooses no epoch by a validation metric" in ended.stderr


def test_the_function_raises_the_line_of_the_command(fakes: Path) -> None:
    import pneumo_cli
    from pneumo_sweep.functions import sweep

    assert issubclass(UsageError, pneumo_cli.PneumoError)
    with pytest.raises(UsageError, match=r"^unknown setting 'lrr'; did you mean lr\? \(--set\)$"):
        sweep("fake", set={"lrr": [0.1]}, progress=False)
    with pytest.raises(UsageError, match="write NAME=VALUES"):
        sweep("fake", set=["lr"], progress=False)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="reports"):
        sweep("fake", set={"lr": [0.1]}, report=True, progress=False)


def test_a_locked_storage_is_one_line(
    pneumo: Callable[..., Invocation], fakes: Path, monkeypatch: object
) -> None:
    file = fakes / "shared.db"
    monkeypatch.setattr("pneumo_sweep.storage._CHECK_SECONDS", 0.1)  # type: ignore[attr-defined]
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE studies (id)")
        other.execute("BEGIN EXCLUSIVE")
        ended = pneumo("sweep", "fake", "--set", "lr=0.1", "--storage", f"sqlite:///{file}")
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert f"the storage {file} is locked by another program" in ended.stderr
    assert not (fakes / "runs").exists()


def test_a_database_of_another_program_is_left_alone(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    file = fakes / "patients.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE patients (name)")
    before = file.read_bytes()
    ended = pneumo("sweep", "fake", "--set", "lr=0.1", "--storage", f"sqlite:///{file}")
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "is a database of another program (its tables: patients)" in ended.stderr
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    file = fakes / "notes.db"
    file.write_text("not a database, " * 100)
    ended = pneumo("sweep", "fake", "--set", "lr=0.1", "--storage", f"sqlite:///{file}")
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "is no SQLite database" in ended.stderr
    assert not (fakes / "runs").exists()


def test_a_folder_that_is_no_sweep_is_refused(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    ended = pneumo("sweep", "resume", fakes)
    assert ended.code == 2
    assert "is no folder of a sweep: it has no sweep.toml" in ended.stderr


def test_passwords_are_not_in_messages() -> None:
    from pneumo_sweep.storage import check, parsed, without_password

    url = parsed("mysql+pymysql://user:secret@localhost/sweeps")
    assert "secret" not in without_password(url)
    with pytest.raises(UsageError) as raised:
        check(url)
    assert "secret" not in str(raised.value)
