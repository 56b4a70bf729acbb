"""The functions ``pneumo_cli.generate``, ``evaluate_images`` and ``tstr``: what the commands do, in Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import recorded_facts, reopen_settings
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.settings.resolve import settings_class
from pneumo_cli.settings.schema import GenerativeSettings
from pneumo_cli.trainers.loading import Trained, check_checkpoint, load_trained
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import open_runner
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.plugin_functions import carry_out
from pneumo_synthetic import generate as generating
from pneumo_synthetic.evaluate import compare, train_on_synthetic
from pneumo_synthetic.generate import Made
from pneumo_synthetic.result import ImagesResult
from pneumo_synthetic.summary import keep_summary, resummarize


def generate(
    run: StrPath,
    folder: StrPath | None = None,
    *,
    count: int = 16,
    seed: int = 0,
    first: int = 0,
    only_class: str | None = None,
    reconstruct: StrPath | Sequence[StrPath] = (),
    interpolate: tuple[StrPath, StrPath] | None = None,
    steps: int = 9,
    checkpoint: str = "best",
    overwrite: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> NDArray[np.uint8]:
    """Generate images with a trained generative network: what ``pneumo generate`` does.

    Args:
        run: folder or result of a run of a generative trainer.
        folder: where PNG files and ``manifest.csv`` are written; None: nothing is written.
        count: number of new images, at least 1.
        seed: from 0. The same seed and index give the same image.
        first: index of the first new image, from 0.
        only_class: only images of this class, by a network that is conditional on it.
        reconstruct: instead, an autoencoder's reconstructions of these image files or folders.
        interpolate: instead, an autoencoder's interpolation between two image files, of ``steps`` images.
        checkpoint: ``best`` or ``last``.
        overwrite: whether images that were generated into the folder before are replaced.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``xpu``, ``xpu:N`` or ``mps``.
        progress: whether it is shown; None: as it suits a notebook, a terminal or a log.

    Returns:
        the images, uint8 [N, S, S], 0 black to 255 white.

    Raises:
        UsageError: the run generates no such images, or the folder is not empty.
        PneumoError: the checkpoint is damaged, or the disk is full.
    """
    whole = {"count": (count, 1), "seed": (seed, 0), "first": (first, 0), "steps": (steps, 2)}
    for name, (value, least) in whole.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise UsageError(f"{name} is a whole number from {least}, not {value!r}")
    request = Request(
        int(count),
        int(seed),
        int(first),
        only_class or "",
        _paths(reconstruct),
        None if interpolate is None else _two(interpolate),
        int(steps),
    )
    target = None if folder is None else expanded_path(folder)

    def work(caller: Caller) -> NDArray[np.uint8]:
        done = generated(
            *(caller, expanded_path(run), request, target, checkpoint, {"device": device}),
            overwrite=overwrite,
            keep=True,
        )
        return np.stack(done.images)

    return carry_out(work, progress)


def evaluate_images(
    run: StrPath,
    *,
    against: StrPath | None = None,
    count: int | None = None,
    extractor: str | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    data_root: StrPath | None = None,
    progress: bool | None = None,
) -> ImagesResult:
    """Measure the images of a run: distance to real ones, copies, diversity, reconstruction.

    What ``pneumo evaluate-images`` does; the result is kept in the run's folder ``evaluations``. An access to the
    test images is counted.

    Args:
        run: folder or result of a run of a generative trainer.
        against: another run on the same data, to compare with.
        count: number of new images; None: the run's own.
        extractor: of the features to compare: ``pixels``, a classifier with ImageNet weights, or a classifier's
            run; None: the run's own.
        checkpoint, device, progress: as of :func:`generate`.
        data_root: folder or archive of the real images; None: the run's own.

    Raises:
        UsageError: the run generates no images, or its data are not available.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    flags = {
        "fidelity_images": count,
        "extractor": extractor,
        "device": device,
        "data_root": None if data_root is None else str(expanded_path(data_root)),
    }
    other = None if against is None else expanded_path(against)
    path = expanded_path(run)
    content = carry_out(lambda caller: evaluated(caller, path, other, flags, checkpoint), progress)
    return ImagesResult(content, f"Images of {path.name}")


