"""The training loop: what is evaluated when, what is saved, and how a run fails."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.runs.checkpoints import Checkpoints


class EndOfTest(BaseException):
    """Ends a run when a test has seen enough: a report takes longer than the training here."""


class Evaluations:
    """Records the split and the weights of each evaluation, sets the validation accuracy of the epochs 0 to 3, and
    ends the run after the test images."""

    def __init__(self, *accuracies: float) -> None:
        self.accuracies = accuracies
        self.calls = []

    @hookimpl(wrapper=True)
    def evaluate(self, run, loader):
        assert not run.model.training
        assert not torch.is_grad_enabled()
        weights = b"".join(value.numpy().tobytes() for value in run.model.state_dict().values())
        evaluation = yield
        positions = frozenset(evaluation.outputs["index"].tolist())
        (split,) = [name for name, part in run.data.split.parts().items() if positions == set(part.tolist())]
        self.calls.append((len(run.history), split, hashlib.sha256(weights).hexdigest()))
        if split == "test":
            self.run = run
            raise EndOfTest
        if split == "validation" and len(run.history) < len(self.accuracies):
            metrics = {**evaluation.metrics, "accuracy": self.accuracies[len(run.history)]}
            return dataclasses.replace(evaluation, metrics=metrics)
        return evaluation


class StopsAfter:
    """Ends the run after so many steps; keeps the weights and the norms of the gradients."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.norms = []
        self.weights = {}

    @hookimpl
    def step_finished(self, run):
        gradients = [p.grad.flatten() for p in run.model.parameters() if p.grad is not None]
        if run.updates.complete:
            self.norms.append(float(torch.cat(gradients).norm()))
        if run.step == self.steps:
            self.weights = {name: value.clone() for name, value in run.model.state_dict().items()}
            raise EndOfTest


