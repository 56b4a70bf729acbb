"""The parts of the check: what each runs, and the figures that it finds.

A part gets a :class:`Bench`, which starts programs with a bound on their time, and returns its figures by name.
What it raises is its failure, and the other parts go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TRAINING = 3_924
"""Training images of the source report."""
IMAGES = 5_856
"""Images of the data set of the source report."""


class Failed(Exception):
    """A program that a part needs did not do what it was to."""


class Figure(NamedTuple):
    """A number, with what it is to be on an H100.

    Attributes:
        value: None: not measured.
        unit: of the value.
        target: empty: none.
        met: whether the target is met; None: there is none, or no value.
    """

    value: float | None
    unit: str
    target: str = ""
    met: bool | None = None


def at_least(value: float | None, unit: str, least: float) -> Figure:
    """A figure that is to be large."""
    return Figure(value, unit, f">= {least:g} {unit}", None if value is None else value >= least)


def at_most(value: float | None, unit: str, most: float) -> Figure:
    """A figure that is to be small."""
    return Figure(value, unit, f"<= {most:g} {unit}", None if value is None else value <= most)


@dataclass
class Bench:
    """Where and how small a check is.

    Attributes:
        device: the setting.
        tiny: as small as the code allows.
        work: folder for runs and caches.
        out: folder for what is kept.
        ends: when the check has to be over, as ``time.monotonic`` tells it.
        bound: seconds that the present part has.
    """

    device: str
    tiny: bool
    work: Path
    out: Path
    ends: float = float("inf")
    bound: float = 120.0
    began: float = field(default_factory=time.monotonic)

    def start_part(self, bound: float) -> None:
        """Give the next part its time."""
        self.began, self.bound = time.monotonic(), bound

    @property
    def dataset(self) -> str:
        """The name of the data set; the tiny one has 64 images of 32 px."""
        return "toy" if self.tiny else "phantom"

    @property
    def left(self) -> float:
        """Seconds that the part has left."""
        now = time.monotonic()
        return min(self.began + self.bound, self.ends) - now

    def program(self, *arguments: object, allowed: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments in the work folder, in a process group that is killed when its time is over.

        Raises:
            Failed: it was, or ended with a code that is not allowed; with the last line that it printed.
        """
        command = [sys.executable, *map(str, arguments)]
        environ = {**os.environ, "PNEUMO_CACHE": str(self.work / "cache"), "NO_COLOR": "1"}
        if self.tiny:  # 16 bits are slow on a CPU, and so are two threads beside other tests
            environ |= {"PNEUMO_PRECISION": "fp32", "PNEUMO_THREADS": "1"}
        if self.left < 1:
            raise Failed("no time left")
        with subprocess.Popen(
            command,
            cwd=self.work,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=self.left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise Failed(f"not ready after {self.bound:.0f} s: {' '.join(command[1:])}") from None
        if process.returncode not in allowed:
            last = [line for line in (stderr + stdout).splitlines() if line.strip()][-1:] or ["no output"]
            raise Failed(f"exit code {process.returncode} of {' '.join(command[1:6])} …: {last[0]}")
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def pneumo(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``pneumo ARGUMENTS`` on the device."""
        return self.program("-m", "pneumo_cli", *arguments, "--device", self.device)

    def script(self, name: str, **settings: object) -> dict[str, Any]:
        """Run a function of ``measured.py`` in a process of its own; return what it prints."""
        given = json.dumps({"device": self.device, "dataset": self.dataset, **settings}, default=str)
        ended = self.program(ROOT / "tests" / "device" / "measured.py", name, given)
        result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return result

    def bench(self, trainer: str, *arguments: object, name: str = "") -> dict[str, Any]:
        """The row of ``pneumo bench TRAINER``."""
        file = self.out / f"bench-{name or trainer}.json"
        seconds = 0.01 if self.tiny else 1
        self.pneumo(
            "bench", trainer, "--dataset", self.dataset, *arguments, "--seconds", seconds, "--output", file
        )
        (row,) = json.loads(file.read_text())["trainers"]
        if row.get("problem"):
            raise Failed(row["problem"])
        return dict(row)


def median(row: Mapping[str, Any], *path: str) -> float | None:
    """A value of a row of ``pneumo bench``, or the median of several; None: it was not measured."""
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("median")
    return float(value) if isinstance(value, int | float) else None


def training_figures(row: Mapping[str, Any], share: float = 0.0) -> dict[str, Figure]:
    """Rates, share of the matrix product and memory of a row; ``share``: the target of the epoch's."""
    rates = {
        name: Figure(median(row, "images_per_second", name), "images/s") for name in ("bare", "step", "epoch")
    }
    of_product = median(row, "share_of_product", "epoch")
    percent = None if of_product is None else 100 * of_product
    memory = median(row, "memory")
    return {
        **rates,
        "matrix product": Figure(
            _scaled(median(row, "product", str(row.get("precision", "bf16"))), 1e-3), "TFLOP/s"
        ),
        "share of it": at_least(percent, "%", 100 * share) if share else Figure(percent, "%"),
        "memory": Figure(_scaled(memory, 2**-30), "GiB"),
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def suite(bench: Bench) -> dict[str, Figure]:
    """The suite's tests that need CUDA."""
    tests = ["tests/workflows/test_on_cuda.py", "tests/runtime"]
    places = [str(ROOT / test) for test in tests]
    options = [
        "-m",
        "cuda",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    ended = bench.program("-m", "pytest", *options, *places, allowed=(0, 5))
    if ended.returncode == 5:  # of pytest: no test was selected
        return {"skipped": Figure(0.0, "tests")}
    text = ended.stdout
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|skipped)", text)}
    if not counts:
        raise Failed("no test was found")
    return {kind: Figure(count, "tests") for kind, count in counts.items()}


def cnn(bench: Bench) -> dict[str, Figure]:
    """The report's CNN at 256 px: against the matrix product, and an epoch of the report's training images."""
    size, batch = (32, 2) if bench.tiny else (256, 32)
    row = bench.bench("cnn", "--image-size", size, "--batch-size", batch)
    figures = training_figures(row, 0.4)
    rate, loader = median(row, "images_per_second", "epoch"), median(row, "images_per_second", "loader")
    figures[f"epoch of {TRAINING:,} images"] = at_most(TRAINING / rate if rate else None, "s", 2)
    figures["batches, of an epoch"] = at_most(100 * rate / loader if rate and loader else None, "%", 5)
    figures["evaluation"] = Figure(median(row, "images_per_second", "evaluation"), "images/s")
    decoding = median(row, "decoding")
    figures["decoding"] = Figure(decoding, "images/s")
    figures[f"decoding {IMAGES:,} images"] = Figure(IMAGES / decoding if decoding else None, "s")
    return figures


def precisions(bench: Bench) -> dict[str, Figure]:
    """The same in the other precisions that the device has."""
    figures: dict[str, Figure] = {}
    names = ("fp32",) if bench.device == "cpu" else ("bf16", "fp16", "fp32")
    size, batch = (32, 2) if bench.tiny else (256, 32)
    for name in names:
        flags = ("--image-size", size, "--batch-size", batch, "--precision", name)
        row = bench.bench("cnn", *flags, name=f"cnn-{name}")
        figures |= {f"{name} {key}": value for key, value in training_figures(row).items() if key != "bare"}
    return figures


def compiled(bench: Bench) -> dict[str, Figure]:
    """Large and small steps with torch.compile, without and with CUDA graphs, beside those without."""
    figures = {}
    sizes = (32,) if bench.tiny else (256, 32)
    modes = ("default",) if bench.tiny else ("default", "reduce-overhead")
    for size in sizes:
        flags = ("--image-size", size, "--batch-size", 2 if bench.tiny else 32)
        for mode in modes if bench.tiny else ("", *modes):
            extra = ("--with", "compile", "--compile-mode", mode) if mode else ()
            row = bench.bench("cnn", *flags, *extra, name=f"compile-{size}-{mode or 'none'}")
            figures[f"{size} px, {mode or 'not compiled'}"] = Figure(
                median(row, "images_per_second", "step"), "images/s"
            )
    return figures


def algorithms(bench: Bench) -> dict[str, Figure]:
    """A CNN's step with cuDNN's benchmark of algorithms, with what the device chooses by itself, deterministic."""
    size, batch = (32, 2) if bench.tiny else (256, 32)
    seconds = 0.01 if bench.tiny else 1
    figures = {}
    for name in ("deterministic",) if bench.tiny else ("chosen", "benchmark", "deterministic"):
        rate = bench.script("rate", image_size=size, batch_size=batch, seconds=seconds, algorithms=name)[
            "rate"
        ]
        figures[name] = Figure(rate, "images/s")
    return figures


def fine_tuning(bench: Bench) -> dict[str, Figure]:
    """Fine-tuning of EfficientNet-B7 with batches of 16, from random weights: the speed does not depend on them."""
    model, size, batch = ("mobilenet-v3-small", 32, 4) if bench.tiny else ("efficientnet-b7", 224, 16)
    flags = ("--model", model, "--weights", "none", "--image-size", size, "--batch-size", batch)
    return training_figures(bench.bench("fine-tuning", *flags))


def gan(bench: Bench) -> dict[str, Figure]:
    """The report's GAN, the whole run."""
    epochs = 1 if bench.tiny else 200
    small = ("--preset", "quick", "--images-of", "") if bench.tiny else ()
    flags = (
        "--epochs",
        epochs,
        *small,
        "--fidelity-images",
        0,
        "--no-report",
        "--output",
        bench.work / "gan",
    )
    began = time.monotonic()
    bench.pneumo("run", "gan", "--dataset", bench.dataset, *flags)
    took = time.monotonic() - began
    rows = history(bench.work / "gan")[1:]
    if len(rows) != epochs:
        raise Failed(f"{len(rows)} of {epochs} epochs are recorded")
    training = sum(row["seconds"] for row in rows)
    return {f"{epochs} epochs": at_most(training, "s", 5), "whole run": Figure(took, "s")}


def autoencoder(bench: Bench) -> dict[str, Figure]:
    """The report's autoencoder at 256 px."""
    flags = ("--image-size", 32, "--batch-size", 4) if bench.tiny else ("--image-size", 256)
    return training_figures(bench.bench("autoencoder", *flags), 0.25)


def features(bench: Bench) -> dict[str, Figure]:
    """One pass of all images through the frozen stages of the report's network."""
    model, size = ("mobilenet-v3-small", 32) if bench.tiny else ("efficientnet-b7", 224)
    flags = ("--model", model, "--weights", "none", "--image-size", size, "--no-augment", "--batch-size", 32)
    row = bench.bench("feature-extraction", *flags)
    rate = median(row, "features")
    return {
        "frozen stages": Figure(rate, "images/s"),
        f"pass over {IMAGES:,} images": at_most(IMAGES / rate if rate else None, "s", 5),
    }


def stalls(bench: Bench) -> dict[str, Figure]:
    """How often a step waits for the device, where the images are, and what is copied to it."""
    size, epochs = (32, 2) if bench.tiny else (256, 2)
    found = bench.script("stalls", image_size=size, epochs=epochs, output=bench.work / "stalls")
    (bench.out / "stalls.json").write_text(json.dumps(found, indent=1))
    return {
        "images on the device": Figure(float(found["resident"]), "yes or no"),
        "waits per step": Figure(found["waits_per_step"], "waits"),
        "copies to the device per step": Figure(found["copies_per_step"], "copies"),
        "reads of the device per step": Figure(found["reads_per_step"], "reads"),
    }


def resume(bench: Bench) -> dict[str, Figure]:
    """A run killed within an epoch ends at the bits of one that was not."""
    small = {"image_size": 32, "batch_size": 2 if bench.tiny else 32, "output": bench.work / "resume"}
    step = 10 if bench.tiny else 25  # on an accelerator every 20 steps may save
    whole = bench.script("trained", **small)["folder"]
    try:
        bench.script("killed", step=step, **small)
    except (Failed, IndexError) as error:
        if f"exit code {-signal.SIGKILL}" not in str(error):
            raise
    (killed,) = {path.parents[1] for path in (bench.work / "resume").glob("*/*/checkpoints/last.pt")} - {
        Path(whole)
    }
    saved = shutil.copy(killed / "checkpoints" / "last.pt", bench.work / "killed.pt")
    bench.program("-m", "pneumo_cli", "resume", killed)
    compared = bench.script("compared", first=whole, second=killed, killed_at=saved)
    return {
        "tensors that differ": at_most(compared["different"], "tensors", 0),
        "metrics that differ": at_most(float(not compared["metrics"]), "yes or no", 0),
        "tensors": Figure(compared["tensors"], "tensors"),
        "resumed at step": at_least(compared["step"], "steps", 1),
    }


def prediction(bench: Bench) -> dict[str, Figure]:
    """``pneumo predict`` on files, in a process of its own."""
    count, size = (8, 32) if bench.tiny else (1_000, 256)
    made = bench.script("files", count=count, size=size, output=bench.work / "predicted")
    began = time.monotonic()
    ended = bench.pneumo("predict", made["run"], made["images"], "--json")
    took = time.monotonic() - began
    found = len(json.loads(ended.stdout))
    if not found:
        raise Failed("nothing was predicted")
    return {f"{count:,} files": Figure(took, "s"), "rate": Figure(count / took, "images/s")}


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of the only run below a folder."""
    (file,) = folder.glob("*/*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


class Part(NamedTuple):
    """A part and the seconds that it has on a card."""

    work: Callable[[Bench], dict[str, Figure]]
    seconds: float


PARTS: dict[str, Part] = {
    "suite": Part(suite, 40),
    "cnn": Part(cnn, 45),
    "gan": Part(gan, 45),
    "features": Part(features, 40),
    "autoencoder": Part(autoencoder, 40),
    "fine-tuning": Part(fine_tuning, 45),
    "prediction": Part(prediction, 40),
    "resume": Part(resume, 50),
    "precisions": Part(precisions, 40),
    "stalls": Part(stalls, 25),
    "compiled": Part(compiled, 40),
    "algorithms": Part(algorithms, 15),
}
"""By importance: what comes last is left out first. The bounds add up to less than the check's."""
