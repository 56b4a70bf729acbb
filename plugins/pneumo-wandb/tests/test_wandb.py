"""Weights & Biases: what an offline run leaves in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pneumo_cli.testing import Invocation


def test_an_offline_run_is_in_the_run_folder(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    ended = pneumo("run", "fake", "--epochs", 1, "--with", "wandb", "--wandb-project", "films")
    assert ended.code == 0, ended.stderr
    assert "Biases" not in ended.stderr  # no warning
    (folder,) = (fakes / "runs").glob("*/*")
    (record,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = record.read_bytes()
    for expected in (b"films", folder.name.encode(), b"validation/loss", b"best/test/loss"):
        assert expected in content


def test_it_is_off_unless_it_is_asked_for(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    assert pneumo("run", "fake", "--epochs", 1).code == 0
    assert not list(fakes.rglob("*.wandb"))
