"""Work shared with copies of the process: results, failures, copies that die or hang, and what is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runtime.side_by_side import SideBySide

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux only")

_BEGIN = """
import json, os, signal, sys, time
from pneumo_cli.runtime import side_by_side
from pneumo_cli.runtime.side_by_side import SideBySide
first = os.getpid()
"""
_END = """
try:
    os.waitpid(-1, os.WNOHANG)
    left = True
except ChildProcessError:
    left = False
print(json.dumps({**result, "left": left, "open": len(os.listdir("/proc/self/fd"))}))
"""


def ran(script: str, *, code: int = 0) -> dict[str, Any]:
    """What a script leaves in ``result``, run in a process of one thread, as copies need it."""
    command = [sys.executable, "-c", _BEGIN + script + _END]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1]) if ended.stdout else {}
    return {**result, "stdout": ended.stdout, "stderr": ended.stderr}


def test_pieces_are_done_by_several_processes_and_come_back_in_order() -> None:
    found = ran(
        """
before = len(os.listdir("/proc/self/fd"))
def piece(n):
    time.sleep(0.02)
    return n, os.getpid()
steps = []
print("buffered")
with SideBySide([lambda n=n: piece(n) for n in range(40)], 3) as work:
    results = work.results(steps.append)
result = {"order": [n for n, _ in results], "processes": len({p for _, p in results}), "steps": sum(steps)}
result["before"] = before
"""
    )
    assert found["order"] == list(range(40))
    assert found["processes"] == 3
    assert found["steps"] == 40
    assert not found["left"]
    assert found["open"] == found["before"]
    assert found["stdout"].count("buffered") == 1


def test_a_piece_that_fails_in_a_copy_is_done_again_here_and_its_error_is_raised_here() -> None:
    found = ran(
        """
def piece(n):
    time.sleep(0.01)
    if os.getpid() != first:
        if n % 3 == 0:
            raise ValueError("not in a copy")
        if n % 3 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(3)
    return lambda: n  # cannot be pickled either
with SideBySide([lambda n=n: piece(n) for n in range(20)], 4) as work:
    values = [one() for one in work.results()]
def fails():
    raise ZeroDivisionError
errors = []
def here(piece):
    try:
        return piece()
    except ZeroDivisionError as error:
        errors.append(os.getpid())
        return "in its place"
with SideBySide([fails] * 4, 2, here) as work:
    replaced = work.results()
raised = ""
try:
    with SideBySide([fails] * 4, 2) as work:
        work.results()
except ZeroDivisionError as error:
    raised = type(error).__name__
result = {"values": values, "replaced": replaced, "here": errors == [first] * 4, "raised": raised}
"""
    )
    assert found["values"] == list(range(20))
    assert found["replaced"] == ["in its place"] * 4
    assert found["here"]
    assert found["raised"] == "ZeroDivisionError"
    assert not found["left"]


def test_a_result_that_cannot_be_pickled_does_not_change_the_next_one() -> None:
    found = ran(
        """
def piece(n):
    time.sleep(0.002)
    if n % 3 == 0 and os.getpid() != first:
        return [b"x" * 200_000, f"lost-{n}", lambda: 0]
    name = f"name-{n}"
    return [name, ("pair", name), name]
with SideBySide([lambda n=n: piece(n) for n in range(40)], 2) as work:
    result = {"values": work.results()}
"""
    )
    assert found["values"] == [[f"name-{n}", ["pair", f"name-{n}"], f"name-{n}"] for n in range(40)]


def test_a_copy_that_is_stopped_removes_what_it_has_half_written(tmp_path: Path) -> None:
    found = ran(
        f"""
from pathlib import Path
from pneumo_cli.runtime import atomic
folder = Path({str(tmp_path)!r})
def piece(n):
    if os.getpid() == first:
        while not list(folder.iterdir()):
            time.sleep(0.01)
        raise KeyboardInterrupt
    with atomic.replace_file(folder / f"{{n}}") as handle:
        handle.write(b"half")
        handle.flush()
        time.sleep(60)
try:
    with SideBySide([lambda n=n: piece(n) for n in range(4)], 2) as work:
        work.results()
except KeyboardInterrupt:
    result = {{"found": [file.name for file in folder.iterdir()]}}
"""
    )
    assert found["found"] == []
    assert not found["left"]


def test_a_copy_that_hangs_is_killed_and_its_piece_done_here() -> None:
    found = ran(
        """
side_by_side._PATIENCE = 0.3
def piece(n):
    while os.getpid() != first:
        time.sleep(60)
    time.sleep(0.02)
    return n
with SideBySide([lambda n=n: piece(n) for n in range(8)], 2) as work:
    result = {"values": work.results()}
"""
    )
    assert found["values"] == list(range(8))
    assert not found["left"]


def test_work_that_is_stopped_leaves_no_copy() -> None:
    found = ran(
        """
def stop(count):
    raise KeyboardInterrupt
try:
    with SideBySide([lambda: time.sleep(0.2)] * 10, 2) as work:
        work.results(stop)
except KeyboardInterrupt:
    result = {"stopped": True}
"""
    )
    assert found["stopped"]
    assert not found["left"]


def test_torch_computes_the_same_in_a_copy_whose_threads_are_not_there() -> None:
    found = ran(
        """
import torch
torch.set_num_threads(2)
def piece(n):
    torch.manual_seed(n)
    values = torch.randn(4, 3, 128, 128)
    return torch.nn.functional.interpolate(values, size=200, mode="bilinear").sum().item()
pieces = [lambda n=n: piece(n) for n in range(12)]
alone = [one() for one in pieces]  # so that torch's threads run before the copies are made
with SideBySide(pieces, 2) as work:
    result = {"alone": alone, "shared": work.results()}
"""
    )
    assert found["shared"] == pytest.approx(found["alone"], rel=1e-5)


def test_beside_other_threads_and_for_few_pieces_no_copy_is_made(tmp_path: Path) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    marks: list[int] = []
    try:
        with SideBySide([lambda n=n: marks.append(n) for n in range(6)], 4) as work:  # type: ignore[misc]
            work.results()
    finally:
        ended.set()
        thread.join()
    assert marks == list(range(6))
    found = ran(
        """
with SideBySide([os.getpid] * 3, 8) as work:
    result = {"one": set(work.results()) == {first}}
with SideBySide([], 8) as work:
    result["none"] = work.results()
"""
    )
    assert (found["one"], found["none"]) == (True, [])
