"""Extensions on several ranks: the same weights as on one, and one end for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pneumo_cli.runs.checkpoints import Checkpoints

EXTENSION = '''
"""Sharpness-aware minimisation, which stops after an epoch; the first rank alone says so."""
import torch
from pneumo_cli.api import ExtensionSpec, hookimpl
api_version = 1

class Sharp:
    def __init__(self, settings):
        self.climbing = False

    @hookimpl
    def around_train_step(self, run):
        def step(train_step, batch):
            self.climbing = True
            train_step(batch)
            self.climbing = False
            return train_step(batch)
        return step

    @hookimpl
    def around_optimize(self, run):
        def optimize_there(optimize, loss, name):
            if self.climbing:
                gradients = run.gradients(loss, name)
                norm = torch.stack([g.norm() for g in gradients.values()]).norm()
                self.kept = [(p, p.detach().clone()) for p in gradients]
                for p, g in gradients.items():
                    p.data.add_(0.5 * g / norm)
            else:
                run.backward(loss, name)
                for p, value in self.kept:
                    p.data.copy_(value)
                run.update(name)
        return optimize_there

    @hookimpl
    def epoch_finished(self, run, metrics):
        if metrics["epoch"] == 2:
            run.stop("two are enough")

@hookimpl
def register_extensions():
    yield ExtensionSpec(name="sharp", summary="Looks around", factory="sharp:Sharp")
'''


@pytest.mark.slow
def test_two_ranks_train_with_an_extension_to_the_same_weights_and_stop_together(
    processes, tmp_path: Path
) -> None:
    (tmp_path / "sharp.py").write_text(EXTENSION)
    settings = ("run", "fake", "--model", "plain-net", "--precision", "fp32", "--epochs", 5, "--no-report")
    settings += (
        "--batch-size",
        11,
        "--accumulate",
        2,
        "--clip-norm",
        1,
        "--no-evaluate-test",
        "--no-augment",
    )
    weights = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        plugin = (
            "--plugin",
            tmp_path / "sharp.py",
            "--with",
            "sharp",
            "--device",
            "cpu",
            "--devices",
            devices,
        )
        ended = processes.run(folder, *settings, *plugin)
        assert ended.code == 0, ended.stderr
        (run,) = folder.glob("runs/*/*")
        report = json.loads((run / "report.json").read_text())
        assert report["run"]["stopped"] == {"epoch": 2, "of": 5, "reason": "two are enough"}
        weights[devices] = Checkpoints(run / "checkpoints").load("last")["model"]
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[2][name], value, rtol=1e-3, atol=1e-5)
