"""What version 0.1.0 made is read: runs, groups, a bundle, an ONNX file, and the plugin that trained them.

``tests/fixtures/made-with-0.1.0.tar.xz`` was made by that version, fp32 on one thread; its README says how. The
plugin in it is that version's too: it imports modules, overrides methods and sets settings by their former names.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.programs import Ended, ProcessServer, disabled
from tools.builds import unpack

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARCHIVE = FIXTURES / "made-with-0.1.0.tar.xz"
MADE_AT = "/made/with/0.1.0"
"""Where the fixture says that its files lie."""

FEATURES = ("pneumo-export", "pneumo-compare", "pneumo-synthetic")


class Made:
    """The unpacked fixture, and ``pneumo`` of this version beside it."""

    def __init__(self, folder: Path, server: ProcessServer) -> None:
        self.folder = folder
        self._server = server
        self._names: dict[str, str] = json.loads((folder / "names.json").read_text())

    def run(self, label: str) -> str:
        """The folder of the run that the fixture calls so, relative."""
        return self._names[label]

    def copy(self, label: str) -> Path:
        """A copy of a run's or a group's folder, to be changed."""
        own = self.folder / self._names[label]
        return Path(shutil.copytree(own, self.folder / "copies" / own.name, dirs_exist_ok=True))

    def said(self, label: str) -> Any:
        """What version 0.1.0 printed."""
        return json.loads((self.folder / "said" / f"{label}.txt").read_text())

    def pneumo(self, *arguments: object, code: int = 0, **environ: str) -> Ended:
        ended = self._server.run(self.folder, *arguments, **environ)
        assert ended.code == code, ended.stderr
        return ended

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.pneumo(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(ARCHIVE) as archive:
        unpack(archive, folder)
    for path in folder.rglob("*"):
        if path.suffix in {".toml", ".json", ".jsonl", ".html", ".md"}:
            path.write_text(path.read_text().replace(MADE_AT, str(folder)))
    environ = {
        **fake_environ,
        "PNEUMO_DISABLE_PLUGINS": disabled(*FEATURES),
        "PNEUMO_DATA_HOME": str(folder / "data-home"),
        "PNEUMO_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(folder / "plugin"),
    }
    server = ProcessServer(environ, folder / "plugin")
    yield Made(folder, server)
    server.close()


RENAMED = {
    "novelty": "ood_score",
    "novelty_threshold": "ood_threshold",
    "cut": "logit_threshold",
    "parts": "members",
}
"""Keys of JSON that version 0.1.0 printed, with those of this version."""

COUNTED = re.compile(r"\.(density|coverage|copies|near_copies)")
"""Shares of images whose nearest neighbour is this one or that one: rounding may change which."""


def same_numbers(old: Any, new: Any, where: str = "") -> int:
    """Check that the numbers of two JSON texts are equal, but for what another processor changes; count them."""
    if isinstance(old, dict):
        assert not (missing := {RENAMED.get(name, name) for name in old} - new.keys()), (where, missing)
        return sum(
            same_numbers(value, new[RENAMED.get(name, name)], f"{where}.{name}")
            for name, value in old.items()
        )
    if isinstance(old, list):
        assert len(old) == len(new), where
        return sum(
            same_numbers(one, other, f"{where}[{number}]")
            for number, (one, other) in enumerate(zip(old, new, strict=True))
        )
    if isinstance(old, float):
        assert new == pytest.approx(old, rel=1e-4, abs=0.02 if COUNTED.search(where) else 1e-5), where
        return 1
    return 0


# --- listed and compared ------------------------------------------------------------------------------------------


def test_its_runs_and_groups_are_listed_with_the_same_numbers(made: Made) -> None:
    old, new = (
        {row["run"]: row for row in rows["runs"]} for rows in (made.said("list-runs"), made.json("list-runs"))
    )
    assert old.keys() == new.keys()
    for row in old.values():
        for former in ("judge_test", "judged", "flip_test", "weighted_loss"):
            row["settings"].pop(former, None)
    assert sum(same_numbers(row, new[name], name) for name, row in old.items()) > 100
    assert {name: row["state"] for name, row in old.items()} == {
        name: row["state"] for name, row in new.items()
    }
    assert new[made.run("finished")]["settings"]["evaluate_test"] is True
    assert new[made.run("painter")]["settings"]["fidelity_images"] == 24
    assert new[made.run("finished")]["settings"]["class_weights"] == "balanced"
    members = {row["run"] for row in made.json("list-runs", "--members")["runs"]}
    assert f"{made.run('folds')}/parts/fold-1" in members


def test_runs_are_chosen_by_settings_under_both_names(made: Made) -> None:
    chosen = [
        made.json("list-runs", "--where", f"{name}=24")["runs"] for name in ("judged", "fidelity_images")
    ]
    assert chosen[0] == chosen[1]
    assert {run["trainer"] for run in chosen[0]} == {"painter"}


def test_its_runs_are_compared_to_the_same_numbers(made: Made) -> None:
    old = made.said("compare")
    new = made.json("compare", made.run("finished"), made.run("other"))
    assert same_numbers(old["runs"], new["runs"]) > 50
    assert new["images"] == old["images"]
    old = made.said("compare-groups")
    new = made.json("compare", made.run("seeds"), made.run("finished"))
    assert same_numbers(old["runs"], new["runs"]) > 50


def test_the_report_can_be_written_again_for_a_run_that_has_lost_it(made: Made) -> None:
    run = made.copy("finished")
    old = json.loads((run / "report.json").read_text())
    for file in ("report.json", "report.html", "report.md"):
        (run / file).unlink(missing_ok=True)
    made.pneumo("resume", run)
    new = json.loads((run / "report.json").read_text())
    assert same_numbers(old["evaluations"], new["evaluations"]) > 20


def test_an_access_to_the_test_images_that_it_recorded_is_not_recorded_again(made: Made) -> None:
    run, home = made.copy("killed-before-report"), made.folder / "copies" / "data-home"
    shutil.copytree(made.folder / "data-home", home)
    for file, old, new in (
        (run / "run.toml", made.folder / "data-home", home),
        *((ledger, made.folder / made.run("killed-before-report"), run) for ledger in home.glob("*/*.jsonl")),
    ):
        file.write_text(file.read_text().replace(str(old), str(new)))
    before = sum(len(ledger.read_text().splitlines()) for ledger in home.glob("*/*.jsonl"))
    made.pneumo("resume", run)
    assert sum(len(ledger.read_text().splitlines()) for ledger in home.glob("*/*.jsonl")) == before


# --- resumed ------------------------------------------------------------------------------------------------------


def same_state(old: Any, new: Any, where: str = "") -> int:
    """Check that two states are equal, but for what another processor changes and how long it took; count the
    tensors."""
    if isinstance(old, torch.Tensor):
        if old.is_floating_point():
            assert torch.allclose(old, new, rtol=1e-3, atol=1e-4), where
        else:
            assert torch.equal(old, new), where
        return 1
    if isinstance(old, dict):
        assert old.keys() == new.keys(), where
        return sum(same_state(old[name], new[name], f"{where}.{name}") for name in old.keys() - {"seconds"})
    return 0


@pytest.mark.parametrize(
    ("label", "members"),
    [
        ("killed-in-epoch", {"": "killed-in-epoch"}),
        ("killed-before-report", {"": "killed-before-report"}),
        ("stopped", {"": "stopped"}),
        ("duel-killed", {"": "duel-killed"}),
        ("folds", {f"parts/fold-{fold}": f"folds-{fold}" for fold in (1, 2, 3)}),
    ],
)
def test_a_run_that_it_left_is_resumed_to_what_it_would_have_become(
    label: str, members: dict[str, str], made: Made
) -> None:
    """On the processor that made the fixture, to the same bits; on others, to the same numbers."""
    run = made.copy(label)
    made.pneumo("resume", run)
    for folder, result in members.items():
        new = torch.load(run / folder / "checkpoints" / "last.pt", weights_only=True)
        old = torch.load(made.folder / "resumed" / f"{result}.pt", weights_only=True)
        assert same_state(old, {name: new[name] for name in old}) > 5
    assert json.loads((run / "report.json").read_text())["format"] == 2
    assert (run / "report.html").is_file()


def test_a_finished_run_is_extended(made: Made) -> None:
    run = made.copy("finished")
    made.pneumo("resume", run, "--epochs", "5")
    new = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    old = torch.load(made.folder / "resumed" / "finished-to-5-epochs.pt", weights_only=True)
    assert same_state(old, {name: new[name] for name in old}) > 5
    assert new["epoch"] == 5


def test_a_run_is_done_again_with_its_run_toml(made: Made) -> None:
    """It says ``judged`` and the like, and so may the flags."""
    recipe = f"{made.run('painter')}/run.toml"
    made.pneumo("run", "painter", "--config", recipe, "--output", "again", "--judged", "0", "--no-judge-test")
    (run,) = (made.folder / "again").glob("*/*")
    settings = (run / "run.toml").read_text()
    assert "fidelity_images = 0" in settings
    assert "evaluate_test = false" in settings
    weights = [
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]
        for folder in (made.folder / made.run("painter"), run)
    ]
    assert same_state(*weights) == len(weights[0]) > 0


# --- evaluated ----------------------------------------------------------------------------------------------------


def test_its_runs_are_evaluated_and_the_earlier_accesses_to_the_test_images_count(made: Made) -> None:
    old = json.loads((made.folder / made.run("finished") / "report.json").read_text())["evaluations"]["test"]
    before = len(list((made.folder / "data-home" / "test-looks").glob("*.jsonl")))
    assert before
    first = made.json("evaluate", made.run("finished"))
    assert same_numbers(old, first["metrics"]) > 5
    second = made.json("evaluate", made.run("finished"))
    assert second["test_accesses"] == first["test_accesses"] + 1 > 2
    both = made.json("evaluate", made.run("finished"), "--with", made.run("other"), "--on", "validation")
    assert len(both["runs"]) == 2


def test_what_its_models_generate_is_the_same_and_evaluated(made: Made) -> None:
    made.pneumo("generate", made.run("painter"), "-n", "8", "--out", "new")
    for path in sorted((made.folder / "made").glob("*.png")):
        old, new = (
            np.asarray(Image.open(folder / path.name)) for folder in (path.parent, made.folder / "new")
        )
        assert np.abs(old.astype(int) - new).max() <= 1
    old = json.loads((made.folder / made.run("painter") / "report.json").read_text())["judgement"]["metrics"]
    assert same_numbers(old, made.json("evaluate-images", made.run("painter"))["metrics"]) > 5


# --- predicted with -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["run", "bundle", "onnx", "group"])
def test_its_runs_groups_bundles_and_onnx_files_predict_what_they_predicted(label: str, made: Made) -> None:
    model = {
        "run": made.run("finished"),
        "bundle": "bundle",
        "onnx": "finished.onnx",
        "group": made.run("seeds"),
    }[label]
    old, new = made.said(f"predict-{label}"), made.json("predict", model, "made")
    assert len(old["predictions"]) == 8
    assert same_numbers(old, new) > 24
    for one, other in zip(old["predictions"], new["predictions"], strict=True):
        assert (one["decision"], one["out_of_distribution"]) == (
            other["decision"],
            other["out_of_distribution"],
        )


# --- called by their former names ---------------------------------------------------------------------------------


def test_commands_and_flags_say_what_they_are_called_now(made: Made) -> None:
    ended = made.pneumo("judge", made.run("painter"), "--json")
    assert json.loads(ended.stdout)["metrics"]
    assert "judge is called evaluate-images now" in ended.stderr
    ended = made.pneumo("usefulness", made.run("finished"), code=2)
    assert "usefulness is called tstr now" in ended.stderr
    ended = made.pneumo("show", "fake", "--json", PNEUMO_JUDGE_TEST="false")
    assert json.loads(ended.stdout)["settings"]["evaluate_test"] is False


def test_help_says_the_present_names_alone(made: Made) -> None:
    said = made.pneumo("--help").stdout + made.pneumo("run", "painter", "--help").stdout
    for former in ("judge", "usefulness", "flip-test", "judged"):
        assert former not in said
