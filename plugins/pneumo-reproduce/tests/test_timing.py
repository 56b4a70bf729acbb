"""How long a run would take, from a few of its steps on noise."""

import json
import time

import pytest
import torch

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import resolve
from pneumo_reproduce import timing
from pneumo_reproduce.timing import AROUND, Noise, Throughput


def test_an_estimate_adds_up_all_steps_of_a_run():
    throughput = Throughput(train=0.1, evaluation=0.01, once=0.5, views=2)
    # Once: 2 views of 100 and 20; evaluated: 100 once and 20 in each of 4 epochs; trained: 100 three times.
    assert throughput.seconds(100, 20, 3) == pytest.approx(AROUND + 0.5 * 220 + 0.01 * 180 + 0.1 * 300)


def test_noise_has_every_class_pool_and_subtype():
    noise = Noise(("NORMAL", "PNEUMONIA"), 20, 16)
    pools = {(record.label, record.pool) for record in noise.records}
    assert pools == {(label, pool) for label in (0, 1) for pool in ("train", "test")}
    assert {r.subtype for r in noise.records} == {"", "bacteria", "virus"}
    assert noise.read(noise.records[0]).shape == (16, 16)


@pytest.mark.parametrize("name", ["fake", "duel", "painter"])
def test_a_benchmark_times_real_steps_and_leaves_nothing_behind(fakes, name):
    plugins = discover()
    resolved = resolve(plugins, plugins.trainers.get(name), {"threads": 1, "device": "cpu"})
    torch.manual_seed(3)
    throughput = timing.measure(plugins, resolved)
    assert throughput.train > 0
    assert throughput.evaluation > 0
    assert throughput.once == 0
    assert list(fakes.iterdir()) == []


def test_steps_that_other_programs_slowed_down_do_not_count(fakes, monkeypatch):
    from pneumo_fake.trainers import FakeTrainer

    steps, train_step = [], FakeTrainer.train_step

    def slowed_down(self, run, batch):
        steps.append(run.epoch)
        if len(steps) % 3:
            time.sleep(0.1)
        return train_step(self, run, batch)

    monkeypatch.setattr(FakeTrainer, "train_step", slowed_down)
    plugins = discover()
    resolved = resolve(plugins, plugins.trainers.get("fake"), {"threads": 1, "device": "cpu"})
    assert timing.measure(plugins, resolved).train < 0.08 / resolved.trainer.batch_size
    assert len(steps) == 12


def test_settings_that_cannot_be_timed_are_reported_and_the_next_ones_are_timed(fakes, capsys):
    plugins = discover()
    settings = resolve(plugins, plugins.trainers.get("fake"), {"threads": 1, "device": "cpu"}).to_toml({})
    (fakes / "good.toml").write_text(settings)
    timing.main([str(fakes / "absent.toml"), str(fakes / "good.toml")])
    bad, good = map(json.loads, capsys.readouterr().out.splitlines())
    assert "absent.toml" in bad["error"]
    assert Throughput(**good).train > 0
