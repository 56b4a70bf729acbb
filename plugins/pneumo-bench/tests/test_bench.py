"""Real measurements of tiny networks: what they hold, and that nothing is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pneumo_cli
from pneumo_bench.machine import Memory, _started, start_seconds
from pneumo_bench.rounds import measure
from pneumo_cli.errors import Interrupted
from pneumo_cli.testing import Invocation
from tests.programs import ProcessServer, disabled

SMALL = ("--image-size", "32", "--batch-size", "8")
Bench = Callable[..., dict[str, Any]]


def is_rate(value: Any) -> bool:
    return set(value) == {"median", "low", "high"} and 0 < value["low"] <= value["median"] <= value["high"]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_trainer_is_measured_and_nothing_is_left(bench: Bench, fakes: Path, temporary: Path) -> None:
    cache = Path(os.environ["PNEUMO_CACHE"])
    before = files(fakes), files(cache)
    generator = torch.get_rng_state()
    content = bench("fake", *SMALL)
    assert (files(fakes), files(cache)) == before
    assert files(temporary) == []
    assert torch.equal(torch.get_rng_state(), generator)
    (row,) = content["trainers"]
    assert (row["trainer"], row["batch_size"], row["image_size"], row["precision"]) == ("fake", 8, 32, "fp32")
    assert set(row["images_per_second"]) == {"bare", "step", "epoch", "loader", "evaluation", "forward"}
    assert all(map(is_rate, row["images_per_second"].values()))
    assert all(map(is_rate, row["ratios"].values()))
    assert set(row["ratios"]) == {"step/bare", "epoch/bare"}
    assert set(row["share_of_product"]) == {"bare", "step", "epoch"}
    assert row["bare_loop"] == "torch calls alone"
    assert row["not_measured"] == {}
    assert set(row["product"]) == {"fp32"}
    assert row["checkpoint"]["bytes"] > 0
    assert row["decoding"] > 0
    assert set(row["memory"]) == {"before", "added"}
    assert row["memory"]["before"] > 50_000_000 < row["memory"]["before"] + row["memory"]["added"]
    assert set(content["start"]) == {"version", "torch", "first_step"}
    assert content["load"]["cores"] >= 1
    assert content["machine"]["threads"] == 1
    assert content["command"].endswith("--json")


def test_other_trainers_are_compared_with_their_own_step(bench: Bench) -> None:
    (row,) = bench("duel", *SMALL)["trainers"]
    assert row["bare_loop"].startswith("the trainer's train_step")
    assert is_rate(row["ratios"]["epoch/bare"])
    assert "optimizer" not in str(row["not_measured"])


def test_what_cannot_be_measured_is_named_in_words_of_pneumo(
    bench: Bench, install: Callable[..., None], temporary: Path
) -> None:
    source = (
        "import threading\n"
        "import torch\n"
        "from torch import nn\n"
        "from pneumo_cli.api import Preset, TrainerSpec, hookimpl\n"
        "from pneumo_cli.evaluation import Evaluation\n"
        "from pneumo_cli.trainers import Trainer\n"
        "api_version = 1\n"
        "class Pairs(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer, self.lock = nn.Linear(1, 1), threading.Lock()  # which cannot be copied\n"
        "    def forward(self, images, scale):\n"
        "        return self.layer(images.mean((1, 2, 3))[:, None] * scale)\n"
        "class PairTrainer(Trainer):\n"
        "    def build_model(self, run):\n"
        "        return Pairs()\n"
        "    def build_optimizers(self, run):\n"
        "        return {'model': torch.optim.SGD(run.model.parameters(), lr=0.1)}\n"
        "    def train_step(self, run, batch):\n"
        "        loss = run.model(batch.images, 2.0).square().mean()\n"
        "        run.optimize(loss, 'model')\n"
        "        return {'loss': loss.detach()}\n"
        "    def evaluate(self, run, loader):\n"
        "        images = sum(len(batch.index) for batch in loader.iterate())\n"
        "        return Evaluation(metrics={'loss': float(images)}, outputs={})\n"
        "@hookimpl\n"
        "def register_trainers():\n"
        "    yield TrainerSpec(name='pairs', summary='Takes two', trainer='pairs_plugin:PairTrainer',\n"
        "        kind='classifier', settings='pneumo_cli.settings:TrainerSettings', model='tiny-net',\n"
        "        presets=(Preset(name='source', summary='None'),))\n"
    )
    install("pneumo-pairs", {"pairs": "pairs_plugin"}, {"pairs_plugin": source})
    (row,) = bench("pairs", "--dataset", "tiny", *SMALL)["trainers"]
    assert set(row["images_per_second"]) == {"step", "epoch", "loader", "evaluation"}
    assert row["ratios"] == {}
    assert row["not_measured"]["forward"] == "the model takes something else than a batch of images"
    assert row["not_measured"]["bare"].startswith("its step needs what the runner does around it: TypeError")


def test_without_a_trainer_the_machine_is_measured_as_it_is_told(
    pneumo: Callable[..., Invocation], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", f"{disabled('pneumo-bench')},fake")
    ended = pneumo("bench", "--seconds", 0.01, "--device", "cuda:99", "--threads", 1)
    assert ended.code == 2
    assert ended.stdout == ""
    monkeypatch.setenv("PNEUMO_PRECISION", "fp32")
    ended = pneumo("bench", "--seconds", 0.01, "--device", "cpu", "--threads", 1, "--json")
    assert ended.code == 0, ended.stderr
    content = json.loads(ended.stdout)
    assert content["trainers"] == []
    assert content["machine"]["device"] == "cpu"
    assert set(content["product"]) == {"fp32"}


def test_memory_is_what_is_added_and_not_what_was_held_before() -> None:
    held = torch.ones(50_000_000)  # of the user's notebook
    memory = Memory(torch.device("cpu"))
    nothing = memory.content()
    further = torch.ones(25_000_000)
    added = memory.content()
    if nothing is None or added is None:
        pytest.skip("this system does not tell")
    assert nothing["before"] > held.nbytes
    assert nothing["added"] < 20_000_000
    assert 0.9 * further.nbytes < added["added"] < 1.5 * further.nbytes


def test_operations_are_those_of_a_convolution_counted_by_hand(bench: Bench) -> None:
    (row,) = bench("fake", "--model", "plain-net", *SMALL)["trainers"]
    counted = row["gflop_per_image"] * 1e9
    network = pneumo_plain_net()
    forward = 0
    images = torch.zeros(1, 3, 32, 32)
    for layer in network:
        after = layer(images)
        if isinstance(layer, torch.nn.Conv2d):
            kernel = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
            once = 2 * kernel * after.numel()
            # Backward: the gradient of the weights; that of the input only behind the first layer.
            forward += once * (2 if layer.in_channels == 3 else 3)
        elif isinstance(layer, torch.nn.Linear):
            forward += 3 * 2 * layer.in_features * layer.out_features
        images = after
    assert counted == pytest.approx(forward, rel=1e-3)


def pneumo_plain_net() -> Any:
    from pneumo_fake.models import plain_net  # type: ignore[import-not-found]

    return plain_net()


def test_all_trainers_and_the_machine(bench: Bench, install: Callable[..., None], temporary: Path) -> None:
    source = (
        "from pneumo_cli.api import Preset, TrainerSpec, hookimpl\n"
        "api_version = 1\n"
        "@hookimpl\n"
        "def register_trainers():\n"
        "    yield TrainerSpec(name='wreck', summary='Fails', trainer='absent:Trainer', kind='classifier',\n"
        "        settings='pneumo_fake.settings:FakeSettings', model='tiny-net',\n"
        "        presets=(Preset(name='source', summary='None'),))\n"
    )
    install("pneumo-wreck", {"wreck": "wreck_plugin"}, {"wreck_plugin": source})
    content = bench()
    rows = {row["trainer"]: row for row in content["trainers"]}
    assert "cannot be made from absent:Trainer" in rows["wreck"]["problem"]
    assert is_rate(rows["fake"]["ratios"]["epoch/bare"])
    assert rows["fake"]["preset"] == "quick"
    assert is_rate(content["copy"])
    assert is_rate(content["product"]["fp32"])
    assert content["decoding"]["images"] == "a gray JPEG of 1500 x 1200 px, to 256 px"
    assert files(temporary) == []


def test_an_earlier_result_is_compared_and_replaced(
    bench: Bench, pneumo: Callable[..., Invocation], fakes: Path
) -> None:
    bench("fake", *SMALL, "--output", "before.json")
    before = json.loads((fakes / "before.json").read_text())
    content = bench("fake", *SMALL, "--against", "before.json", "--output", "before.json")
    assert json.loads((fakes / "before.json").read_text()) == content
    values = content["against"]["values"]
    one = values["fake epoch images/s"]
    assert one["before"] == before["trainers"][0]["images_per_second"]["epoch"]["median"]
    assert one["ratio"] == pytest.approx(one["now"] / one["before"], rel=0.01)
    assert content["against"]["differs"] == []
    assert content["against"]["date"] == before["date"]
    assert [path.name for path in fakes.iterdir()] == ["before.json"]


def test_in_python_it_is_the_same_and_prints_as_tables(fakes: Path, temporary: Path) -> None:
    result = pneumo_cli.bench(
        "fake", seconds=0.01, image_size=32, batch_size=8, precision="fp32", threads=1, progress=False
    )
    text = repr(result)
    assert "training step" in text
    assert "The bare loop is torch calls alone" in text
    (row,) = result.content["trainers"]
    assert set(row["ratios"]) == {"step/bare", "epoch/bare"}
    assert result.content["command"].startswith("pneumo bench fake --seconds 0.01")
    assert "first_step" not in text
    assert files(temporary) == []


def test_a_long_measurement_is_cut_into_rounds_of_a_few_seconds() -> None:
    asked: list[int] = []

    def work(repetitions: int) -> float:
        asked.append(repetitions)
        return 1.0

    measure({"work": work}, 100.0, torch.device("cpu"), lambda: None)
    assert asked[:2] == [1, 1]
    assert len(asked[2:]) == 20  # rounds of five seconds, between which a signal is seen


def test_a_program_that_does_not_start_or_is_interrupted() -> None:
    failing = [sys.executable, "-c", "raise SystemExit(1)"]
    assert _started(failing, 0.1, lambda: None) is None

    checks = iter([None, Interrupted("by a signal", 130)])

    def check() -> None:
        if (error := next(checks)) is not None:
            raise error

    with pytest.raises(Interrupted):
        _started(failing, 0.1, check)


def test_the_start_of_a_program_is_not_that_of_a_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert all(start_seconds(0.01, lambda: None).values())


@pytest.mark.parametrize("words", [["bench", "--help"], ["bench", "fake", "--help-all"]])
def test_help_imports_nothing_heavy(fakes: Path, words: list[str]) -> None:
    code = (
        "import sys\n"
        "from pneumo_cli.cli.main import main\n"
        f"sys.argv = ['pneumo', *{words}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print({'torch', 'matplotlib', 'pneumo_bench.bench'} & set(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--against" in done.stdout
    assert done.stderr == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_nothing_left(processes: ProcessServer, tmp_path: Path, number: int) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    process = processes.start(
        work,
        *("bench", "fake", *SMALL, "--seconds", "60", "--threads", "1"),
        TMPDIR=str(temporary),
        PNEUMO_DISABLE_PLUGINS=disabled("pneumo-bench"),
    )
    until = time.monotonic() + 200
    while "training, evaluation" not in (said := "".join(one.read_text() for one in work.glob(".stderr*"))):
        assert time.monotonic() < until, said
        time.sleep(0.05)
    os.kill(process, number)
    ended = processes.wait(process)
    assert ended.code == 128 + number
    assert ended.stderr.splitlines()[-1] == "pneumo: interrupted; nothing is kept"
    assert files(temporary) == []
    assert all(path.name.startswith(".std") for path in work.iterdir())
