"""What a run will cost: time, memory and disk, from a measured second of its own work, before it starts.

``pneumo run NAME --dry-run`` shows it; an ordinary run says its time in one line where that is long.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumo_cli.data.loader import count_batches
from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.runs.folder import check_writable
from pneumo_cli.runs.groups import members_of
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.settings.resolve import Resolved, with_preset
from pneumo_cli.trainers.session import (
    Setup,
    open_named_dataset,
    prepare_device,
    run_on,
    set_up,
)
from pneumo_cli.training import saver
from pneumo_cli.training.few_images import few_images
from pneumo_cli.training.measurement import (
    Measurement,
    copy_remembered,
    few_positions,
    measure,
    silent,
    temporary_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pneumo_cli.data.records import Dataset
    from pneumo_cli.registry import Registries
    from pneumo_cli.runs.run import Run
    from pneumo_cli.runtime.devices import Device

LONG = 600.0
"""Seconds from which on a run says its price before it starts."""

_QUICK = "quick"  # the preset that is named beside a long one
_FEW = (2e7, 1000)
"""Pixels and batches passed in training: no run of fewer is long. A step of EfficientNet-B7, as large as models are
here, is 0.3 million operations per pixel, so that a slow processor (10 GFLOP/s) needs ten minutes for them."""
_AROUND = 12.0  # seconds: the start of the program, and a report of a few hundred test images
_REPORT = 8_000_000  # bytes of a page with its figures
_WRITTEN = 250e6  # bytes of a checkpoint that are hashed and written in a second
_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Estimate:
    """What a run, or a group of runs, will cost on this machine. Nothing of it has been trained or written.

    Attributes:
        trainer, preset, model, dataset: names.
        images: number of images by split.
        image_size: height and width, in pixels.
        batch_size: images of a training step.
        epochs, steps_per_epoch: of each run.
        runs: 1, or the members of the group.
        device: with threads and precision.
        devices: processes that will share each batch; it was measured on one of them.
        parameters, trainable: of the model; 0: not known.
        seconds_of: seconds by kind of work: ``decoding``, ``features`` (cached), ``training``, ``validation``,
            ``test``, ``report``; empty: not known.
        disk: bytes by kind of file: ``decoded images`` and ``features``, as far as the cache lacks them,
            ``checkpoints``, ``report``.
        memory: bytes, of the device or of this process; None: not known.
        problem: why its steps could not be measured, in one line; empty: they could.
    """

    trainer: str
    preset: str
    model: str
    dataset: str
    images: Mapping[str, int]
    image_size: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    runs: int
    device: str
    devices: int = 1
    parameters: int = 0
    trainable: int = 0
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    memory: int | None = None
    problem: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it takes; None: not known."""
        return sum(self.seconds_of.values()) if self.seconds_of else None

    @property
    def steps(self) -> int:
        """Training steps of all runs."""
        return self.runs * self.epochs * self.steps_per_epoch

    def content(self) -> dict[str, Any]:
        """All of it as JSON values."""
        seconds = {name: round(value, 1) for name, value in self.seconds_of.items()}
        total = None if self.seconds is None else round(self.seconds, 1)
        return {**asdict(self), "steps": self.steps, "seconds": total, "seconds_of": seconds}

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of each line that is shown."""
        size, images = self.image_size, ", ".join(f"{n:,} {name}" for name, n in self.images.items() if n)
        runs = f"{self.runs} runs of " if self.runs > 1 else ""
        rows = [
            ("run", f"{self.trainer}, preset {self.preset}, dataset {self.dataset}"),
            ("images", f"{images}; {size} x {size} px"),
        ]
        if self.parameters:
            trained = "all" if self.trainable == self.parameters else f"{self.trainable:,}"
            rows.append(("model", f"{self.model}, {self.parameters:,} parameters, {trained} of them trained"))
        each = f"{runs}{_several(self.epochs, 'epoch')} of {_several(self.steps_per_epoch, 'step')}"
        rows.append(("steps", f"{self.steps:,}: {each}, {self.batch_size} images each"))
        on = "; measured on one, without the exchange between them" if self.devices > 1 else ""
        devices = f"{self.devices} devices, each as " if self.devices > 1 else ""
        rows.append(("device", f"{devices}{self.device}{on}"))
        if self.seconds is None:
            return [*rows, ("time", f"not known: {self.problem}")]
        parts = ", ".join(f"{name} {rough_time(s)}" for name, s in self.seconds_of.items() if s >= 0.5)
        files = ", ".join(f"{name} {rough_size(n)}" for name, n in self.disk.items() if n)
        rows.append(("time", f"about {rough_time(self.seconds)}: {parts}"))
        if self.memory is not None:
            rows.append(("memory", f"about {rough_size(self.memory)}"))
        return [*rows, ("disk", f"about {rough_size(sum(self.disk.values()))}: {files}")]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<8} {text}" for name, text in self.rows())


def estimate_run(registries: Registries, resolved: Resolved, progress: Progress) -> Estimate:
    """Estimate the run, or the group, that settings ask for. Nothing is written; caches are left as they are.

    Raises:
        UsageError: the request cannot be met.
        DataError: the data are not available.
    """
    members = members_of(resolved.trainer)
    first = {"fold": members[0].fold, "seed": members[0].seed, "seeds": 1}
    resolved = replace(resolved, trainer=resolved.trainer.model_copy(update=first))
    setup = set_up(registries, resolved)
    setup.check_request()
    device = prepare_device(resolved.machine)
    check_writable(resolved.machine.output, resolved.entry.spec.name)
    with temporary_folder() as folder:
        copy = folder / "cache"
        copy_remembered(resolved.machine.cache, copy)
        own = replace(resolved, machine=resolved.machine.model_copy(update={"cache": copy}))
        dataset = open_named_dataset(registries, own, progress)
        return _estimated(setup, dataset, device, progress, len(members), folder)


def say_if_long(run: Run, members: int = 1) -> None:
    """Say how long a run that is about to start takes, if that is long, and how long its preset ``quick`` would.

    Short runs are recognized by their pixels or by their first step, so that this costs them next to nothing.

    Args:
        run: opened, with its data, and not built.
        members: runs of the group that it is the first one of.
    """
    settings = run.settings
    images = members * settings.epochs * run.images_per_epoch
    if images * settings.image_size**2 < _FEW[0] and images < _FEW[1] * settings.batch_size:
        return
    try:
        measured = measure(run, LONG / members)
    except Interrupted:
        raise
    except PneumoError:  # the run itself will say what is wrong
        return
    estimate = total(run, members, measured)
    seconds = estimate.seconds or 0.0
    if seconds <= LONG:
        return
    quick = _quick_seconds(run, members)
    runs = f"{members} runs of " if members > 1 else ""
    shorter = f"; --preset {_QUICK} takes about {rough_time(quick)}" if quick < seconds / 2 else ""
    _log.log(
        NOTICE,
        "about %s on this machine (%s%s of %s)%s",
        *(rough_time(seconds), runs, _several(settings.epochs, "epoch")),
        *(_several(estimate.steps_per_epoch, "step"), shorter),
    )


def _quick_seconds(run: Run, members: int) -> float:
    """How long the same request with the preset ``quick`` takes; infinite if there is none, or it is in use."""
    names = [preset.name for preset in run.spec.presets]
    if _QUICK not in names or run.resolved.preset.name == _QUICK:
        return math.inf
    try:
        with silent(), temporary_folder() as folder:
            resolved = with_preset(run.registries, run.resolved, _QUICK)
            setup = set_up(run.registries, resolved)
            setup.check_request()
            dataset = run.data.dataset
            if resolved.options != run.resolved.options:
                dataset = open_named_dataset(run.registries, resolved, Progress())
            return _estimated(setup, dataset, run.device, Progress(), members, folder).seconds or math.inf
    except Interrupted:
        raise
    except (PneumoError, OSError):  # no space for temporary files: the run itself needs none
        return math.inf


def _estimated(
    setup: Setup, dataset: Dataset, device: Device, progress: Progress, members: int, folder: Path
) -> Estimate:
    """Estimate a run whose images may not be decoded yet: a few of them are, into ``folder``."""
    machine, settings = setup.resolved.machine, setup.resolved.trainer
    choose = partial(few_positions, batch=-(-settings.batch_size // machine.devices))
    opened = few_images(setup, dataset, progress, cache=machine.cache, folder=folder, choose=choose)
    decoding = opened.seconds / opened.decoded * len(dataset.records) if opened.decoded else 0.0
    run = run_on(setup, opened.data, device, progress, Ranks())
    try:
        return total(run, members, measure(run), decoding=decoding, known=opened.cached)
    except UsageError:
        raise
    except PneumoError as error:
        return replace(total(run, members), problem=" ".join(str(error).split()))


def total(
    run: Run, members: int, measured: Measurement | None = None, *, decoding: float = 0.0, known: bool = True
) -> Estimate:
    """What a run costs that takes what was measured.

    Args:
        decoding: seconds for all images.
        known: whether the cache has them.
    """
    settings, devices = run.settings, run.machine.devices
    images = {name: len(positions) for name, positions in run.data.split.parts().items()}
    smallest = measured.smallest_batch if measured is not None else 1
    steps = count_batches(run.images_per_epoch, settings.batch_size, devices, smallest)
    estimate = Estimate(
        trainer=run.spec.name,
        preset=run.resolved.preset.name,
        model=settings.model,
        dataset=run.data.dataset.name,
        images=images,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        runs=members,
        device=f"{run.device.name}, {run.device.precision}",
        devices=devices,
    )
    if measured is None:
        return estimate
    train, validation = images["train"], images["validation"]
    test = images["test"] if settings.evaluate_test else 0
    epoch = steps * measured.step + validation * measured.evaluation / devices
    save = measured.last / _WRITTEN
    saves = save if save < saver.QUICK else min(save, saver.SHARE * epoch)
    seconds = {
        "features": measured.once * (train + validation) / devices,
        "training": settings.epochs * (steps * measured.step + measured.epoch + saves) + 2 * save,
        "validation": measured.evaluation * (train + validation * (settings.epochs + 2)) / devices,
        "test": measured.test * test / devices,
        "report": _AROUND,
    }
    decoded = 0 if known else run.data.images.nbytes + sum(mask.nbytes for mask in run.data.masks.values())
    return replace(
        estimate,
        parameters=measured.parameters,
        trainable=measured.trainable,
        seconds_of={"decoding": decoding, **{name: members * value for name, value in seconds.items()}},
        disk={
            "decoded images": decoded,
            "features": round(members * measured.cached * (train + validation)),
            "checkpoints": members * (measured.best + measured.last),
            "report": members * (_REPORT + settings.epochs * measured.epoch_images),
        },
        memory=measured.memory,
    )


def rough_time(seconds: float) -> str:
    """A duration with as many digits as an estimate deserves.

    >>> [rough_time(s) for s in (4.2, 47, 400, 11_500, 100_000, 900_000)]
    ['4 s', '50 s', '7 min', '3 h 10 min', '28 h', '10 days']
    """
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 55:
        return f"{10 * round(seconds / 10)} s"
    if seconds < 5970:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 35_700:
        hours, tens = divmod(round(seconds / 600), 6)
        return f"{hours} h {tens}0 min" if tens else f"{hours} h"
    return f"{seconds / 3600:.0f} h" if seconds < 259_200 else f"{seconds / 86_400:.0f} days"


def rough_size(count: float) -> str:
    """A number of bytes with as many digits as an estimate deserves.

    >>> rough_size(3e5), rough_size(8.4e6), rough_size(2.14e9)
    ('0.3 MB', '8 MB', '2.1 GB')
    """
    megabytes = count / 1e6
    if megabytes >= 1000:
        return f"{megabytes / 1000:.1f} GB"
    return f"{megabytes:.0f} MB" if megabytes >= 1 else f"{megabytes:.1f} MB"


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
