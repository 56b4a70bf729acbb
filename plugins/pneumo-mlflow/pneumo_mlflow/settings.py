"""The settings of the observer ``mlflow``."""

from __future__ import annotations

from pydantic import Field

from pneumo_cli.settings import PartSettings


class MLflowSettings(PartSettings):
    """Where runs are recorded."""

    uri: str = Field(
        "",
        description="tracking server or store, as sqlite:///PATH or http://HOST:PORT; by default MLflow's own "
        "(MLFLOW_TRACKING_URI), else sqlite:///mlflow.db",
    )
    experiment: str = Field(
        "", description="name of the experiment; by default pneumo/ and the trainer's name"
    )
