"""A plugin that was written for API version 1 as it was when that was fixed works unchanged.

The plugin is ``plugin_api_1``, which is frozen; its README says what it holds.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from conftest import write_distribution
from pneumo_cli.api import API_VERSION

FROZEN = Path(__file__).parent / "plugin_api_1"
METHODS = {
    *("check_request", "choose_task", "model_options", "build_model", "freeze", "load_pretrained"),
    *("build_optimizers", "build_schedulers", "build_transforms", "build_sources", "cache_sources"),
    *("train_mode", "train_step", "training_metrics", "evaluate", "epoch_images", "calibrate"),
    *("describe_evaluation", "summarize", "as_classifier", "as_generator"),
}
"""The methods of a trainer that its run and predictions with it call."""


@pytest.fixture
def first(fakes, tmp_path, monkeypatch) -> Path:
    """The frozen plugin, installed; returns the working folder."""
    site = tmp_path / "first"
    shutil.copytree(FROZEN, site)
    write_distribution(site, "pneumo-first", {"first": "pneumo_first.plugin"})
    monkeypatch.syspath_prepend(str(site))
    yield fakes
    for name in [name for name in sys.modules if name.partition(".")[0] == "pneumo_first"]:
        del sys.modules[name]


def test_the_api_version_is_the_one_of_the_frozen_plugin() -> None:
    # With the next version this plugin is refused with what to change, and another one is frozen beside it.
    assert API_VERSION == 1


def test_everything_that_it_registers_is_there_without_a_problem(first, pneumo) -> None:
    listed = json.loads(pneumo("list-plugins", "--json").stdout)
    assert listed["problems"] == []
    (own,) = (plugin for plugin in listed["plugins"] if plugin["name"] == "first")
    assert {"register_trainers", "register_decoders", "plugins_for_run", "epoch_finished"} <= set(
        own["hooks"]
    )
    assert "first-probe" in pneumo("list-trainers").stdout
    assert "first-zoo/wide" in pneumo("list-models", "first-zoo/").stdout
    assert pneumo("first-hello", "--name", "you").stdout == "hello you True\n"
    assert pneumo("data", "first-count").stdout == "counted\n"
    report = json.loads(pneumo("doctor", "--json").stdout)
    assert report["checks"]["first"] == "first is there"
    assert not any("pneumo-first" in problem for problem in report.get("references", {}).values())


def test_a_run_calls_every_method_and_hook_and_can_be_resumed_evaluated_and_predicted_with(
    first, pneumo
) -> None:
    flags = ("--dataset", "first-discs", "--discs", 48, "--image-size", 32, "--precision", "fp32")
    ended = pneumo("run", "first-probe", *flags, "--epochs", 1, "--remark", "as before", "--width", 6)
    assert ended.code == 0, ended.stderr
    (run,) = first.glob("runs/first-probe/*")
    from pneumo_first import data, plugin, trainer

    hooks = {name for name, *_ in plugin.seen}
    assert hooks == {
        *("build_model", "evaluate", "run_started", "epoch_started", "step_finished", "epoch_finished"),
        *("checkpoint_saved", "run_finished"),
    }
    assert (
        "step_finished",
        ["label", "logit", "loss", "twice"],
    ) in plugin.seen  # one of them by its extension
    assert (run / "notebook.txt").read_text().splitlines()[1].startswith("1 of 1: ")
    report = json.loads((run / "report.json").read_text())
    assert report["notes"][0] == "as before"
    assert "First words" in (run / "report.md").read_text()
    assert (run / "figures" / "logits-test-test.png").is_file()
    assert (run / "samples" / "epoch-001.png").is_file()

    resumed = pneumo("resume", run, "--epochs", 2)
    assert resumed.code == 0, resumed.stderr
    assert len(json.loads((run / "report.json").read_text())["history"]) == 3

    evaluated = pneumo("evaluate", run, "--on", "validation", "--json")
    assert set(json.loads(evaluated.stdout)["metrics"]) == {"loss", "accuracy"}

    discs = data.Discs(16)
    (first / "images").mkdir()
    for number, record in enumerate(discs.records):
        (first / "images" / f"{number}.fst").write_bytes(data.encode_fst(discs.read(record)))
    predicted = json.loads(pneumo("predict", run, "images", "--json").stdout)
    assert len(predicted["predictions"]) == 16
    assert {one["decision"] for one in predicted["predictions"]} <= {"CLEAR", "DISC"}
    assert trainer.called == METHODS
    (first / "model.first").write_text('{"threshold": 0.32}')
    bright = json.loads(pneumo("predict", "model.first", "images", "--json").stdout)
    assert len(bright["predictions"]) == 16


def test_its_dataset_of_files_is_downloaded_recognized_and_checked(first, pneumo) -> None:
    assert pneumo("data", "download", "first-files").code == 0
    checked = pneumo("data", "check", "--json")
    assert checked.code == 0, checked.stderr
    assert "first-files" in checked.stdout
