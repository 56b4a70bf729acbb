"""``pneumo generate``, ``evaluate-images`` and ``tstr``: generated images, and their quality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import CheckpointFlag, DeviceFlag, JsonFlag, RootFlag, RunPath, formerly
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import RunSummary
    from pneumo_cli.runs.folder import RunFolder

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
) -> None:
    """Generate images with a trained generative network. The same seed and index give the same image."""
    if reconstruct and interpolate:
        raise UsageError("--reconstruct and --interpolate cannot be combined: choose one of them")
    if only and (reconstruct or interpolate):
        raise UsageError("--class is for new images, and goes with neither --reconstruct nor --interpolate")
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.trainers.loading import load_trained
    from pneumo_synthetic import generate as generating

    folder = RunFolder.open(run)
    generating.check_target(out, overwrite=overwrite)
    trained = load_trained(ctx.obj, folder, checkpoint, {"device": device})
    if reconstruct:
        paths = generating.image_files(reconstruct)
        images, count = generating.reconstructed(trained, paths), len(paths)
    elif interpolate:
        images, count = generating.interpolated(trained, *interpolate, steps), steps
    else:
        images = generating.sampled(trained, seed, first, count, only or "")
    written = generating.write_images(images, count, trained, out, overwrite=overwrite, progress=for_stderr())
    ctx.obj.notify("images_generated", path=run, folder=out, images=written)
    print(out)
    print(
        f"pneumo: {written} images by {trained.name}, {checkpoint} checkpoint of epoch {trained.epoch}, "
        f"in {out}; {generating.MANIFEST} lists them",
        file=sys.stderr,
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
    json: JsonFlag = False,
) -> None:
    """Measure the images of a run: distance to real ones, copies, diversity, reconstruction."""
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.runs.record import reopen_settings
    from pneumo_cli.settings.schema import GenerativeSettings
    from pneumo_cli.trainers.loading import check_checkpoint, load_trained
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner
    from pneumo_synthetic.evaluate import compare
    from pneumo_synthetic.summary import keep_summary, resummarize

    plugins: Plugins = ctx.obj
    flags = {"fidelity_images": count, "extractor": extractor, "device": device, "data_root": data_root}
    flags = {name: value for name, value in flags.items() if value is not None}
    check_checkpoint(checkpoint)
    folder = RunFolder.open(run)
    other = RunFolder.open(against) if against is not None else None
    _check_generative(plugins, folder)
    resolved = reopen_settings(plugins, folder, flags)
    if not getattr(resolved.trainer, "fidelity_images", 0):  # the run itself did not evaluate its images
        flags["fidelity_images"] = GenerativeSettings().fidelity_images
        resolved = reopen_settings(plugins, folder, flags)
    progress = for_stderr()
    facts: dict[str, Any] = {}
    if other is not None:
        pair = [load_trained(plugins, one, checkpoint, {"device": device}) for one in (folder, other)]
        summary = compare(pair, plugins, resolved, progress)
        facts["against"] = pair[1].name
    else:
        setup = set_up(plugins, resolved)
        runner = open_runner(setup, plugins.observing(), progress=progress, command=sys.argv)
        summary = resummarize(runner, folder, checkpoint)
    _show(summary, keep_summary(folder, checkpoint, summary, facts), json)


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
    json: JsonFlag = False,
) -> None:
    """Train classifiers on synthetic images and test them on real ones."""
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.trainers.loading import load_trained
    from pneumo_synthetic.evaluate import train_on_synthetic
    from pneumo_synthetic.summary import keep_summary

    folders = [RunFolder.open(path) for path in runs]
    trained = [load_trained(ctx.obj, folder, checkpoint, {"device": device}) for folder in folders]
    flags = {"device": device, "data_root": data_root}
    summary = train_on_synthetic(trained, ctx.obj, flags, seeds, for_stderr())
    facts = {"runs": [one.name for one in trained], "seeds": seeds}
    _show(summary, keep_summary(folders[0], checkpoint, summary, facts), json)


def _check_generative(plugins: Plugins, folder: RunFolder) -> None:
    """Check that a run's trainer has the settings of a generative one.

    Raises:
        UsageError: it has not.
    """
    from pneumo_cli.runs.record import recorded_facts
    from pneumo_cli.settings.resolve import settings_class
    from pneumo_cli.settings.schema import GenerativeSettings

    entry = plugins.trainers.get(str(recorded_facts(folder.settings).get("trainer")))
    if not issubclass(settings_class(entry), GenerativeSettings):
        raise UsageError(
            f"{folder.path} is a run of {entry.spec.name}, which generates no images: use pneumo evaluate RUN"
        )


def _show(summary: RunSummary, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for table in summary.tables:
        print(table.title)
        print_table(table.head, table.rows)
        if table.note:
            print_text(table.note)
        print()
    for note in summary.notes:
        print_text(note)
