"""Writing images that a trained model makes: PNG files and a manifest, whole or not at all.

Images are made and written a chunk at a time, so memory does not grow with their number. They are gathered in a
hidden folder, in the target or, where there is none yet, beside it, and put in place when all are there. Each file
says within itself that it is synthetic.

How images are made is the trainers' (:mod:`pneumo_cli.trainers.generative`).
"""

from __future__ import annotations

import csv
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.data.files import MAX_BYTES, is_image
from pneumo_cli.errors import PneumoError, UnreadableImage, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.capabilities import ImageGenerator
from pneumo_cli.trainers.generative import CHUNK
from pneumo_cli.trainers.loading import Trained

MANIFEST = "manifest.csv"
_DESCRIPTIONS = {
    "sample": "Synthetic radiograph, drawn by a network: no patient is behind it.",
    "reconstruction": "Synthetic: what a network made of a given image.",
    "interpolation": "Synthetic: drawn by a network between two given images.",
}
_COLUMNS = ("file", "kind", "source", "seed", "index", "run", "checkpoint", "epoch", "dataset", "images_of")


class Made(NamedTuple):
    """One image that was made: its name, its grey levels [S, S], and what the manifest says of it."""

    name: str
    levels: Tensor
    facts: dict[str, Any]


def generative(trained: Trained) -> ImageGenerator:
    """The run's trainer, if it makes images.

    Raises:
        UsageError: it does not.
    """
    generator = trained.trainer.as_generator()
    if generator is None:
        raise UsageError(
            f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which makes no images"
        )
    return generator


