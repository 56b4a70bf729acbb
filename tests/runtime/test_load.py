"""How many cores others keep busy, from samples of ``/proc/stat``, and the number of threads that follows."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumo_cli.runtime import load, threads
from pneumo_cli.runtime.load import Look, busy_seconds, choice, others

STAT = """cpu  900 90 500 4000 30 5 20 40 0 0
cpu0 400 50 200 2000 10 2 10 30 7 0
cpu1 500 40 300 2000 20 3 10 10 7 0
intr 12345 0 0
ctxt 99
"""


def test_busy_are_user_system_interrupts_and_stolen_time() -> None:
    assert busy_seconds(STAT, {0}) == (400 + 200 + 2 + 10 + 30) / 100
    assert busy_seconds(STAT, {0, 1}) == (642 + 823) / 100
    assert busy_seconds(STAT, {1}, ticks=1000) == 823 / 1000


def test_low_priority_counts_only_for_a_process_of_low_priority_itself() -> None:
    assert busy_seconds(STAT, {0}, nice=True) == (642 + 50) / 100


@pytest.mark.parametrize("stat", ["", "cpu  1 2 3\n", "intr 5\ncpu0 1 2 3\n", "cpu0 a b c\n", "\n\n"])
def test_a_file_without_these_cores_says_nothing(stat: str) -> None:
    assert busy_seconds(stat, {0, 1}) is None


def test_a_line_of_an_old_kernel_may_have_fewer_columns() -> None:
    assert busy_seconds("cpu0 100 0 50 7 0\n", {0}) == 1.5


@pytest.mark.parametrize(
    ("busy", "own", "found"),
    [
        (2.0, 2.0, 0.0),  # this process alone, as with threads that decode on all cores
        (4.0, 2.0, 1.0),  # another one keeps a core busy
        (2.6, 2.0, 0.3),  # a short start of another program in between
        (1.0, 1.2, 0.0),  # the two clocks are not read at the same moment
    ],
)
def test_others_have_what_this_process_has_not(busy: float, own: float, found: float) -> None:
    last = Look(at=12.0, busy=100.0 + busy, own=50.0 + own)
    assert others(Look(at=10.0, busy=100.0, own=50.0), last) == pytest.approx(found)


@pytest.mark.parametrize(
    ("busy", "cores", "processes", "chosen"),
    [
        (0.0, 2, 1, 2),
        (0.6, 2, 1, 2),  # a burst
        (0.7, 2, 1, 1),
        (1.0, 2, 1, 1),
        (2.0, 2, 1, 1),  # never none
        (9.0, 2, 1, 1),
        (1.0, 8, 1, 7),
        (2.9, 8, 1, 5),
        (1.0, 8, 2, 3),  # of each of two processes
        (1.0, 2, 2, 1),
        (0.0, 2, 4, 1),
    ],
)
def test_the_free_cores_are_taken_and_shared(busy: float, cores: int, processes: int, chosen: int) -> None:
    assert choice(busy, cores, cores, processes).threads == chosen


def test_of_many_free_cores_a_container_takes_its_quota() -> None:
    assert choice(1.0, cores=64, usable=4).threads == 4
    assert choice(61.0, cores=64, usable=4).threads == 3
    assert choice(61.0, cores=64, usable=4).most == 4


def test_the_line_says_what_is_busy_and_how_to_take_all() -> None:
    assert choice(1.0, 2, 2).text == "one of 2 cores is busy: 1 thread; --threads 2 takes all"
    assert choice(3.0, 8, 8).text == "3 of 8 cores are busy: 5 threads; --threads 8 takes all"


def test_without_counters_all_cores_are_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "_STAT", str(tmp_path / "absent"))
    load.look()
    assert load.busy_cores() == 0.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not on Windows")
def test_a_forked_process_does_not_take_its_parents_work_for_that_of_others() -> None:
    load._looks.append(Look(at=time.monotonic(), busy=0.0, own=1e6))
    process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(len(load._looks)))
    process.start()
    process.join()
    load._looks.pop()
    assert process.exitcode == 0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux only")
def test_a_process_that_is_really_busy_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        load.look()
        time.sleep(0.3)
        seen = load.busy_cores(since_last=True)
        other.kill()
    assert seen > 0.1  # of the cores; how much depends on what else runs here


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"v2": "200000 100000\n"}, 2),
        ({"v2": "max 100000\n"}, None),
        ({"v2": "50000 100000\n"}, 0),  # usable_cores makes it one
        ({"v1": "300000\n", "period": "100000\n"}, 3),
        ({"v1": "-1\n", "period": "100000\n"}, None),
        ({"v2": "nonsense"}, None),
        ({}, None),
    ],
)
def test_quotas_of_both_versions_of_cgroups(
    files: dict[str, str], quota: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = ((str(tmp_path / "v2"),), (str(tmp_path / "v1"), str(tmp_path / "period")))
    monkeypatch.setattr(threads, "_QUOTAS", places)
    assert threads._quota() == quota
    assert 1 <= threads.usable_cores() <= threads.affine_cores()
