"""What the report of a large test set costs: metrics with intervals, figures, predictions, and the page.

    python examples/measure_report.py [--images 100000] [--tasks two-classes four-classes five-labels]

The predictions are simulated, several images of most patients, with unknown labels where there are several at once.
Each task is measured in a process of its own: seconds, processor time, and memory at its peak (imports included; of
the largest process, as figures are drawn in several). Training, and what a run does once whatever its size, are
not part of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import recording
from numpy.typing import NDArray

from pneumo_cli.data.records import Record, Task
from pneumo_cli.evaluation.decision_rule import Fitting, fit_decision_rule
from pneumo_cli.evaluation.multi.rule import Rule, fit_multi_rule
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports.figure_files import FigureFiles, drawing_processes
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.reports.run_figures import add_evaluation_figures
from pneumo_cli.reports.run_report import evaluation_content
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime import atomic
from pneumo_cli.trainers.classifier_results import report_of

TASKS: dict[str, tuple[Task, int]] = {
    "two-classes": ("binary", 1),
    "four-classes": ("multiclass", 4),
    "five-labels": ("multilabel", 5),
}
_FITTED = 2_000  # validation images, of which the decision rule is fitted
_CHOSEN: dict[str, Any] = {"chosen": "balanced", "wanted_sensitivity": 0.9, "miss_cost": 5.0, "seed": 0}


def simulated(task: str, images: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Logits, labels and patients of so many images."""
    kind, outputs = TASKS[task]
    rng = np.random.default_rng(seed)
    sizes = np.minimum(rng.geometric(0.6, images), 30)  # of patients, 1.7 images in the mean
    patient = rng.permutation(np.repeat(np.arange(images), sizes)[:images])
    noise = 0.7 * rng.normal(size=(images, outputs))[patient] + 0.7 * rng.normal(size=(images, outputs))
    if kind == "multiclass":
        shares = [0.55, *[0.45 / (outputs - 1)] * (outputs - 1)]
        labels = rng.choice(outputs, p=shares, size=images)[patient]
        logits = 2.2 * np.eye(outputs)[labels] + 1.2 * noise
    else:
        labels = (rng.random((images, outputs)) < np.linspace(0.2, 0.03, outputs)).astype(np.int64)
        logits = 2 * (1.8 * labels + noise) - 3.5
        if kind == "multilabel":
            labels[rng.random(labels.shape) < 0.03] = -1  # unknown
        else:
            labels, logits = labels[:, 0], logits[:, 0]
    return logits, labels.astype(np.int64), [f"{number:08d}" for number in patient.tolist()]


def fitted(task: str) -> Rule:
    """The decision rule of a task."""
    kind, outputs = TASKS[task]
    logits, labels, _ = simulated(task, _FITTED, 1)
    gray = np.random.default_rng(2).integers(0, 256, (200, 32, 32)).astype(np.uint8)
    classes = tuple(f"class {number}" for number in range(max(2, outputs)))
    fitting = Fitting(classes, logits, labels, gray, labels[:200], gray)
    return (
        fit_decision_rule(fitting, **_CHOSEN)
        if kind == "binary"
        else fit_multi_rule(fitting, kind, **_CHOSEN)
    )


def measured(task: str, images: int) -> dict[str, float]:
    """Write the report of one task into a temporary folder; return what it cost."""
    rule = fitted(task)
    logits, labels, patients = simulated(task, images, 0)
    records = [
        Record(f"images_{n // 10_000:03d}/{n:08d}.png", label=0, patient=patient, pool="test", digest="")
        for n, patient in enumerate(patients)
    ]
    outputs: dict[str, NDArray[Any]] = {
        "index": np.arange(images),
        "logits": logits.astype(np.float32),
        "labels": labels,
    }
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        began, processor = time.perf_counter(), time.process_time()
        evaluation = report_of(Evaluation({"loss": 0.5}, outputs=outputs), records, rule, None, 0)
        atomic.write_text(folder.predictions / "test.csv", predictions_csv(evaluation, records))
        files = FigureFiles(folder, print)
        add_evaluation_figures(files, "test", evaluation)
        files.draw(drawing_processes())
        report = {"title": task, "figures": files.listed, **evaluation_content({"test": evaluation})}
        atomic.write_text(folder.report_html, render_html(report, folder.path, files.pictures))
        atomic.write_text(folder.report_json, json.dumps(report))
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "seconds": time.perf_counter() - began,
            "processor": time.process_time() - processor + children.ru_utime + children.ru_stime,
            "mebibytes": max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children.ru_maxrss) / 1024,
        }


def main() -> None:
    """Measure the tasks one after another and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000, help="of the test set")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    recording.add_option(parser)
    options = parser.parse_args()
    values: dict[str, Any] = {"images": options.images}
    context = multiprocessing.get_context("spawn")
    for task in options.tasks:
        with context.Pool(1) as pool:
            found = pool.apply(measured, (task, options.images))
        print(
            f"{task:14} {found['seconds']:6.1f} s {found['processor']:6.1f} CPU s {found['mebibytes']:6.0f} MiB"
        )
        values |= {f"{task.replace('-', '_')}_{name}": round(value, 2) for name, value in found.items()}
    recording.write(options.record, values)


if __name__ == "__main__":
    main()
