"""Turns of threads: what belongs to the whole process is kept for each."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest
import torch

from pneumo_cli.runtime.signals import Interruption, interruptible
from pneumo_cli.runtime.threads import ordered_map
from pneumo_cli.runtime.turns import Turns, kept_state, kept_switches


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """What a test changes ends with it."""
    put_back = kept_state()
    yield
    put_back()


def draws() -> tuple[object, ...]:
    return random.random(), float(np.random.random()), torch.rand(2).tolist()


def switches() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.get_deterministic_debug_mode(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )


def test_what_a_run_changes_is_put_back() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True  # a command in this process may have left it otherwise
    torch.backends.cudnn.benchmark = False
    before = switches()
    put_back, expected = kept_state(), None
    for _ in range(2):
        filters = list(warnings.filters)
        if expected is None:
            expected = draws()
        else:
            assert draws() == expected
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        warnings.simplefilter("ignore", FutureWarning)
        put_back()
        assert switches() == before
        assert list(warnings.filters) == filters


def test_a_program_may_use_the_newer_names_of_torchs_precision() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    put_back = kept_state()
    torch.backends.cuda.matmul.allow_tf32 = False  # as a run in fp32 does
    put_back()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_each_thread_draws_as_if_it_were_alone() -> None:
    turns, drawn = Turns(), {0: list[object](), 1: list[object]()}

    def work(seed: int) -> None:
        with turns.taken():
            random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
            torch.set_num_threads(1 + seed)
            for _ in range(4):
                drawn[seed].append((draws(), torch.get_num_threads()))
                turns.pass_on()

    def in_threads(call: Callable[[int], None]) -> None:
        threads = [threading.Thread(target=call, args=(seed,)) for seed in drawn]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    put_back = kept_state()
    before = draws()
    put_back()
    for seed in drawn:
        work(seed)
    alone = {seed: values.copy() for seed, values in drawn.items()}
    for values in drawn.values():
        values.clear()
    in_threads(work)
    assert drawn == alone
    assert draws() == before  # the program's own numbers go on


def test_a_turn_in_a_turn_is_put_back_to_the_outer_one() -> None:
    turns = Turns()
    with turns.taken():
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        with turns.taken():
            torch.manual_seed(4)
            turns.pass_on()
        assert torch.equal(torch.rand(1), expected)


def test_threads_that_work_for_a_run_compute_in_its_turn() -> None:
    turns, end = Turns(), time.monotonic() + 5
    benchmark = torch.backends.cudnn.benchmark
    order: list[object] = []

    def in_time() -> bool:
        return time.monotonic() > end

    def read(number: int) -> bool:
        with turns.taken(in_time) as begun:
            torch.backends.cudnn.benchmark = not benchmark
            turns.pass_on()  # is the run's to give away
            order.append(number)
            return begun

    def other_work() -> None:
        with turns.taken(in_time) as begun:
            order.append(begun)

    with interruptible(Interruption()), turns.taken():
        other = threading.Thread(target=other_work)
        other.start()
        while not turns._waiting:
            pass
        with closing(ordered_map(read, range(4))) as found:
            assert list(found) == [True] * 4
        assert torch.backends.cudnn.benchmark == benchmark
        assert set(order) == set(range(4))
        turns.pass_on()
        assert order[4:] == [True]
    other.join(10)


def test_the_turn_is_free_after_a_generator_could_not_be_put_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(state: object) -> None:
        raise RuntimeError("CUDA error")

    turns, threads = Turns(), torch.get_num_threads()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "set_rng_state", fail)
        with turns.taken():
            torch.set_num_threads(threads + 1)
            random.seed(0)
    assert torch.get_num_threads() == threads  # what comes after it is put back
    assert "RuntimeError: CUDA error" in caplog.text
    with turns.taken(lambda: True) as begun:
        assert begun


def test_the_turn_is_free_after_a_thread_that_failed_as_it_got_it(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, errors = Turns(), list[BaseException]()

    def fail(dtype: object) -> None:
        if threading.current_thread() is waiting:
            raise KeyboardInterrupt

    def work() -> None:
        try:
            with turns.taken():
                pass
        except KeyboardInterrupt as error:
            errors.append(error)

    waiting = threading.Thread(target=work)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "set_default_dtype", fail)
        with turns.taken():
            waiting.start()
            while not turns._waiting:
                pass
        waiting.join(10)
    assert len(errors) == 1
    with turns.taken(lambda: True) as begun:
        assert begun


def test_switches_are_kept_without_the_generators() -> None:
    threads, put_back = torch.get_num_threads(), kept_switches()
    expected = draws()
    torch.set_num_threads(threads + 1)
    put_back()
    assert torch.get_num_threads() == threads
    assert draws() != expected


def test_the_turn_is_free_after_an_error() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns.taken():
        raise KeyError
    with turns.taken() as begun:
        assert begun


def test_a_program_with_another_default_dtype_does_not_change_the_work() -> None:
    turns = Turns()
    torch.set_default_dtype(torch.float64)
    with turns.taken():
        assert torch.zeros(1).dtype == torch.float32
    assert torch.zeros(1).dtype == torch.float64
