"""Who works on which trial."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo_sweep import study
from pneumo_sweep.plan import Plan
from pneumo_sweep.space import Choices, Range, Space
from pneumo_sweep.storage import open_storage, parsed
from pneumo_sweep.study import FINISHED, Presence, Stage, is_alive, owner_of, slots_of

PLAN = Plan(Space((Choices("lr", tuple(n / 100 for n in range(1, 31))),)), 1, 42, "auc", "max", study="test")
_CLAIM = """
import json, sys
from pneumo_sweep.plan import Plan
from pneumo_sweep.space import Space
from pneumo_sweep.storage import open_storage, parsed
from pneumo_sweep.study import Presence, Stage, owner_of
from pathlib import Path
stage = Stage(open_storage(parsed(sys.argv[1])), "test/trials", Plan(Space(), 1, 42, "auc", "max"), 3)
mine = []
print("ready", flush=True)
sys.stdin.readline()
with Presence(Path(sys.argv[2])) as presence:
    for trial in stage.unfinished():
        if owner_of(trial) is None and stage.swap_owner(trial, None, presence.signature()):
            mine.append(trial.number)
    print(json.dumps(mine), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return make(tmp_path)


def make(folder: Path, plan: Plan = PLAN) -> Stage:
    storage = open_storage(parsed(f"sqlite:///{folder / 'study.db'}"))
    return Stage.create(storage, "test/trials", plan, 3, slots_of(plan), {"trainer": "fake"})


def claimers(folder: Path, count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _CLAIM, f"sqlite:///{folder / 'study.db'}", str(folder / "workers")]
    found = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for one in found:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    return found


def go_on(one: subprocess.Popen[str]) -> None:
    assert one.stdin is not None
    one.stdin.write("\n")
    one.stdin.flush()


def test_no_two_processes_have_one_trial_and_those_of_a_killed_one_are_free(
    stage: Stage, tmp_path: Path
) -> None:
    first, second = claimers(tmp_path, 2)
    for one in (first, second):
        go_on(one)
    taken = [json.loads(one.stdout.readline()) for one in (first, second) if one.stdout is not None]
    assert sorted(taken[0] + taken[1]) == list(range(30))
    with Presence(tmp_path / "workers") as presence:
        assert not any(presence.is_free(trial) for trial in stage.unfinished())
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert [trial.number for trial in stage.unfinished() if presence.is_free(trial)] == taken[0]
    go_on(second)
    for one in (first, second):
        one.communicate()


def test_a_trial_is_taken_over_once(stage: Stage) -> None:
    trial = stage.unfinished()[0]
    assert stage.swap_owner(trial, None, "elsewhere dead 1")
    assert stage.swap_owner(trial, "elsewhere dead 1", "here a 1")
    assert not stage.swap_owner(trial, "elsewhere dead 1", "here b 1")
    assert owner_of(stage.unfinished()[0]) == "here a 1"


def test_a_worker_elsewhere_is_dead_when_it_is_silent(stage: Stage, tmp_path: Path) -> None:
    trial = stage.unfinished()[0]
    stage.swap_owner(trial, None, "elsewhere w 1")
    clock = [1000.0]
    with Presence(tmp_path / "workers") as presence:

        def free() -> bool:
            return presence.is_free(stage.unfinished()[0], lambda: clock[0])

        assert not free()
        clock[0] += study.SILENT_SECONDS - 1
        assert not free()
        stage.swap_owner(trial, "elsewhere w 1", "elsewhere w 2")
        clock[0] += 2
        assert not free()
        clock[0] += study.SILENT_SECONDS + 1
        assert free()


def test_a_worker_that_stops_leaves_no_file(tmp_path: Path) -> None:
    with Presence(tmp_path / "workers"):
        (file,) = (tmp_path / "workers").iterdir()
        assert is_alive(file)
        assert file.read_text() == f"{os.getpid()}\n"
    assert not is_alive(file)
    assert not list((tmp_path / "workers").iterdir())


def test_a_study_of_another_sweep_is_refused(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(study.UsageError, match="has a study 'test/trials' of another sweep"):
        Stage.create(stage.storage, "test/trials", PLAN, 3, [], {"trainer": "other"})


def test_a_sweep_that_was_killed_while_its_trials_were_made_has_the_rest(tmp_path: Path) -> None:
    storage = open_storage(parsed(f"sqlite:///{tmp_path / 'study.db'}"))
    slots = slots_of(PLAN)
    for part in (slots[:7], slots):
        stage = Stage.create(storage, "test/trials", PLAN, 3, part, {"trainer": "fake"})
    assert [trial.params["lr"] for trial in stage.trials()] == [slot.settings["lr"] for slot in slots]


def test_tpe_draws_are_kept_for_who_takes_over(tmp_path: Path) -> None:
    plan = Plan(Space(search=(Range("lr", 1e-4, 1.0, log=True),)), 2, 42, "auc", "max", sampler="tpe")
    stage = make(tmp_path, plan)
    drawn = stage.begin(stage.unfinished()[0]).settings
    assert stage.begin(stage.unfinished()[0]).settings == drawn
    stage.finish(stage.unfinished()[0], FINISHED, 0.5)
    assert stage.begin(stage.unfinished()[0]).settings != drawn
