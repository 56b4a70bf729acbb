"""Records a run with MLflow, through its client alone: no run of MLflow is active in this process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.plugins import Tracker
from pneumo_mlflow.settings import MLflowSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FOLDER = "pneumo.folder"
_SQLITE = "sqlite:///"
_LONGEST = 6000  # characters of a parameter's value
_MOST = 100  # parameters that one request takes


class MLflow(Tracker):
    """A run of MLflow for each run of pneumo; a resumed run goes on in the same one."""

    title = "MLflow"
    settings: MLflowSettings
    _client: MlflowClient
    _run: str

    def open(self, folder: Path, trainer: str, settings: Mapping[str, Any], epochs: int) -> None:
        """Find the run of this folder, or create it with the settings as parameters."""
        # Otherwise a server that is down is asked for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        # How it makes its tables is of no concern between the epochs that a run prints.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = _absolute(self.settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
        self._client = MlflowClient(uri)
        name = self.settings.experiment or f"pneumo/{trainer}"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name, _artifacts(uri))
        known = self._client.search_runs([experiment], f"tags.`{_FOLDER}` = '{folder}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        created = self._client.create_run(experiment, tags={_FOLDER: str(folder)}, run_name=folder.name)
        self._run = created.info.run_id
        params = [Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
        for start in range(0, len(params), _MOST):
            self._client.log_batch(self._run, params=params[start : start + _MOST])

    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """One metric each, with the epoch as its step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, metrics=[Metric(n, value, now, epoch) for n, value in values.items()]
        )

    def figure(self, path: Path) -> None:
        """An artifact below ``figures``."""
        self._client.log_artifact(self._run, str(path), "figures")

    def note(self, name: str, value: str) -> None:
        """A tag."""
        self._client.set_tag(self._run, name, value)

    def close(self, error: str) -> None:
        """Finished, or failed with the reason as a tag."""
        if error:
            self.note("ended", error)
        self._client.set_terminated(self._run, "FAILED" if error else "FINISHED")


def _absolute(uri: str) -> str:
    """The same store, also from another working folder: MLflow keeps stores open by their addresses."""
    path = uri.removeprefix(_SQLITE)
    return f"{_SQLITE}{Path(path).absolute()}" if path != uri else uri


def _artifacts(uri: str) -> str | None:
    """Where figures go: beside an SQLite file; a server has a place of its own."""
    path = uri.removeprefix(_SQLITE)
    return (Path(path).parent / "mlartifacts").as_uri() if path != uri else None