def tstr(
    *runs: StrPath,
    seeds: int = 3,
    checkpoint: str = "best",
    device: str | None = None,
    data_root: StrPath | None = None,
    progress: bool | None = None,
) -> ImagesResult:
    """Train classifiers on synthetic images and test them on real ones: what ``pneumo tstr`` does.

    The result is kept in the first run's folder ``evaluations``. An access to the test images is counted.

    Args:
        runs: folders or results of one run for each of two classes.
        seeds: number of classifiers per training set, 2 to 100.
        checkpoint, device, data_root, progress: as of :func:`evaluate_images`.

    Raises:
        UsageError: the runs do not generate images of each of two classes of the same data.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    if not isinstance(seeds, int) or not 2 <= seeds <= 100:
        raise UsageError(f"seeds is a whole number from 2 to 100, not {seeds!r}")
    if not runs:
        raise UsageError("tstr takes one run for each of two classes")
    flags = {"device": device, "data_root": None if data_root is None else str(expanded_path(data_root))}
    paths = [expanded_path(run) for run in runs]
    content = carry_out(lambda caller: tested(caller, paths, flags, seeds, checkpoint), progress)
    return ImagesResult(
        content, f"Classifiers trained on images of {' and '.join(path.name for path in paths)}"
    )


@dataclass(frozen=True)
class Request:
    """Which images to generate; see :func:`generate`."""

    count: int
    seed: int
    first: int
    only: str
    reconstruct: Sequence[Path]
    interpolate: tuple[Path, Path] | None
    steps: int

    def __post_init__(self) -> None:
        if self.reconstruct and self.interpolate:
            raise UsageError("--reconstruct and --interpolate cannot be combined: choose one of them")
        if self.only and (self.reconstruct or self.interpolate):
            raise UsageError(
                "--class is for new images, and goes with neither --reconstruct nor --interpolate"
            )


@dataclass
class Generated:
    """What was generated: by which model, how many, and the images themselves if they were to be kept."""

    trained: Trained
    count: int = 0
    images: list[NDArray[np.uint8]] = field(default_factory=list)


def generated(
    caller: Caller,
    run: Path,
    request: Request,
    out: Path | None,
    checkpoint: str,
    machine: Mapping[str, Any],
    *,
    overwrite: bool,
    keep: bool = False,
) -> Generated:
    """Generate images into a folder, or only in memory (``keep``).

    Args:
        machine: ``device``, ``threads``; None: the run's own device, and all cores.
    """
    folder = RunFolder.open(run)
    if out is not None:
        generating.check_target(out, overwrite=overwrite)
    trained = load_trained(caller.plugins, folder, checkpoint, machine)
    done = Generated(trained)
    if request.reconstruct:
        paths = generating.image_files(request.reconstruct)
        images, count = generating.reconstructed(trained, paths), len(paths)
    elif request.interpolate:
        images, count = generating.interpolated(trained, *request.interpolate, request.steps), request.steps
    else:
        images = generating.sampled(trained, request.seed, request.first, request.count, request.only)
        count = request.count

    def kept() -> Iterator[Made]:
        for image in images:
            if keep:
                done.images.append(image.levels.numpy())
            yield image

    if out is not None:
        done.count = generating.write_images(
            kept(), count, trained, out, overwrite=overwrite, progress=caller.progress
        )
        caller.plugins.notify("images_generated", path=run, folder=out, images=done.count)
        return done
    with caller.progress.stage("generating", count) as advance:
        for _ in kept():
            done.count += 1
            advance(1)
    return done


def evaluated(
    caller: Caller, run: Path, against: Path | None, flags: dict[str, Any], checkpoint: str
) -> dict[str, Any]:
    """Evaluate the images of a run, and keep the result with it.

    Args:
        flags: ``fidelity_images``, ``extractor``, and settings of the machine; None: not given.

    Returns:
        what is kept.
    """
    plugins = caller.plugins
    flags = {name: value for name, value in flags.items() if value is not None}
    check_checkpoint(checkpoint)
    folder = RunFolder.open(run)
    other = RunFolder.open(against) if against is not None else None
    entry = plugins.trainers.get(str(recorded_facts(folder.settings).get("trainer")))
    if not issubclass(settings_class(entry), GenerativeSettings):
        raise UsageError(
            f"{folder.path} is a run of {entry.spec.name}, which generates no images: use pneumo evaluate RUN"
        )
    flags.setdefault("threads", 0)  # those of this machine, not of the run
    resolved = reopen_settings(plugins, folder, flags)
    if not getattr(resolved.trainer, "fidelity_images", 0):  # the run itself did not evaluate its images
        flags["fidelity_images"] = GenerativeSettings().fidelity_images
        resolved = reopen_settings(plugins, folder, flags)
    facts: dict[str, Any] = {}
    if other is not None:
        pair = [load_trained(plugins, one, checkpoint, _machine(flags)) for one in (folder, other)]
        summary = compare(pair, plugins, resolved, caller.progress)
        facts["against"] = pair[1].name
    else:
        setup = set_up(plugins, resolved)
        command = list(caller.command)
        runner = open_runner(setup, caller.taking_part(), progress=caller.progress, command=command)
        summary = resummarize(runner, folder, checkpoint)
    return keep_summary(folder, checkpoint, summary, facts)


def tested(
    caller: Caller, runs: Sequence[Path], flags: dict[str, Any], seeds: int, checkpoint: str
) -> dict[str, Any]:
    """Train classifiers on the images of runs, and keep the result with the first run; returns what is kept."""
    folders = [RunFolder.open(path) for path in runs]
    trained = [load_trained(caller.plugins, folder, checkpoint, _machine(flags)) for folder in folders]
    summary = train_on_synthetic(trained, caller.plugins, flags, seeds, caller.progress)
    facts = {"runs": [one.name for one in trained], "seeds": seeds}
    return keep_summary(folders[0], checkpoint, summary, facts)


def _machine(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a model without data needs of the flags."""
    return {name: flags.get(name) for name in ("device", "threads")}


def _paths(given: StrPath | Sequence[StrPath]) -> list[Path]:
    return [expanded_path(one) for one in ([given] if isinstance(given, (str, os.PathLike)) else given)]


def _two(given: Sequence[StrPath]) -> tuple[Path, Path]:
    if isinstance(given, str) or len(given) != 2:
        raise UsageError(f"interpolate is a pair of image files, not {given!r}")
    return expanded_path(given[0]), expanded_path(given[1])
