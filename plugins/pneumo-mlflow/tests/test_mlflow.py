"""MLflow: what its client finds in the store after a run."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pneumo_cli.testing import Invocation

Run = Callable[..., Invocation]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def recorded(experiment: str) -> tuple[MlflowClient, list]:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_run_is_recorded_in_a_local_database_and_goes_on_when_it_is_resumed(
    pneumo: Run, fakes: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(store, "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = pneumo("run", "fake", "--epochs", 1, "--lr", "0.02", "--with", "mlflow")
    assert first.code == 0, first.stderr
    (folder,) = (fakes / "runs").glob("*/*")
    client, (run,) = recorded("pneumo/fake")
    assert run.info.run_name == folder.name
    assert run.info.status == "FINISHED"
    assert (run.data.params["lr"], run.data.params["epochs"]) == ("0.02", "1")
    report = json.loads((folder / "report.json").read_text())
    assert run.data.metrics["best/test/loss"] == pytest.approx(report["evaluations"]["test"]["loss"])
    digest = hashlib.sha256((folder / "checkpoints" / "best.pt").read_bytes()).hexdigest()
    assert run.data.tags["checkpoints/best.pt"] == digest
    figures = {Path(one.path).name for one in client.list_artifacts(run.info.run_id, "figures")}
    assert figures == {path.name for path in (folder / "figures").glob("*.png")}

    assert pneumo("resume", folder, "--epochs", 2).code == 0
    client, (again,) = recorded("pneumo/fake")
    assert again.info.run_id == run.info.run_id
    steps = [one.step for one in client.get_metric_history(run.info.run_id, "train/loss")]
    assert sorted(steps) == [0, 1, 2]


def test_a_server_that_is_down_costs_a_warning_and_not_the_run(
    pneumo: Run, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = pneumo("run", "fake", "--epochs", 1, "--with", "mlflow", "--mlflow-uri", uri)
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("MLflow fails and records nothing more of this run") == 1
    assert list((fakes / "runs").glob("*/*/report.json"))


def test_a_failed_run_is_recorded_as_failed_with_the_reason(
    pneumo: Run, fakes: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(store, "mlflow.db")
    monkeypatch.setenv("SABOTAGE", "nan@step:1:1")
    ended = pneumo("run", "fake", "--epochs", 2, "--with", "mlflow", "--mlflow-experiment", "mine")
    assert ended.code == 1
    _, (run,) = recorded("mine")
    assert run.info.status == "FAILED"
    assert "not finite" in run.data.tags["ended"]
