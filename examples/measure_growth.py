"""How time and memory grow with the number of images, predictions and runs: a table, and a figure for the docs.

Each task runs in a process of its own: processor time (own and of its threads and processes), and the memory above
that of the imports. The exponent is the slope between the two largest sizes, log to log: 1 is linear. Files are
tiny and hard links are used where content does not matter, so that a million fit: 5 GB of disk at most, removed at
the end.

    python examples/measure_growth.py [--sizes 1000,10000,100000,1000000] [--tasks list,split,…] [--folder FOLDER]
        [--figure docs/images/growth.png] [--page docs/data.md] [--record docs/results/growth.json]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import growth_data
import recording
from growth_table import Cost, draw, markdown, put

DECADES = (1_000, 10_000, 100_000, 1_000_000)
MILLION, RUNS, LISTED, DECODED, PAIRS = 1_000_000, 100_000, 10_000, 100_000, 10_000
_HEADING = "## How large can it be?"
_SAYS = (
    "a million images: listed in {list_seconds_1000000:.1f} s of processor time, opened as a dataset in "
    "{open_seconds_1000000:.0f} s and {open_mebibytes_1000000:,.0f} MiB, split by patient in "
    "{split_seconds_1000000:.1f} s"
)
_RESAMPLED = 100_000  # predictions of which the bootstrap is measured
Prepared = Callable[[], Any]


class Task(NamedTuple):
    """What is measured.

    Attributes:
        title: in words.
        needs: files that it reads: ``images``, ``runs``, or nothing.
        prepare: imports and makes what it needs, and returns what is measured.
        largest: number of images, predictions or runs up to which it is measured.
        drawn: whether the figure has its curve.
    """

    title: str
    needs: str
    prepare: Callable[[int, Path], Prepared]
    largest: int = MILLION
    drawn: bool = False


# --- files --------------------------------------------------------------------------------------------------------


def _listing(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data.files import ImageFiles

    return lambda: ImageFiles(folder / "images").files()


def _hashing(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data.files import ImageFiles
    from pneumo_cli.runtime.progress import Progress

    files = ImageFiles(folder / "images")
    names = files.names()
    return lambda: files.digests(names, folder / "cache", Progress())


def _class_folders(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data import DatasetRequest
    from pneumo_cli.runtime.progress import Progress
    from pneumo_datasets.folder import open_folder

    options = {"patient_pattern": r"person(\d+)"}
    request = DatasetRequest(folder / "images", folder / "cache", Progress(), options)
    return lambda: open_folder(request)


def _table(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data import DatasetRequest
    from pneumo_cli.runtime.progress import Progress
    from pneumo_datasets.table import open_dataset

    labels = ",".join(growth_data.LABELS)
    options = {"manifest": folder / "table.csv", "label_columns": labels}
    request = DatasetRequest(folder / "images", folder / "cache", Progress(), options)
    return lambda: open_dataset(request)


def _command(*words: str) -> Prepared:
    from pneumo_cli.__main__ import main

    def run() -> str:
        sys.argv = ["pneumo", *words]
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            main()
        return printed.getvalue()

    return run


def _check(size: int, folder: Path, *more: str) -> Prepared:
    import torch  # noqa: F401  (what it takes to import it is no growth)

    import pneumo_cli.data.examination  # noqa: F401

    os.environ["PNEUMO_CACHE"] = str(folder / "cache")
    root, pattern = str(folder / "images"), r"person(\d+)"
    choice = ("--dataset", "folder", "--data-root", root, "--patient-pattern", pattern)
    return _command("data", "check", *choice, *more)


def _check_listed(size: int, folder: Path) -> Prepared:
    return _check(size, folder, "--no-decode")


# --- records ------------------------------------------------------------------------------------------------------


def _rows(size: int, folder: Path) -> Prepared:
    from pneumo_datasets.manifest import read_table
    from pneumo_datasets.rows import read_rows
    from pneumo_datasets.settings import TableSettings

    data, settings = (
        growth_data.table(size).encode(),
        TableSettings(label_columns=",".join(growth_data.LABELS)),
    )
    return lambda: read_rows(read_table(data, "table.csv"), "", settings)


def _dataset_checks(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data.dataset_checks import check_dataset

    dataset = growth_data.dataset(growth_data.records(size))

    def checked() -> str:
        check_dataset(dataset)
        return dataset.fingerprint

    return checked


def _split(policy: str, several: bool = False) -> Callable[[int, Path], Prepared]:
    def prepare(size: int, folder: Path) -> Prepared:
        import torch  # noqa: F401  (of the policy "source", not part of its time)

        from pneumo_cli.data.prepare import SplitRequest

        records = growth_data.records(size, several)
        request = SplitRequest(policy, folds=5, fold=1) if policy == "folds" else SplitRequest(policy)
        return lambda: request.split(records, ())

    return prepare


def _overlaps(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data.splits import class_table, overlaps, split_records

    records = growth_data.records(size)
    split = split_records(records, "patient")
    return lambda: (overlaps(records, split), class_table(records, ("NORMAL", "PNEUMONIA"), split))


def _near_duplicates(size: int, folder: Path) -> Prepared:
    from pneumo_cli.data.leakage import find_leaks

    data = growth_data.prepared(size)
    return lambda: find_leaks(data)


def _epoch(size: int, folder: Path) -> Prepared:
    import numpy as np
    import torch

    from pneumo_cli.data.class_sampling import ClassSampling
    from pneumo_cli.data.loader import Loader
    from pneumo_cli.data.sample_rng import shuffled

    positions, labels = np.arange(size), np.arange(size) % 4 // 3

    def order() -> tuple[Any, ...]:
        sampling = ClassSampling(positions, labels, "over", 0)
        chosen = sampling.of(1)
        inputs: Any = None  # the set-up asks for no image
        loader = Loader(
            inputs, torch.from_numpy(labels), chosen, 32, torch.device("cpu"), shuffle_seed=0, epoch=1
        )
        return shuffled(0, 1, chosen), len(loader), loader.samples

    return order


# --- predictions --------------------------------------------------------------------------------------------------


def _predictions_written(size: int, folder: Path) -> Prepared:
    from pneumo_cli.reports.predictions import predictions_csv

    evaluation, records = growth_data.evaluation(size), growth_data.records(size)
    return lambda: predictions_csv(evaluation, records)


def _predictions_read(size: int, folder: Path) -> Prepared:
    from pneumo_cli.runs.predictions import binary_predictions, prediction_rows

    file = growth_data.predictions(size, folder / "predictions.csv")
    return lambda: binary_predictions(file, prediction_rows(file) or [], {})


def _predictions_table(size: int, folder: Path) -> Prepared:
    from pneumo_cli.workflows.run_tables import predictions

    file = growth_data.predictions(size, folder / "predictions.csv")
    return lambda: predictions(file)


def _metrics(size: int, folder: Path) -> Prepared:
    from pneumo_cli.evaluation.binary import binary_metrics, precision_recall_points, roc_points
    from pneumo_cli.evaluation.calibration import fit_calibration
    from pneumo_cli.evaluation.confidence.delong import delong_interval

    logits, labels, _ = growth_data.outcomes(size)
    several: tuple[Callable[..., Any], ...] = (
        binary_metrics, roc_points, precision_recall_points, delong_interval, fit_calibration,
    )  # fmt: skip
    return lambda: [each(logits, labels) for each in several]


def _intervals(size: int, folder: Path) -> Prepared:
    from pneumo_cli.evaluation.confidence.intervals import metric_intervals

    logits, labels, patients = growth_data.outcomes(size)
    return lambda: metric_intervals(logits, labels, patients)


def _labels(size: int, folder: Path) -> Prepared:
    from pneumo_cli.evaluation.multi.metrics import multi_metrics

    logits, labels = growth_data.outcomes_of_labels(size)
    return lambda: multi_metrics(logits, labels, "multilabel")


# --- runs ---------------------------------------------------------------------------------------------------------


def _list_runs(size: int, folder: Path) -> Prepared:
    import pneumo_cli.workflows.run_list  # noqa: F401

    return _command("list-runs", str(folder / "runs"), "--where", "epochs=10", "--sort", "auc")


def _ui_list(size: int, folder: Path, again: bool = False) -> Prepared:
    from pneumo_ui.run_index import RunIndex
    from pneumo_ui.run_table import Query, run_table

    index = RunIndex(folder / "runs")
    if again:
        index.refresh()

    def listed() -> Any:
        index.refresh()
        return index, run_table(index.snapshot(0), Query(sort="test"))

    return listed


def _ui_again(size: int, folder: Path) -> Prepared:
    return _ui_list(size, folder, again=True)


TASKS = {
    "list": Task("list class folders", "images", _listing, drawn=True),
    "hash": Task("hash their files, first time", "images", _hashing),
    "hashed": Task("hash them again (cached)", "images", _hashing),
    "open": Task("open them as a dataset", "images", _class_folders, drawn=True),
    "table": Task("open them by a table of 14 labels", "images", _table, drawn=True),
    "check": Task("data check --no-decode", "images", _check_listed, drawn=True),
    "decode": Task("data check, decoding", "images", _check, DECODED),
    "rows": Task("read a table of 14 labels", "", _rows),
    "records": Task("check and fingerprint records", "", _dataset_checks),
    "source": Task("split as the report", "", _split("source")),
    "split": Task("split by patient", "", _split("patient"), drawn=True),
    "labels-split": Task("split by patient, 14 labels", "", _split("patient", several=True)),
    "folds": Task("split into five folds", "", _split("folds")),
    "overlaps": Task("count overlaps and classes", "", _overlaps),
    "near": Task("search for near-duplicates", "", _near_duplicates, PAIRS),
    "epoch": Task("order and sampling of an epoch", "", _epoch),
    "write": Task("write predictions", "", _predictions_written, drawn=True),
    "read": Task("read predictions, as compare", "", _predictions_read, drawn=True),
    "frame": Task("read predictions as a table", "", _predictions_table),
    "metrics": Task("metrics, curves, AUC's interval", "", _metrics),
    "intervals": Task("intervals, 1,000 resamples", "", _intervals, _RESAMPLED),
    "labels": Task("metrics of 14 labels", "", _labels),
    "runs": Task("list-runs", "runs", _list_runs, RUNS, drawn=True),
    "ui": Task("list of pneumo ui", "runs", _ui_list, LISTED, drawn=True),
    "ui-again": Task("the same again", "runs", _ui_again, LISTED),
}


def measured(name: str, size: int, folder: Path) -> Cost:
    """Run a task in this process."""
    work = TASKS[name].prepare(size, folder)
    gc.collect()
    with contextlib.suppress(OSError):  # begin the peak anew
        Path("/proc/self/clear_refs").write_text("5")
    before, began = _memory("VmRSS"), _processor_time()
    kept = work()
    seconds, peak = _processor_time() - began, _memory("VmHWM")
    del kept
    return Cost(seconds, max(0.0, peak - before))


def _processor_time() -> float:
    return time.process_time() + sum(os.times()[2:4])


def _memory(field: str) -> float:
    """A value of this process in MiB."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 2**10 if found else 0.0