def sampled(trained: Trained, seed: int, first: int, count: int) -> Iterator[Made]:
    """New images, each of which depends on ``seed`` and its index alone.

    Args:
        first: index of the first one.

    Raises:
        UsageError: the run's model makes none.
    """
    trainer = generative(trained)
    if not trainer.can_sample(trained.model):
        raise UsageError(
            f"the model {trained.entry.spec.name} has nothing to draw new images from; "
            "--reconstruct and --interpolate make images of given ones"
        )
    digits = max(6, len(str(first + count - 1)))
    for block in range(first // CHUNK, (first + count - 1) // CHUNK + 1):
        index = np.arange(max(first, block * CHUNK), min(first + count, (block + 1) * CHUNK))
        for position, levels in zip(index, trainer.sample(trained.model, seed, index), strict=True):
            yield Made(
                f"{position:0{digits}}.png",
                levels,
                {"kind": "sample", "source": "", "seed": seed, "index": int(position)},
            )


def reconstructed(trained: Trained, paths: Sequence[Path]) -> Iterator[Made]:
    """What the model makes of images, one after the other.

    Args:
        paths: JPEG or PNG files.

    Raises:
        UsageError: the run's model takes no images, or one cannot be read.
    """
    trainer = generative(trained)
    taken: set[str] = set()
    for number, path in enumerate(paths):
        image = trainer.from_gray_levels(read_gray_levels(path, trainer.image_size)[None])
        with torch.no_grad():
            levels = trainer.to_gray_levels(
                trainer.reconstruct(trained.model, image.to(trained.device.torch))
            )[0]
        name = f"{path.stem}.png"
        if name in taken:
            name = f"{path.stem}-{number}.png"
        taken.add(name)
        yield Made(name, levels, {"kind": "reconstruction", "source": path, "seed": "", "index": number})


def interpolated(trained: Trained, first: Path, last: Path, steps: int) -> Iterator[Made]:
    """Images on the way from one image to another.

    Raises:
        UsageError: the run's model takes no images, one cannot be read, or there are less than two steps.
    """
    if steps < 2:
        raise UsageError(f"an interpolation has at least 2 steps, not {steps}")
    trainer = generative(trained)
    ends = [
        trainer.from_gray_levels(read_gray_levels(path, trainer.image_size)[None]).to(trained.device.torch)
        for path in (first, last)
    ]
    with torch.no_grad():
        way = trainer.to_gray_levels(trainer.interpolate(trained.model, ends[0], ends[1], steps))
    for step, levels in enumerate(way):
        facts = {"kind": "interpolation", "source": f"{first} to {last}", "seed": "", "index": step}
        yield Made(f"{step:03}.png", levels, facts)


def read_gray_levels(path: Path, size: int) -> Tensor:
    """Decode an image file: uint8 [size, size].

    Raises:
        UsageError: there is no such file, or it is no image.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableImage(f"larger than {MAX_BYTES >> 20} MiB")
        return torch.from_numpy(resize(decode(path.read_bytes(), size), size).copy())
    except OSError as error:
        raise UsageError(f"the image {path} cannot be read: {error.strerror}") from error
    except UnreadableImage as error:
        raise UsageError(f"the image {path} cannot be read: {error}") from error


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The images that paths name: files as they are, and all images below folders, sorted.

    Raises:
        UsageError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file() and is_image(one.name))
            if not inside:
                raise UsageError(f"there is no image in {path}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"there is no image {path}")
    return found


def write_images(
    images: Iterator[Made], count: int, trained: Trained, target: Path, *, overwrite: bool, progress: Progress
) -> int:
    """Write images and their manifest into a folder.

    Args:
        count: how many images are to come.
        overwrite: replace what an earlier manifest in ``target`` lists. Other files there stay.

    Returns:
        How many were written.

    Raises:
        UsageError: the folder is not empty and is not to be overwritten, cannot be written to, or has a file of
            somebody else's where an image or the manifest would go.
        PneumoError: the disk is full. Nothing has changed then.
    """
    check_target(target, overwrite=overwrite)
    written = 0
    with _gathered(target) as folder, progress.stage("generating", count) as advance:
        with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
            manifest = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            manifest.writeheader()
            for made in images:
                facts = {**made.facts, **_origin(trained)}
                _write_png(folder / made.name, made.levels, facts)
                manifest.writerow({"file": made.name, **facts})
                written += 1
                advance(1)
        _put_in_place(folder, target)
    return written


def check_target(target: Path, *, overwrite: bool) -> None:
    """Find out whether images may be written into a folder, before any is made.

    Raises:
        UsageError: they may not.
    """
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UsageError(
            f"the folder {target} is not empty: name another one, or replace what was generated into it before "
            "with --overwrite"
        )
    if (target / MANIFEST).exists() and not _earlier(target):
        raise UsageError(f"{target / MANIFEST} was not written by pneumo generate, and is not replaced")
    try:
        atomic.try_folder(target)
    except OSError as error:
        raise UsageError(f"the folder {target} cannot be written: {error.strerror}") from error


def _origin(trained: Trained) -> dict[str, Any]:
    return {
        "run": trained.name,
        "checkpoint": trained.checkpoint,
        "epoch": trained.epoch,
        "dataset": trained.dataset,
        "images_of": generative(trained).images_of or "all classes",
    }


def _write_png(path: Path, levels: Tensor, facts: dict[str, Any]) -> None:
    info = PngInfo()
    info.add_text("Description", f"{_DESCRIPTIONS[facts['kind']]} Not for diagnosis.")
    info.add_text("Software", "pneumo")
    for name in ("run", "checkpoint", "kind", "seed", "index"):
        info.add_text(f"pneumo:{name}", str(facts[name]))
    Image.fromarray(levels.numpy()).save(path, format="png", pnginfo=info)


@contextmanager
def _gathered(target: Path) -> Iterator[Path]:
    """A hidden folder on the target's file system that is gone afterwards, whatever happens."""
    place = target if target.is_dir() else target.absolute().parent
    folder = place / f".{target.absolute().name}.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise PneumoError(
            f"the images cannot be written to {target}: {error.strerror}; nothing was changed"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Move everything over, the manifest last; what else an earlier manifest lists goes.

    Raises:
        UsageError: something is in the way that no earlier manifest lists. Nothing has changed then.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = {file.name for file in folder.iterdir()}
    earlier = _earlier(target)
    for name in sorted(made - earlier):
        if (target / name).exists():
            raise UsageError(f"{target / name} was not written by pneumo generate, and is not replaced")
    for name in sorted(made - {MANIFEST}):
        os.replace(folder / name, target / name)
    for name in earlier - made:
        (target / name).unlink(missing_ok=True)
    os.replace(folder / MANIFEST, target / MANIFEST)
    atomic.flush_folder(target)


def _earlier(target: Path) -> set[str]:
    """The manifest of an earlier generation and the files that it lists, those alone that lie in the folder itself.

    Empty where there is no manifest, or one of somebody else's.
    """
    try:
        with (target / MANIFEST).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != _COLUMNS:
                return set()
            names = [row["file"] or "" for row in rows]
    except (OSError, ValueError, csv.Error):
        return set()
    own = {name for name in names if name.endswith(".png") and Path(name).name == name}
    return {name for name in own if (target / name).is_file()} | {MANIFEST}
