"""What ``pneumo bench`` does: measures the machine, and the work of one trainer or of all."""

from __future__ import annotations

import gc
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumo_bench import machine
from pneumo_bench.result import FORMAT, BenchResult
from pneumo_bench.rounds import Rate, measure, named, ratio_content, significant
from pneumo_bench.workload import Workload, opened
from pneumo_cli.errors import EXITS, Interrupted, PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runs.git_revision import git_revision
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.signals import callers_interruption
from pneumo_cli.runtime.turns import kept_state
from pneumo_cli.settings.resolve import Resolved, resolve, resolve_machine
from pneumo_cli.specs import TrainerSpec
from pneumo_cli.trainers.free_cores import beside_others
from pneumo_cli.trainers.session import prepare_device
from pneumo_cli.training.measurement import silent, temporary_folder
from pneumo_cli.workflows.failures import known_failure

SECONDS = 2.0
"""Of a measurement of one trainer."""
ALL_SECONDS = 0.8
"""The same, where all trainers are measured."""
MOST = 600.0

_QUICK = "quick"
_RATES = ("bare", "step", "epoch", "loader", "evaluation", "forward")


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        seconds: of each measurement; None: 2, or 0.8 for all trainers.
        command: the command line, for the record.
        from_start: whether this process has done nothing else, so that its age at the first step is of interest.
        say: shows a line of progress.
    """

    seconds: float | None = None
    command: Sequence[str] = ()
    from_start: bool = False
    say: Callable[[str], object] = field(default=lambda line: None)

    def check(self) -> None:
        """Raise UsageError, if the seconds are too few or too many."""
        if self.seconds is not None and not 0 < self.seconds <= MOST:  # NaN, too
            raise UsageError(f"--seconds is {self.seconds:g}: more than 0, at most {MOST:.0f}")


def bench_trainer(plugins: Plugins, resolved: Resolved, request: Request, progress: Progress) -> BenchResult:
    """Measure one trainer with the settings of a run.

    Raises:
        UsageError: the request cannot be met.
        PneumoError: a step fails.
        Interrupted: by a signal.
    """
    request.check()
    seconds = request.seconds or SECONDS
    with _unchanged():
        load = machine.Load()
        row, facts = _trainer_row(plugins, beside_others(resolved), seconds, request, progress)
        request.say("start of the program")
        start = machine.start_seconds(seconds, check_interruption) | row.pop("start")
        return _result(request, facts, {"start": start, "trainers": [row], "load": load.content()})


def bench_all(
    plugins: Plugins,
    settings: Mapping[str, Any],
    request: Request,
    progress: Progress,
    images: Path | None = None,
) -> BenchResult:
    """Measure the machine, and each trainer with its preset ``quick``.

    Args:
        settings: of the machine, for all: ``device``, ``precision``, ``threads``.
        images: a folder or an archive of images to decode; None: one that is made here.

    Raises:
        UsageError: the request cannot be met.
        Interrupted: by a signal.
    """
    request.check()
    seconds = request.seconds or ALL_SECONDS
    entries = list(plugins.trainers.named().values())
    given = {name: value for name, value in settings.items() if value is not None}
    with _unchanged():
        load = machine.Load()
        own = resolve_machine(given)
        if entries:
            own = beside_others(resolve(plugins, entries[0], dict(given), preset=None, config=None)).machine
            given["threads"] = own.threads
        device = prepare_device(own)
        facts = machine.facts(device)
        request.say("matrix product, memory, decoding")
        decoding, what = machine.decoding(images)
        works = {f"product {one}": machine.product(device.torch, one) for one in {"fp32", device.precision}}
        works |= {"copy": machine.copying(device.torch), "decoding": decoding}
        rates = measure(works, seconds, device.torch, check_interruption)
        del works
        content = {
            "product": _products(rates),
            "copy": _scaled(rates["copy"], 1e-9),
            "decoding": {"images": what, **rates["decoding"].content()},
            "start": machine.start_seconds(seconds, check_interruption),
        }
        rows = []
        for entry in entries:
            rows.append(_row_or_problem(plugins, entry, given, seconds, request, progress))
        return _result(request, facts, {**content, "trainers": rows, "load": load.content()})


def check_interruption() -> None:
    """Raise Interrupted, if the caller has asked this work to stop."""
    request = callers_interruption()
    if request is not None and request.number:
        raise Interrupted("interrupted; nothing is kept", 128 + request.number)


def _row_or_problem(
    plugins: Plugins,
    entry: Entry[TrainerSpec],
    given: Mapping[str, Any],
    seconds: float,
    request: Request,
    progress: Progress,
) -> dict[str, Any]:
    """The row of a trainer; one that fails has a ``problem`` in place of the rest."""
    preset = _QUICK if any(one.name == _QUICK for one in entry.spec.presets) else None
    try:
        resolved = resolve(plugins, entry, dict(given), preset=preset, config=None)
        row, _ = _trainer_row(plugins, resolved, seconds, request, progress)
    except Interrupted:
        raise
    except (Exception, *EXITS) as error:
        text = str(error) if isinstance(error, PneumoError) else known_failure(error)
        return {"trainer": entry.spec.name, "problem": " ".join((text or f"{error!r}").split())}
    del row["start"]  # of a process that has measured others before
    return row


def _trainer_row(
    plugins: Plugins, resolved: Resolved, seconds: float, request: Request, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was measured of a trainer, and the facts of the machine."""
    request.say(f"{resolved.entry.spec.name}: first step")
    with temporary_folder() as folder, silent(), opened(plugins, resolved, progress, folder) as workload:
        since = _age(workload) if request.from_start else None
        check_interruption()
        request.say(f"{resolved.entry.spec.name}: training, evaluation, matrix product")
        load = machine.Load()
        rates = measure(workload.works(), seconds, workload.run.device.torch, check_interruption)
        facts = machine.facts(workload.run.device)
        operations = workload.operations()
        workload.save()
        row = _row(workload, rates, operations)
        return {**row, "load": load.content(), "start": {"first_step": since}}, facts