def history_of(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run, epoch 0 first."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_evaluates_the_untrained_model_each_epoch_and_the_test_split_once(start_run) -> None:
    evaluations = Evaluations(0.1, 0.5, 0.9, 0.9)
    with pytest.raises(EndOfTest):
        start_run("fake", evaluations)
    assert [(epochs, split) for epochs, split, _ in evaluations.calls] == [
        (0, "train"),
        (0, "validation"),
        (1, "validation"),
        (2, "validation"),
        (3, "validation"),
        (4, "validation"),
        (4, "test"),
    ]
    run = evaluations.run
    # Epoch 0 has the metrics of SOURCE 4 for both splits, and no throughput of training.
    first = run.history[0]
    assert first["epoch"] == 0
    for side in ("train", "validation"):
        assert {"loss", "accuracy", "precision", "recall", "f1"} <= first[side].keys()
    assert "images_per_second" not in first
    # The test split is evaluated with the best epoch by accuracy, the first of equal ones.
    assert run.best.epoch == 2
    weights = {epochs: digest for epochs, split, digest in evaluations.calls[:-2] if split == "validation"}
    assert len(set(weights.values())) == 4
    assert evaluations.calls[-1][2] == weights[2]
    assert history_of(run.folder.path) == run.history


def test_if_less_is_better_the_smallest_value_is_the_best(trained_run) -> None:
    run = trained_run("fake", monitor="loss", lr=0.1, epochs=4)
    losses = [row["validation"]["loss"] for row in history_of(run)[1:]]
    best = Checkpoints(run / "checkpoints").load("best")
    smallest = min(losses)
    assert (best["epoch"], best["monitor"], best["value"]) == (1 + losses.index(smallest), "loss", smallest)


def test_the_learning_rate_of_an_epoch_is_that_of_its_training(trained_run) -> None:
    run = trained_run("fake", epochs=3, lr=0.02, lr_step=1, lr_gamma=0.5)
    assert [row["learning_rate"] for row in history_of(run)[1:]] == pytest.approx([0.02, 0.01, 0.005])


@pytest.mark.parametrize(
    ("size", "accumulate", "large_steps", "small_steps"),
    [
        (4, 4, 2, 8),
        pytest.param(5, 4, 2, 8, id="the last update has the remaining 5, 5, 5 and 1 images"),
    ],
)
def test_accumulated_small_batches_give_the_update_of_a_large_one(
    start_run, size: int, accumulate: int, large_steps: int, small_steps: int
) -> None:
    large, small = StopsAfter(large_steps), StopsAfter(small_steps)
    settings = {"model": "plain-net", "precision": "fp32", "dataset": "tiny"}
    for probe, sizes in (
        (large, {"batch_size": size * accumulate}),
        (small, {"batch_size": size, "accumulate": accumulate}),
    ):
        with pytest.raises(EndOfTest):
            start_run("fake", probe, **settings, **sizes)
    assert len(small.norms) == large_steps
    assert small.norms == pytest.approx(large.norms, rel=1e-4)
    for name, value in large.weights.items():
        torch.testing.assert_close(small.weights[name], value, rtol=1e-4, atol=1e-6)


def test_clip_norm_bounds_the_gradient_of_every_update(start_run) -> None:
    free, clipped = StopsAfter(4), StopsAfter(4)
    for probe, norm in ((free, 0), (clipped, 0.01)):
        with pytest.raises(EndOfTest):
            start_run("fake", probe, clip_norm=norm)
    assert min(free.norms) > 0.01
    assert max(clipped.norms) == pytest.approx(0.01, rel=1e-3)


def test_two_optimizers_in_turn_leave_no_gradients_for_each_other(start_run) -> None:
    class Watch:
        @hookimpl
        def step_finished(self, run):
            self.critic = [p.grad.clone() for p in run.model.discriminator.parameters()]
            run.optimizers["discriminator"].zero_grad()
            images = torch.randn(2, 4)
            run.optimize(run.model.discriminator(run.model.generator(images)).mean(), "generator")
            assert all(p.grad is None for p in run.model.discriminator.parameters())
            assert all(p.grad is not None for p in run.model.generator.parameters())
            raise EndOfTest

    with pytest.raises(EndOfTest):
        start_run("duel", Watch())


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(processes, tmp_path: Path) -> None:
    ended = processes.run(tmp_path, "run", "fake", SABOTAGE="nan@step:2:3")
    assert ended.code == 1
    (run,) = (tmp_path / "runs").glob("*/*")
    message = ended.stderr.splitlines()[-1]
    assert message.startswith("pneumo: epoch 2: the loss is not finite (NaN or infinite) at step 3")
    assert "checkpoints/last.pt" in message
    last = Checkpoints(run / "checkpoints").load("last")
    assert last["epoch"] <= 1  # where saving is slow, not every epoch is saved
    assert all(torch.isfinite(value).all() for value in last["model"].values())
    assert not (run / "report.json").exists()


@pytest.mark.parametrize("point", ["begin:2", "step:2:2"])
def test_a_full_disk_is_a_clear_error_and_leaves_the_previous_checkpoint(
    point: str, processes, tmp_path: Path
) -> None:
    ended = processes.run(tmp_path, "run", "duel", "--checkpoint-minutes", "1e-9", SABOTAGE=f"full@{point}")
    assert ended.code == 1
    message = ended.stderr.splitlines()[-1]
    assert "cannot be written (File too large); the previous one is intact" in message
    assert "Traceback" not in ended.stderr
    (run,) = (tmp_path / "runs").glob("*/*")
    assert Checkpoints(run / "checkpoints").load("last")["epoch"] in (1, 2)
    assert not list((run / "checkpoints").glob(".*"))
    assert processes.run(tmp_path, "resume", run).code == 0


def test_every_run_has_a_folder_of_its_own(processes, tmp_path: Path) -> None:
    for _ in range(2):
        processes.run(tmp_path, "run", "fake", SABOTAGE="SIGKILL@last:1")
    assert len(list((tmp_path / "runs" / "fake").iterdir())) == 2


@pytest.fixture(scope="module")
def unfinished(processes, tmp_path_factory) -> Path:
    """A run that was killed after its first epoch, on a dataset whose seed is in a file."""
    folder = tmp_path_factory.mktemp("unfinished")
    (folder / "films").mkdir()
    (folder / "films" / "seed.txt").write_text("0")
    ended = processes.run(
        folder, "run", "fake", "--dataset", "seeded", "--data-root", "films", SABOTAGE="SIGKILL@epoch:1"
    )
    assert ended.code == -9, ended.stderr
    (run,) = (folder / "runs").glob("*/*")
    return run


@pytest.fixture
def copy(unfinished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the unfinished run that may be damaged."""
    monkeypatch.setenv("SABOTAGE", "")
    return Path(shutil.copytree(unfinished, tmp_path / "runs" / "fake" / "copy"))


def test_a_run_does_not_resume_on_other_data(copy: Path, unfinished: Path, pneumo, tmp_path: Path) -> None:
    (tmp_path / "seed.txt").write_text("1")
    ended = pneumo("resume", copy, "--data-root", tmp_path)
    assert ended.code == 2
    assert ended.stderr.startswith("pneumo: the dataset has changed since this run began")
    assert ended.stderr.count("\n") == 1
    assert (copy / "run.toml").read_bytes() == (unfinished / "run.toml").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_checkpoint_is_detected(damage: str, copy: Path, pneumo) -> None:
    path = copy / "checkpoints" / "last.pt"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content.clear()
    path.write_bytes(content)
    ended = pneumo("resume", copy)
    assert ended.code == 1
    assert ended.stderr == f"pneumo: the checkpoint {path} is damaged: it does not match manifest.json\n"


def test_code_in_a_checkpoint_is_not_executed(copy: Path, pneumo, tmp_path: Path) -> None:
    proof = tmp_path / "executed"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(proof),)

    path = copy / "checkpoints" / "last.pt"
    torch.save({"format": 1, "model": Hostile()}, path)
    forged = {"last.pt": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "previous": ""}}
    (copy / "checkpoints" / "manifest.json").write_text(json.dumps(forged))
    ended = pneumo("resume", copy)
    assert ended.code == 1
    assert "cannot be read" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not proof.exists()
    proof.mkdir()
    with pytest.raises(FileExistsError):  # pickle would have executed it
        pickle.loads(pickle.dumps(Hostile()))


def test_for_a_missing_run_folder_the_newest_runs_are_named(copy: Path, pneumo) -> None:
    ended = pneumo("resume", copy.parent / "wrong")
    assert ended.code == 2
    assert f"there is no run folder {copy.parent / 'wrong'}; the newest runs there: {copy}" in ended.stderr


@pytest.mark.slow
def test_two_processes_evaluate_each_image_once_and_train_to_the_same_weights(
    processes, tmp_path: Path
) -> None:
    settings = (
        "run",
        "fake",
        "--model",
        "plain-net",
        "--precision",
        "fp32",
        "--batch-size",
        11,
        "--epochs",
        2,
    )
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    assert processes.run(alone, *settings).code == 0
    # Batches of 11 images, the last of 3, give unequal shares.
    ended = processes.run(shared, *settings, "--devices", 2)
    assert ended.code == 0, ended.stderr
    runs = [next(folder.glob("runs/*/*")) for folder in (alone, shared)]
    for split in ("validation", "test"):
        tables = [(run / "predictions" / f"{split}.csv").read_text().splitlines() for run in runs]
        names = [[line.split(",")[0] for line in table] for table in tables]
        assert names[0] == names[1]
        assert len(set(names[1])) == len(names[1])
    reports = [json.loads((run / "report.json").read_text())["evaluations"]["test"] for run in runs]
    assert reports[1] == pytest.approx(reports[0], abs=1e-4)
    weights = [Checkpoints(run / "checkpoints").load("last")["model"] for run in runs]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-5)
