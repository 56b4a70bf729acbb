"""How long a run would take, from a few of its steps on noise."""

import json
import time

import pytest
import torch

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import resolve
from pneumo_reproduce import timing
from pneumo_reproduce.timing import AROUND, Noise, Throughput


def test_an_estimate_adds_up_what_a_run_does():
    speeds = Throughput(train=0.1, evaluation=0.01, once=0.5, views=2)
    # Once: 2 views of 100 and 20; judged: 100 once and 20 in each of 4 epochs; trained: 100 three times.
    assert speeds.seconds(100, 20, 3) == pytest.approx(AROUND + 0.5 * 220 + 0.01 * 180 + 0.1 * 300)


def test_noise_has_every_class_pool_and_subtype():
    noise = Noise(("NORMAL", "PNEUMONIA"), 20, 16)
    assert {(r.label, r.pool) for r in noise.records} == {
        (0, "train"),
        (0, "test"),
        (1, "train"),
        (1, "test"),
    }
    assert {r.subtype for r in noise.records} == {"", "bacteria", "virus"}
    assert noise.read(noise.records[0]).shape == (16, 16)


@pytest.mark.parametrize("name", ["fake", "duel", "painter"])
def test_a_trial_times_real_steps_and_leaves_nothing_behind(fakes, name):
    plugins = discover()
    resolved = resolve(plugins, plugins.trainers.get(name), {"threads": 1, "device": "cpu"})
    torch.manual_seed(3)
    speeds = timing.measure(plugins, resolved)
    assert speeds.train > 0
    assert speeds.evaluation > 0
    assert speeds.once == 0
    assert list(fakes.iterdir()) == []


def test_a_moment_in_which_the_machine_did_something_else_is_not_taken_for_its_speed(fakes, monkeypatch):
    from pneumo_fake.trainers import FakeTrainer

    steps, honest = [], FakeTrainer.train_step

    def disturbed(self, run, batch):
        steps.append(run.epoch)
        if len(steps) % 3:
            time.sleep(0.2)
        return honest(self, run, batch)

    monkeypatch.setattr(FakeTrainer, "train_step", disturbed)
    plugins = discover()
    resolved = resolve(plugins, plugins.trainers.get("fake"), {"threads": 1, "device": "cpu"})
    assert timing.measure(plugins, resolved).train < 0.1 / resolved.trainer.batch_size
    assert len(steps) == 12


def test_what_cannot_be_tried_is_said_and_the_next_one_is_tried(fakes, capsys):
    plugins = discover()
    settings = resolve(plugins, plugins.trainers.get("fake"), {"threads": 1, "device": "cpu"}).to_toml({})
    (fakes / "good.toml").write_text(settings)
    timing.main([str(fakes / "absent.toml"), str(fakes / "good.toml")])
    bad, good = map(json.loads, capsys.readouterr().out.splitlines())
    assert "absent.toml" in bad["error"]
    assert Throughput(**good).train > 0
