"""``print`` of results of the Python functions on a stdout that lacks characters."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.workflows.metric_values import Metric
from pneumo_cli.workflows.tables import Table


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_results_are_printed_with_the_characters_that_stdout_has(
    encoding: str, finished_run, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run("fake", "--split", "patient"), fakes / "läufe" / "胸\udcff")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream := io.BytesIO(), encoding))
    result = pneumo_cli.runs(run.parent)[0]
    shown = [
        *(
            result,
            result.metrics,
            result.report,
            result.history,
            result.settings,
            pneumo_cli.runs(run.parent),
        ),
        *(pneumo_cli.models(), pneumo_cli.settings("fake"), Table([{"a": "0.1–0.2 胸"}]), Table()),
        *(Prediction(Path("胸.png")), Metric(0.95, "auc", (0.9, 0.98)), pneumo_cli.load(run)),
    ]
    for value in shown:
        print(value)
    sys.stdout.flush()
    assert "0.950 (0.900" in stream.getvalue().decode(encoding)


def test_a_stdout_with_all_characters_gets_them(capsys: pytest.CaptureFixture[str]) -> None:
    print(Table([{"a": "0.1–0.2 胸"}]))
    assert "0.1–0.2 胸" in capsys.readouterr().out