def _age(workload: Workload) -> float | None:
    """Seconds from the start of this process to the first step, without decoding; None: not known."""
    since = machine.seconds_since_start()
    return None if since is None else round(max(since - workload.decoding_seconds, 0.0), 2)


def _row(workload: Workload, rates: Mapping[str, Rate], operations: float | None) -> dict[str, Any]:
    """Rates in images per second, their ratios, and the share of the matrix product of the run's precision."""
    compared = [name for name in ("bare", "step", "epoch") if name in rates]
    product = rates[f"product {workload.run.device.precision}"]
    facts = workload.facts
    return {
        **workload.describe(),
        "bare_loop": workload.bare,
        "images_per_second": named(rates, _RATES),
        "ratios": ratio_content(
            {f"{name}/bare": rates[name].per(rates["bare"]) for name in ("step", "epoch") if "bare" in rates}
        ),
        "product": _products(rates),
        "gflop_per_image": significant(operations / 1e9) if operations else None,
        "share_of_product": ratio_content(
            {name: rates[name].per(product, operations) for name in compared if operations}
        ),
        "decoding": significant(facts["decoding"]),
        "features": significant(facts["features"]) if "features" in facts else None,
        "checkpoint": facts["checkpoint"],
        "memory": facts["memory"],
        "not_measured": workload.problems,
        "problem": "",
    }


def _products(rates: Mapping[str, Rate]) -> dict[str, Any]:
    """GFLOP/s by precision."""
    return {
        name.removeprefix("product "): _scaled(rate, 1e-9)
        for name, rate in sorted(rates.items(), reverse=True)
        if name.startswith("product ")
    }


def _scaled(rate: Rate, factor: float) -> dict[str, float]:
    return Rate(tuple(factor * value for value in rate.values)).content()


def _result(request: Request, facts: dict[str, Any], measured: dict[str, Any]) -> BenchResult:
    """All of it, with date, command and commit."""
    return BenchResult(
        {
            "format": FORMAT,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(request.command),
            "commit": git_revision(Path(__file__).resolve().parent).get("commit", ""),
            "machine": facts,
            **measured,
        }
    )


@contextmanager
def _unchanged() -> Iterator[None]:
    """Put random generators and switches of torch back, and remove what torch leaves among temporary files.

    That is an empty folder, which its compiler makes as soon as it is imported, by the first optimizer.
    """
    put_back, place = kept_state(), Path(tempfile.gettempdir())
    before = set(place.glob("torchinductor_*"))
    try:
        yield
    finally:
        put_back()
        gc.collect()
        for made in set(place.glob("torchinductor_*")) - before:
            with suppress(OSError):  # not empty, as another program uses it
                made.rmdir()
