"""The report's network, trained by ``pneumo.run`` and by ``pneumo run``: equal to the last digit."""

from __future__ import annotations

import pytest

import pneumo_cli as pneumo_library
from tests.training.comparison import assert_same_results, report_of


def test_both_train_the_same_network(pneumo, fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo_cli.workflows.installed._found", [])
    flags = ("--dataset", "tiny", "--image-size", 32, "--epochs", 1, "--no-report", "--output", "command")
    ended = pneumo("run", "cnn", "--preset", "quick", *flags)
    assert ended.code == 0, ended.stderr
    (command,) = fakes.glob("command/cnn/*")
    result = pneumo_library.run(
        "cnn", preset="quick", dataset="tiny", image_size=32, epochs=1, report=False, progress=False
    )
    assert_same_results(command, result.folder)
    for name in ("evaluations", "intervals", "details", "calibration", "summary"):
        assert report_of(result.folder).get(name) == report_of(command).get(name), name
    auc = result.metrics["test"]["auc"]
    assert auc == report_of(command)["evaluations"]["test"]["auc"]
    assert list(auc.interval) == report_of(command)["intervals"]["test"]["auc"]