def in_process(name: str, size: int, folder: Path) -> Cost:
    """Run a task in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--measure", name, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} of {size:,} failed:\n{done.stderr}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all tasks at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default=",".join(map(str, DECADES)), help="separated by commas")
    parser.add_argument("--tasks", default=",".join(TASKS), help="separated by commas")
    parser.add_argument("--folder", type=Path, help="for files; default: a temporary one")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves")
    parser.add_argument("--page", type=Path, metavar="FILE", help=f"write the table below {_HEADING!r} of it")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    recording.add_option(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        name, size = arguments.measure
        print(json.dumps(measured(name, int(size), arguments.folder)))
        return
    sizes, names = sorted(map(int, arguments.sizes.split(","))), arguments.tasks.split(",")
    costs: dict[str, dict[int, Cost]] = {name: {} for name in names}
    for size in sizes:
        wanted = [name for name in names if size <= TASKS[name].largest]
        folder = Path(tempfile.mkdtemp(prefix="growth-", dir=arguments.folder))
        try:
            growth_data.write({TASKS[name].needs for name in wanted}, size, folder)
            for name in wanted:
                began = time.perf_counter()
                costs[name][size] = cost = in_process(name, size, folder)
                took = time.perf_counter() - began
                print(f"{size:>9,} {name:<13}{cost.seconds:9.2f} s {cost.mebibytes:8,.0f} MiB "
                      f"({took:.1f} s with start)", file=sys.stderr, flush=True)  # fmt: skip
        finally:
            shutil.rmtree(folder)
    costs = {name: by_size for name, by_size in costs.items() if by_size}
    table = markdown({TASKS[name].title: by_size for name, by_size in costs.items()}, sizes)
    print(table)
    if arguments.page:
        put(table, arguments.page, _HEADING)
    if arguments.figure:
        draw({TASKS[name].title: costs[name] for name in costs if TASKS[name].drawn}, arguments.figure)
    values: dict[str, Any] = {}
    for name, by_size in costs.items():
        for size, cost in by_size.items():
            values[f"{name}_seconds_{size}"] = round(cost.seconds, 3)
            values[f"{name}_mebibytes_{size}"] = round(cost.mebibytes, 1)
    says = _SAYS if MILLION in sizes and {"list", "open", "split"} <= costs.keys() else ""
    recording.write(arguments.record, values, what="time and memory by the number of images", says=says)


if __name__ == "__main__":
    main()
