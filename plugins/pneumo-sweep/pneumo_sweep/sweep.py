"""A sweep from the request to its results: checks, trials, further seeds, the test images, the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from pneumo_cli.errors import Interrupted, PneumoError, UsageError, nearest
from pneumo_cli.evaluation.metric_names import lower_is_better
from pneumo_cli.registry import Entry
from pneumo_cli.runs.folder import check_writable
from pneumo_cli.runs.groups import asks_for_group
from pneumo_cli.runs.record import check_files, files_of, recorded_facts
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.threads import usable_cores
from pneumo_cli.settings.resolve import Resolved, resolve
from pneumo_cli.specs import TrainerSpec
from pneumo_cli.trainers.session import Setup, open_run, set_up
from pneumo_cli.workflows import training
from pneumo_cli.workflows.caller import Caller
from pneumo_sweep import storage
from pneumo_sweep.plan import SEEDS, TRIALS, Plan, SweepFolder, open_folder, recorded_plan, run_settings
from pneumo_sweep.processes import work_in_processes
from pneumo_sweep.reading import Reader, pairs
from pneumo_sweep.results import read_results, recorded_test, write_results
from pneumo_sweep.seeds import seed_slots
from pneumo_sweep.space import MOST_TRIALS, Choices, Space
from pneumo_sweep.study import Slot, Stage, slots_of
from pneumo_sweep.worker import Worker, exclusive

SAMPLERS = ("quasi-random", "tpe")
PRUNERS = ("median", "hyperband")
MOST_SEEDS, MOST_WORKERS = 100, 256


@dataclass(frozen=True)
class Request:
    """What a sweep is asked to do.

    Attributes:
        entry: the trainer.
        settings: that all trials share, by name, as for ``pneumo run``; None: not given.
        grid, search: of ``--set`` and ``--search``, as texts or by name.
        trials: draws from the search space; None: 20 if there is one.
        shown: the words of a command that gives the shared settings.
    """

    entry: Entry[TrainerSpec]
    settings: Mapping[str, Any]
    grid: Sequence[str] | Mapping[str, Any] = ()
    search: Sequence[str] | Mapping[str, Any] = ()
    preset: str | None = None
    config: Path | None = None
    trials: int | None = None
    sampler: str = SAMPLERS[0]
    metric: str | None = None
    prune: str | None = None
    with_seeds: int = 0
    workers: int = 1
    storage: str | None = None
    reports: bool = False
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hands:
    """Who carries out a sweep here.

    Attributes:
        workers: processes on this machine.
        say: receives the lines that a sweep has to say.
        machine: settings of this machine; None: as recorded.
    """

    workers: int = 1
    say: Callable[[str], None] = print
    machine: Mapping[str, Any] = field(default_factory=dict)


def start(caller: Caller, request: Request, say: Callable[[str], None]) -> SweepFolder:
    """Carry out a new sweep; return its folder.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: no trial has a result, or the disk or the database cannot be used.
        Interrupted: by a signal; everything is saved.
    """
    resolved, plan = planned(caller, request)
    url = storage.parsed(request.storage) if request.storage else None
    if url is not None:
        storage.check(url)
    first = _checked(caller, request, plan)
    if request.workers > 1 and (objects := caller.objects(first.resolved)):
        raise UsageError(
            f"workers = {request.workers}: other processes do the work, which do not have {objects[0]}: use one "
            "worker, or make a plugin of it"
        )
    plan = _with_metric(plan, request, first)
    check_writable(resolved.machine.output, request.entry.spec.name)
    # Finds what is wrong with the data, and decodes for all trials.
    run = open_run(first, caller.progress, Ranks())
    plan = replace(plan, test=resolved.trainer.evaluate_test and len(run.data.split.test) > 0)
    folder = SweepFolder.create(resolved.machine.output, request.entry.spec.name, "sweep")
    plan = replace(plan, study=folder.path.name, storage=storage.without_password(url) if url else "")
    facts = {
        "trainer": request.entry.qualified_name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **files_of(caller.plugins),
        "sweep": plan.to_table(),
    }
    try:
        atomic.write_text(folder.settings, resolved.to_toml(facts))
    except OSError as error:
        raise PneumoError(f"{folder.path} cannot be written: {error.strerror}") from error
    say(f"sweep    {plan.trials} trials, compared by the validation {plan.metric}")
    say(f"folder   {folder.path}")
    return carry_out(caller, folder, url, Hands(request.workers, say))


def resume(caller: Caller, path: Path, hands: Hands, url: str | None = None) -> SweepFolder:
    """Go on with a sweep, or add workers to it; return its folder. A finished one is left as it is.

    Args:
        url: of the database, if it is not as recorded (a password is not).

    Raises:
        UsageError: it is no sweep, or its database is another one.
        PneumoError, Interrupted: as :func:`start`.
    """
    folder = open_folder(path)
    check_files(caller.plugins, folder)
    plan = recorded_plan(folder)
    check_workers(hands.workers)
    given = url or plan.storage
    parsed = storage.parsed(given) if given else None
    storage.check(parsed or _own(folder))
    return carry_out(caller, folder, parsed, hands)


def carry_out(caller: Caller, folder: SweepFolder, url: URL | None, hands: Hands) -> SweepFolder:
    """Carry out what is left of a sweep: its trials, the further seeds of its best settings, and its results."""
    plan = recorded_plan(folder)
    hint = f"; go on with: pneumo sweep resume {folder.path}"
    try:
        with storage.storage_errors(_named(folder, url), hint=hint):
            with exclusive(folder):
                database = _database(folder, url)
            while (stage := next_stage(caller, folder, plan, database)) is not None:
                work(caller, folder, plan, stage, hands, url)
            with exclusive(folder):
                if not folder.report_json.exists():
                    _finish(caller, folder, plan, database, hands.machine)
    except Interrupted as error:
        raise Interrupted(f"stopped and saved{hint}", error.exit_code) from None
    return folder


def next_stage(caller: Caller, folder: SweepFolder, plan: Plan, database: RDBStorage) -> Stage | None:
    """The stage that is not finished, made if it is not there yet; None: all is done."""
    for name in (TRIALS, *([SEEDS] if plan.with_seeds else [])):
        with exclusive(folder):
            stage = open_stage(caller, folder, plan, database, name)
        if stage.unfinished():
            return stage
    return None


def open_stage(caller: Caller, folder: SweepFolder, plan: Plan, database: RDBStorage, name: str) -> Stage:
    """A stage of the sweep, made if it is not there yet.

    Raises:
        UsageError: its study belongs to something else.
    """
    epochs = run_settings(caller.plugins, folder, plan, {}, {}).trainer.epochs
    table = plan.to_table()
    facts = {name: table[name] for name in ("space", "metric", "mode", "seed")}
    facts["trainer"] = str(recorded_facts(folder.settings)["trainer"])

    def stage(of: str, slots: list[Slot]) -> Stage:
        own = {**facts, "stage": of}
        return Stage.create(database, f"{plan.study}/{of}", plan, epochs, slots, own)

    trials = stage(TRIALS, slots_of(plan))
    if name == TRIALS:
        return trials
    return stage(SEEDS, seed_slots(plan, trials))


def work(
    caller: Caller, folder: SweepFolder, plan: Plan, stage: Stage, hands: Hands, url: URL | None
) -> None:
    """Carry out a stage: in this process, or in several."""
    if hands.workers == 1:
        Worker(caller, folder, plan, stage, hands.say, hands.machine).work()
    else:
        kind = stage.name.rpartition("/")[2]
        work_in_processes(folder, kind, hands.workers, hands.say, hands.machine, url)
        if left := len(stage.unfinished()):
            raise PneumoError(
                f"{left} trials are not finished; go on with: pneumo sweep resume {folder.path}"
            )


def work_alone(caller: Caller, path: Path, hands: Hands, url: str | None, name: str) -> SweepFolder:
    """Carry out trials of one stage, as a worker that another process has started."""
    folder = open_folder(path)
    plan = recorded_plan(folder)
    parsed = storage.parsed(given) if (given := url or plan.storage) else None
    with storage.storage_errors(_named(folder, parsed)):
        with exclusive(folder):
            stage = open_stage(caller, folder, plan, _database(folder, parsed), name)
        Worker(caller, folder, plan, stage, hands.say, hands.machine).work()
    return folder


def planned(caller: Caller, request: Request) -> tuple[Resolved, Plan]:
    """The shared settings of a request and its plan, without the metric.

    Raises:
        UsageError: the request cannot be met.
    """
    check_workers(request.workers)
    _check_name("--sampler", request.sampler, SAMPLERS)
    if request.prune:
        _check_name("--prune", request.prune, PRUNERS)
    if request.with_seeds and not 2 <= request.with_seeds <= MOST_SEEDS:
        raise UsageError(
            f"--with-seeds is {request.with_seeds}: an interval needs at least 2 seeds, at most {MOST_SEEDS}"
        )
    if request.settings.get("report") is not None:
        raise UsageError("report: the pages of all trials are asked for with reports")
    settings = _with_threads(request)
    resolved = resolve(caller.plugins, request.entry, settings, preset=request.preset, config=request.config)
    if (devices := resolved.machine.devices) > 1:
        raise UsageError(f"devices = {devices}: a trial runs on one; --workers N runs N trials at once")
    if asks_for_group(resolved.trainer):
        raise UsageError(
            "folds and seeds make a group of runs, and a trial is one run: leave them out (--with-seeds N repeats "
            "the best settings with further seeds)"
        )
    given = frozenset(name for name, value in request.settings.items() if value is not None)

    def with_values(values: Mapping[str, Any]) -> Resolved:
        return resolve(
            caller.plugins,
            request.entry,
            {**settings, **values},
            preset=request.preset,
            config=request.config,
        )

    reader = Reader(with_values, given - {"with"})
    space = reader.space(pairs("--set", request.grid), pairs("--search", request.search))
    plan = Plan(
        space=space,
        draws=_draws(request, space),
        seed=resolved.trainer.seed,
        metric=request.metric or "",
        mode="max",
        sampler=request.sampler,
        prune=request.prune or "",
        with_seeds=request.with_seeds,
        reports=request.reports,
        command=tuple(caller.command),
        shown=request.shown,
    )
    return resolved, plan


def _draws(request: Request, space: Space) -> int:
    """The number of draws from the search space."""
    if not space.dimensions:
        raise UsageError(
            "nothing is tried: name settings with --set lr=0.1,0.01 or --search lr=log:1e-4..1e-1"
        )
    if not space.search:
        if request.trials is not None:
            raise UsageError(
                "--trials is the number of draws from --search: a grid has as many trials as points"
            )
        if request.sampler != SAMPLERS[0]:
            raise UsageError(f"--sampler {request.sampler} draws from --search, and there is only a grid")
        return 1
    draws = int(min(20, space.combinations)) if request.trials is None else request.trials
    if draws < 1:
        raise UsageError(f"--trials is {draws}: at least 1")
    if draws > space.combinations:
        raise UsageError(
            f"--trials is {draws}, and the listed values have {int(space.combinations)} combinations: try each "
            "once with --set"
        )
    if draws * space.points > MOST_TRIALS:
        raise UsageError(
            f"{draws:,} draws with each of {space.points:,} points of the grid are more than {MOST_TRIALS:,} trials"
        )
    return draws


def _with_metric(plan: Plan, request: Request, setup: Setup) -> Plan:
    """The plan with the metric and its direction: the monitored one, or that of ``--metric``.

    Raises:
        UsageError: there is none, or its direction is not known.
    """
    monitor, name = setup.trainer.monitor, request.entry.spec.name
    tried = {one.name for one in plan.space.dimensions}
    if not request.metric and "monitor" in tried:
        raise UsageError("monitor is tried: name the metric by which trials are compared, --metric NAME")
    metric = request.metric or (monitor.metric if monitor.side == "validation" else "")
    if not metric:
        raise UsageError(
            f"{name} chooses no epoch by a validation metric: name the one to compare trials by, --metric"
        )
    if metric == monitor.metric:
        return replace(plan, metric=metric, mode=monitor.mode)
    lower = lower_is_better(metric)
    if lower is None:
        raise UsageError(f"--metric {metric}: whether more or less of it is better is not known")
    return replace(plan, metric=metric, mode="min" if lower else "max")


def _checked(caller: Caller, request: Request, plan: Plan) -> Setup:
    """The first trial, after each listed value has been checked as far as that goes without data."""
    usual = plan.space.settings(plan.seed, 0)
    listed = [
        (one.name, value) for one in plan.space.dimensions if isinstance(one, Choices) for value in one.values
    ]
    for name, value in listed:
        set_up(caller.plugins, _of_trial(caller, request, {**usual, name: value})).check_request()
    first = set_up(caller.plugins, _of_trial(caller, request, usual))
    first.check_request()
    return first


def _of_trial(caller: Caller, request: Request, tried: Mapping[str, Any]) -> Resolved:
    """The settings of a trial before the sweep has a folder."""
    own = {**_with_threads(request), **tried, "evaluate_test": False}
    return resolve(caller.plugins, request.entry, own, preset=request.preset, config=request.config)


def _with_threads(request: Request) -> dict[str, Any]:
    """The shared settings; each of several workers has its share of the cores, recorded, as it decides the bits."""
    settings = dict(request.settings)
    if request.workers > 1 and str(settings.get("threads") or 0) == "0":
        settings["threads"] = max(1, usable_cores() // request.workers)
    return settings


def check_workers(count: int) -> None:
    """Raises UsageError for a number of workers out of bounds."""
    if not 1 <= count <= MOST_WORKERS:
        raise UsageError(f"--workers is {count}: 1 to {MOST_WORKERS}")


def _check_name(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UsageError(f"{option} {name!r} is none of {', '.join(known)}; {nearest(name, known)}")


def _database(folder: SweepFolder, url: URL | None) -> RDBStorage:
    return storage.open_storage(url or _own(folder))


def _own(folder: SweepFolder) -> URL:
    """The database in the sweep's folder."""
    return URL.create("sqlite", database=str(folder.database.absolute()))


def _named(folder: SweepFolder, url: URL | None) -> str:
    return storage.without_password(url) if url else str(folder.database)


def _finish(
    caller: Caller, folder: SweepFolder, plan: Plan, database: RDBStorage, machine: Mapping[str, Any]
) -> None:
    """Evaluate the winner on the test images, once, and write the results."""
    trials = open_stage(caller, folder, plan, database, TRIALS)
    seeds = open_stage(caller, folder, plan, database, SEEDS) if plan.with_seeds else None
    results = read_results(folder, plan, trials, seeds)
    if results.winner is None:
        reason = next(iter(results.failures.values()), "none is finished")
        raise PneumoError(f"no trial of {folder.path} has a result ({reason})")
    winner = folder.run(results.winner["folder"])
    if plan.test and not recorded_test(winner):
        training.evaluate(caller, [winner.path], machine, "test", "best")
    write_results(folder, plan, replace(results, test=recorded_test(winner)))
