"""Runs of the trainer on the suite's small dataset, inside this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.layers import resolve  # noqa: E402
from pneumo_cli.models.torchvision_models import build  # noqa: E402
from pneumo_cli.progress import Progress  # noqa: E402
from pneumo_cli.ranks import Ranks  # noqa: E402
from pneumo_cli.run import Run  # noqa: E402
from pneumo_cli.runner import Runner  # noqa: E402
from pneumo_cli.session import open_run  # noqa: E402
from pneumo_cli.testing import TINY, installed_plugins  # noqa: E402

SMALL = {
    "model": "mobilenet-v3-small",
    "weights": "none",
    "image_size": 32,
    "batch_size": 16,
    "precision": "fp32",
    "device": "cpu",
    "dataset": TINY.name,
}


@pytest.fixture(scope="session")
def phantom_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the phantom is drawn once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    for name in [name for name in os.environ if name.upper().startswith("PNEUMO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PNEUMO_CACHE", str(phantom_cache))
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of mobilenet-v3-small whose features tell images apart.

    Those of a network as it is made do not: before its BatchNorm statistics fit, it gives the same for all.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("mobilenet-v3-small", outputs=1000)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean over all batches
        with torch.no_grad():
            for _ in range(4):
                model(torch.randn(32, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Runner]:
    """A runner with everything but its start, for the settings that are given."""

    def make(**settings: Any) -> Runner:
        plugins = installed_plugins()
        flags = {**SMALL, "output": tmp_path / "runs", "cache": tmp_path / "cache", **settings}
        entry = plugins.trainers.get("fine-tuning")
        resolved = resolve(plugins, entry, flags, preset="source", environ={})
        return Runner(open_run(plugins, resolved, Progress(), Ranks()), [], [])

    return make


@pytest.fixture
def trained(prepared: Callable[..., Runner]) -> Callable[..., Run]:
    """A run, from its start to its report."""

    def train(**settings: Any) -> Run:
        runner = prepared(**settings)
        runner.start()
        return runner.run

    return train
