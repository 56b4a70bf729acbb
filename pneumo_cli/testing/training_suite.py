"""The tests of what may differ between runs: precision, ranks, seeds, memory.

For trainers, and for extensions, which change the steps of one.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.testing.bits import Values, different, values_of
from pneumo_cli.testing.contract import ensure, keeping, some
from pneumo_cli.testing.run_suite import EARLY, EPOCHS, RunConformance, Trained
from pneumo_cli.testing.runs import DiesAt, Small, run_until
from pneumo_cli.testing.two_ranks import train_on_two_ranks

_FIRST, _LAST = 2, 4  # epochs before which memory is compared; what is made once is there by then
_GROWTH = 2**20  # bytes that Python may use more after these epochs, for the history and the like


class TrainingConformance(RunConformance):
    """The tests of one run, and of others beside it."""

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_it_trains_in_each_precision(
        self, plugins: Plugins, small: Small, trained: Trained, precision: str
    ) -> None:
        rule = f"two steps in {precision} run, and the weights stay finite"
        mend = "make no tensors of a fixed dtype, and compute losses of logits.float()"
        run = trained.runner.run
        if run.device.precision != precision:
            with keeping(rule, mend):
                run = run_until(DiesAt(*EARLY), plugins, small.resolved(epochs=1, precision=precision)).run
        bad = [name for name, p in run.model.named_parameters() if not torch.isfinite(p).all()]
        ensure(not bad, rule, f"{some(bad)} are not finite", mend)

    def test_two_ranks_agree(self, plugins: Plugins, small: Small) -> None:
        flags = {k: v for k, v in small.flags(epochs=1, threads=1).items() if v is not None}
        one, other = train_on_two_ranks(small.entry.qualified_name, flags)
        errors = [end.error for end in (one, other) if end.error]
        ensure(
            not errors,
            "a run on two ranks ends",
            "; ".join(errors),
            "call run.optimize and run.gather equally often on all ranks, and write files on run.ranks.first alone",
        )
        ensure(
            one.weights == other.weights,
            "all ranks have the same weights after an epoch",
            "they differ",
            "update through run.optimize, which sums gradients over all ranks, and take what differs between ranks "
            "into no parameter",
        )
        ensure(
            json.dumps(one.history) == json.dumps(other.history),
            "all ranks compute the same metrics, of all images",
            f"one has {one.history[-1]}, the other {other.history[-1]}",
            "compute metrics from run.gather(outputs), which has the outputs of all ranks, not from this rank's",
        )
        ensure(
            one.index is None or sorted(one.index) == list(one.images),
            "an evaluation has outputs of every image once",
            f"it has {len(one.index or ())} outputs of {len(one.images)} images",
            'return run.gather(outputs) as outputs, with the batches\' "index"',
        )

    def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(
        self, plugins: Plugins, small: Small, trained: Trained
    ) -> None:
        def again(place: str, seed: int) -> Values:
            with keeping("two steps of training end", "mend what train_step raises"):
                resolved = small.resolved(place, epochs=EPOCHS, seed=seed)
                return values_of(run_until(DiesAt(*EARLY), plugins, resolved).run.model)

        seed = trained.runner.run.settings.seed
        same, other = again("same", seed), again("other", seed + 1)
        changed = different(trained.early, same)
        ensure(
            not changed,
            "two runs with the same seed give the same weights",
            f"{some(changed)} differ",
            "take random numbers from torch's or numpy's global generator, which are seeded before each step, or "
            "from one seeded with run.settings.seed; not from time, hash() or the order of a set",
        )
        ensure(
            different(same, other),
            "the setting seed decides the random numbers",
            "another seed gives the same weights",
            "do not call torch.manual_seed; use run.settings.seed for generators of your own",
        )

    def test_memory_does_not_grow_from_epoch_to_epoch(self, plugins: Plugins, small: Small) -> None:
        memory = _Memory()
        tracemalloc.start()
        try:
            with keeping("some epochs of training end", "mend what the trainer raises"):
                run_until(DiesAt(_LAST, 1), plugins, small.resolved(epochs=_LAST), memory)
        finally:
            tracemalloc.stop()
        mend = "keep no batches, outputs or losses on self beyond the epoch; keep float(loss) or nothing"
        tensors, used = (row[_LAST] - row[_FIRST] for row in (memory.tensors, memory.used))
        rule = "an epoch leaves no memory behind"
        ensure(tensors < 2, rule, f"{tensors} more tensors after two more epochs", mend)
        ensure(used < _GROWTH, rule, f"{used:,} more bytes after two more epochs", mend)


class _Memory:
    """What is in memory before two epochs: tensors, and bytes that Python and numpy hold."""

    def __init__(self) -> None:
        self.tensors: dict[int, int] = {}
        self.used: dict[int, int] = {}

    @hookimpl
    def epoch_started(self, run: Any) -> None:
        if run.epoch in (_FIRST, _LAST):
            gc.collect()
            self.tensors[run.epoch] = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
            self.used[run.epoch] = tracemalloc.get_traced_memory()[0]
