"""How much faster is an epoch of pneumo's GAN than one of the report's training loop on this machine?

The report's loop opens, resizes and converts every image in every epoch (torchvision's ImageFolder and
transforms on PIL images) and trains in fp32 with plain Adam; the discriminator's step also computes gradients
of the generator, since SOURCE 7 mentions no detaching. pneumo decodes images once and maps them into memory. Both
train the same networks on the same images with the same settings, one after the other in this process; the loop
is measured over its first steps, pneumo over whole epochs of a run.

The loop's time depends on the size of the image files, pneumo's does not. If the files at PATH are downsampled,
give the loop a folder of radiographs at their published size (about 1500 x 1200; a few dozen suffice):

    python examples/measure_gan.py PATH/TO/chest_xray [--published PATH] [--steps 4] [--epochs 10]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import recording
import torch
from torch import nn
from torchvision import datasets, transforms

from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.specs import load_reference
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import open_runner

BATCH, SIZE, Z_DIM = 100, 32, 100


def report_batches(root: Path, steps: int) -> Iterator[torch.Tensor]:
    """The report's data path, PIL for each image in every epoch: random images of the class PNEUMONIA."""
    recipe = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize((SIZE, SIZE)),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    data = datasets.ImageFolder(str(root / "train"), recipe)
    pneumonia = [i for i, label in enumerate(data.targets) if data.classes[label] == "PNEUMONIA"]
    images_of_class = torch.utils.data.Subset(data, pneumonia)
    # With replacement, so that a few dozen files suffice.
    order = torch.utils.data.RandomSampler(images_of_class, replacement=True, num_samples=BATCH * steps)
    for images, _ in torch.utils.data.DataLoader(images_of_class, BATCH, sampler=order):
        yield images


def report_seconds(root: Path, plugins: Plugins, steps: int) -> float:
    """Seconds per image of the report's loop, without the first step."""
    torch.manual_seed(0)
    model = load_reference(plugins.models.get("gan").spec.factory)(size=SIZE, z_dim=Z_DIM)
    generator, discriminator = model.generator, nn.Sequential(model.discriminator, nn.Sigmoid())
    criterion = nn.BCELoss()
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-4)
    batches = report_batches(root, steps + 1)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        real = next(batches)
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        discriminator_optimizer.zero_grad()
        fake = generator(torch.randn(len(real), Z_DIM))
        loss = criterion(discriminator(real), ones) + criterion(discriminator(fake), zeros)
        loss.backward()
        discriminator_optimizer.step()
        generator_optimizer.zero_grad()
        criterion(discriminator(generator(torch.randn(len(real), Z_DIM))), ones).backward()
        generator_optimizer.step()
        seconds.append((time.perf_counter() - began) / len(real))
    return statistics.median(seconds[1:])


def own_seconds(root: Path, plugins: Plugins, epochs: int, folder: Path) -> tuple[float, int, str]:
    """Seconds per image of a run's epochs (with sample grid and checkpoint), number of images, and precision."""
    flags = {
        "dataset": "chest-xray",
        "data_root": root,
        "epochs": epochs,
        "device": "cpu",
        "fidelity_images": 0,
        "output": folder / "runs",
        "cache": folder / "cache",
    }
    resolved = resolve(plugins, plugins.trainers.get("gan"), flags, preset="source", environ={})
    runner = open_runner(set_up(plugins, resolved))
    runner.start()
    run = runner.run
    images = len(run.data.split.train)
    # The first epoch warms up.
    return statistics.median(row["seconds"] for row in run.history[2:]) / images, images, run.device.precision


def main() -> None:
    """Measure both, and print seconds per epoch and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument(
        "--published", type=Path, help="folder of images at their published size, for the report's loop"
    )
    parser.add_argument("--steps", type=int, default=4, help="steps of the report's loop")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of pneumo")
    recording.add_option(parser)
    arguments = parser.parse_args()
    plugins = discover()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    theirs = report_seconds(arguments.published or arguments.root, plugins, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        ours, images, precision = own_seconds(arguments.root, plugins, arguments.epochs, Path(folder))
    print(f"{torch.get_num_threads()} threads, {images:,} images of {SIZE} px, batch {BATCH}")
    print(f"{'the report':<16}{theirs * images:>8.2f} s per epoch")
    print(f"{'pneumo, ' + precision:<16}{ours * images:>8.2f} s per epoch")
    print(f"pneumo is {theirs / ours:.0f} times as fast")
    seconds = {"seconds": round(ours * images, 2), "seconds_report": round(theirs * images, 2)}
    recording.write(arguments.record, {"ratio": round(theirs / ours, 1), **seconds})


if __name__ == "__main__":
    main()
