"""``pneumo generate``, ``evaluate-images`` and ``tstr``: generated images, and their quality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import (
    CacheFlag,
    CheckpointFlag,
    DeviceFlag,
    JsonFlag,
    RootFlag,
    RunPath,
    ThreadsFlag,
    formerly,
)
from pneumo_cli.cli.output import print_json, print_line, print_table, print_text
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message

if TYPE_CHECKING:
    from pneumo_cli.workflows.caller import Caller

SeedFlag = Annotated[int, typer.Option("--seed", help="Seed of the images.", min=0)]


def add_commands(app: typer.Typer) -> None:
    """Add the commands for generated images to the program."""
    app.command(rich_help_panel="Images")(generate)
    app.command("evaluate-images", rich_help_panel="Images")(evaluate_images)
    app.command(rich_help_panel="Images")(tstr)
    formerly(app, "judge", evaluate_images)
    formerly(app, "usefulness", tstr)


def generate(
    ctx: typer.Context,
    run: RunPath,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for PNG files and manifest.csv.", show_default=False)
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="Number of new images.", min=1)] = 16,
    seed: SeedFlag = 0,
    first: Annotated[
        int, typer.Option("--first", help="Index of the first new image.", min=0, max=10**12)
    ] = 0,
    only: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Only images of this class, by a network that is conditional on it.",
            show_default="as the training images",
        ),
    ] = None,
    reconstruct: Annotated[
        list[Path] | None,
        typer.Option(
            "--reconstruct",
            metavar="PATH",
            help="Instead: an autoencoder's reconstructions of this image or folder; may be repeated.",
            show_default=False,
        ),
    ] = None,
    interpolate: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--interpolate",
            metavar="IMAGE IMAGE",
            help="Instead: an autoencoder's interpolation between two images.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Images of an interpolation.", min=2)] = 9,
    checkpoint: CheckpointFlag = "best",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace images generated into the folder before.")
    ] = False,
    device: DeviceFlag = None,
    threads: ThreadsFlag = None,
) -> None:
    """Generate images with a trained GAN or autoencoder. The same seed and index give the same image."""
    from pneumo_synthetic.functions import Request, generated
    from pneumo_synthetic.generate import MANIFEST

    request = Request(count, seed, first, only or "", reconstruct or (), interpolate, steps)
    machine = {"device": device, "threads": threads}
    done = generated(_caller(ctx), run, request, out, checkpoint, machine, overwrite=overwrite)
    print_line(out)
    print_message(
        f"{done.count} images by {done.trained.name}, {checkpoint} checkpoint of epoch "
        f"{done.trained.epoch}, in {out}; {MANIFEST} lists them"
    )


def evaluate_images(
    ctx: typer.Context,
    run: RunPath,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="RUN", help="Another run on the same data.", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", help="Number of new images.", min=1, show_default="the run's own"),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            "--extractor",
            help="Features to compare: pixels, a classifier with ImageNet weights, or a classifier's run.",
            show_default="the run's own",
        ),
    ] = None,
    checkpoint: CheckpointFlag = "best",
    device: DeviceFlag = None,
    data_root: RootFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
) -> None:
    """Measure how close generated images are to real ones.

    Distances, copies, diversity, reconstruction."""
    from pneumo_synthetic.functions import evaluated

    machine = {"device": device, "data_root": data_root, "cache": cache, "threads": threads}
    flags = {"fidelity_images": count, "extractor": extractor, **machine}
    _show(evaluated(_caller(ctx), run, against, flags, checkpoint), json)


def tstr(
    ctx: typer.Context,
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="One run for each class.", show_default=False)
    ],
    seeds: Annotated[
        int, typer.Option("--seeds", help="Number of classifiers per training set.", min=2, max=100)
    ] = 3,
    checkpoint: CheckpointFlag = "best",
    device: DeviceFlag = None,
    data_root: RootFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
) -> None:
    """Train on synthetic images, test on real ones."""
    from pneumo_synthetic.functions import tested

    flags = {"device": device, "data_root": data_root, "cache": cache, "threads": threads}
    _show(tested(_caller(ctx), runs, flags, seeds, checkpoint), json)


def _caller(ctx: typer.Context) -> Caller:
    from pneumo_cli.workflows.caller import Caller

    return Caller(ctx.obj, sys.argv, for_stderr())


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for table in result["tables"]:
        print_line(table["title"])
        print_table(table["head"], table["rows"])
        if table["note"]:
            print_text(table["note"])
        print()
    warnings = result.get("warnings", [])
    for note in filter(None, (result.get("verdict"), *warnings)):
        print_text(note)
    for note in result["notes"]:
        if note not in warnings:
            print_text(note)
