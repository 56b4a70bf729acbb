"""What a program finds after pneumo's functions is what was there before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SNAPSHOT = """
import json, logging, os, random, signal, sys, threading, warnings

import matplotlib, numpy, torch


def state():
    root, own = logging.getLogger(), logging.getLogger("pneumo")
    return {
        "root logger": (root.level, root.handlers[:], root.filters[:]),
        "logger of pneumo": (own.level, own.handlers[:], own.filters[:], own.propagate),
        "last resort": logging.lastResort,
        "streams": tuple(map(id, (sys.stdin, sys.stdout, sys.stderr, sys.excepthook, sys.displayhook))),
        "descriptors": tuple(os.fstat(number)[:3] for number in (0, 1, 2)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path[:],
        "handlers of signals": [signal.getsignal(one) for one in sorted(signal.valid_signals())],
        "filters of warnings": [(one[0], str(one[1]), one[2], str(one[3]), one[4]) for one in warnings.filters],
        "matplotlib": (matplotlib.rcParams.copy(), logging.getLogger("matplotlib").level),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "random numbers": (random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()),
        "dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "precision": (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        ),
        "determinism": (torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark),
    }


def differences(before):
    now = state()
    return [name for name in now if now[name] != before[name]]
"""

FUNCTIONS = """
import warnings

warnings.simplefilter("ignore", BytesWarning)
before = state()
import pneumo_cli as pneumo
from pneumo_cli.api import hookimpl

imported = differences(before)


class Interfering:
    @hookimpl
    def epoch_finished(self, run):
        random.seed(0)
        torch.use_deterministic_algorithms(True)
        logging.getLogger("pneumo").warning("from the run")
        print("printed by an observer")


random.seed(5), numpy.random.seed(5), torch.manual_seed(5)
torch.set_num_threads(2)
torch.set_default_dtype(torch.float64)
before = state()
result = pneumo.run("duel", epochs=1, threads=1, precision="fp32", observers=[Interfering()])
trained = differences(before)
pneumo.resume(result.folder, epochs=2, observers=[Interfering()], progress=False)
pneumo.evaluate(result, on="validation", progress=False)
result.metrics, result.history, result.settings, repr(result), pneumo.runs("runs")
pneumo.models(), pneumo.datasets(), pneumo.trainers(), pneumo.settings("fake")
used = differences(before)
"""

FAILURES = """
class Breaking:
    @hookimpl
    def step_finished(self, run):
        for parameter in run.model.parameters():
            parameter.data.fill_(float("nan"))


before = state()
for settings in ({"epochs": -1}, {"observers": [Breaking()]}, {"model": "leaving"}):
    try:
        pneumo.run("fake", report=False, progress=False, **settings)
    except pneumo.PneumoError as error:
        print(type(error).__name__, error, file=sys.stderr)
failed = differences(before)
print(json.dumps([imported, trained, used, failed]))
"""

LEAVING = """
import sys
from pneumo_cli.api import ModelSpec, hookimpl

api_version = 1

@hookimpl
def register_models():
    yield ModelSpec(name="leaving", kind="classifier", summary="Ends the program", factory="leaving:make")

def make(channels=3, outputs=1):
    sys.exit(0)
"""


def test_nothing_of_the_process_changes(processes: Any, tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    script = tmp_path / "script.py"
    script.write_text(SNAPSHOT + FUNCTIONS + FAILURES)
    ended = processes.wait(
        processes.start(tmp_path, script=script, PNEUMO_PLUGINS=str(tmp_path / "leaving.py"))
    )
    assert ended.code == 0, ended.stderr
    *printed, last = ended.stdout.splitlines()
    assert json.loads(last) == [[], [], [], []]
    assert printed == ["printed by an observer"] * 3  # where the program prints
    assert ended.stderr.splitlines().count("pneumo: from the run") == 2  # not where no progress is shown
    refused, diverged, left = ended.stderr.splitlines()[-3:]
    assert refused.startswith("UsageError epochs = ")
    assert diverged.startswith("PneumoError epoch 1: the loss is not finite")
    assert "SystemExit" in left


MANY = """
import gc, os, sys, threading

import psutil
import pneumo_cli as pneumo

own = psutil.Process()
measured = []
for number in range(20):
    pneumo.run("fake", epochs=1, seed=number, report=number % 4 == 0, progress=False)
    gc.collect()
    measured.append((own.memory_info().rss / 2**20, own.num_fds(), threading.active_count()))
print(measured)
"""


@pytest.mark.slow
def test_many_runs_in_one_process_do_not_add_up(processes: Any, tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    script = tmp_path / "script.py"
    script.write_text(MANY)
    ended = processes.wait(processes.start(tmp_path, script=script))
    assert ended.code == 0, ended.stderr
    measured = json.loads(ended.stdout.replace("(", "[").replace(")", "]"))
    memory, files, threads = zip(*measured, strict=True)
    assert len(set(files[2:])) == 1
    assert len(set(threads[2:])) == 1
    assert memory[-1] - memory[9] < 10  # MiB
