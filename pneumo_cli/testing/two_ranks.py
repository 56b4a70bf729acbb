"""One run on two ranks, each in a process of its own, and what each of them ends with.

The processes are forked from a server that has imported torch once (where the system can fork).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.distributed import join_ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.testing.runs import Died
from pneumo_cli.testing.workplace import installed_plugins
from pneumo_cli.trainers.session import open_run, set_up
from pneumo_cli.training.evaluation import evaluate_split
from pneumo_cli.training.runner import Runner

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

WORLD = 2
_SECONDS, _GRACE = 300.0, 10.0


@dataclass(frozen=True)
class RankEnd:
    """What a rank ends with.

    Attributes:
        weights: a digest of all parameters and buffers.
        history: the metrics of each epoch, by side.
        index: positions of the validation images that the evaluation gave outputs of; None: it gave none.
        images: positions of all validation images.
        error: why it failed, else empty.
    """

    weights: str = ""
    history: tuple[dict[str, Any], ...] = ()
    index: tuple[int, ...] | None = None
    images: tuple[int, ...] = ()
    error: str = ""


class _TrainingOnly(Runner):
    """Ends after the last epoch, on every rank."""

    def evaluate_best(self) -> NoReturn:
        raise Died


def train_on_two_ranks(trainer: str, flags: Mapping[str, Any]) -> list[RankEnd]:
    """Train on two ranks on the CPU.

    Args:
        trainer: its qualified name.
        flags: the settings.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if hasattr(context, "set_forkserver_preload"):
        # The first optimizer of a process imports torch._dynamo, which takes longer than the epoch.
        context.set_forkserver_preload([__name__, "torch._dynamo", "pneumo_cli.trainers.classification"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = []
    for rank in range(WORLD):
        ours, theirs = context.Pipe()
        environ = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = context.Process(target=_rank, args=(theirs, environ, trainer, dict(flags)))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        return _ends([pipe for _, pipe in started])
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _ends(pipes: list[Connection]) -> list[RankEnd]:
    """What the ranks send; where one fails, the others, which wait for it, soon count as failed, too."""
    ends = {pipe: RankEnd(error="it did not end") for pipe in pipes}
    waiting, deadline = list(pipes), time.monotonic() + _SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        for ready in wait(waiting, left):
            pipe = next(one for one in waiting if one is ready)
            waiting.remove(pipe)
            try:
                ends[pipe] = pipe.recv()
            except EOFError:
                ends[pipe] = RankEnd(error="its process died")
            if ends[pipe].error:
                deadline = min(deadline, time.monotonic() + _GRACE)
    return list(ends.values())


def _rank(
    pipe: Connection,
    environ: Mapping[str, str],
    trainer: str,
    flags: Mapping[str, Any],
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    try:
        pipe.send(_trained(installed_plugins(), trainer, flags))
    except BaseException as error:
        pipe.send(RankEnd(error=" ".join(f"{type(error).__name__}: {error}".split())))
    pipe.close()


def _trained(plugins: Plugins, trainer: str, flags: Mapping[str, Any]) -> RankEnd:
    resolved = resolve(plugins, plugins.trainers.get(trainer), flags, environ={})
    setup = set_up(plugins, resolved)
    ranks = join_ranks("cpu")
    runner = _TrainingOnly(open_run(setup, Progress(), ranks), setup.trainer, plugins.observing(), ["pneumo"])
    with suppress(Died):
        runner.start()
    run = runner.run
    digest = hashlib.sha256()
    for name, value in sorted(run.model.state_dict().items()):
        digest.update(name.encode() + value.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    index = None
    if len(run.data.split.validation):
        outputs = evaluate_split(
            run, runner.hooks, "validation", runner.loaders.evaluation("validation")
        ).outputs
        index = tuple(int(i) for i in outputs["index"]) if "index" in outputs else None
    history = tuple({side: dict(row[side]) for side in ("train", "validation")} for row in run.history)
    ranks.close()
    images = tuple(int(i) for i in sorted(run.data.split.validation))
    return RankEnd(digest.hexdigest(), history, index, images)
