"""How much faster is an epoch of pneumo's CNN than one of the report's training loop on this machine?

The report's loop opens, resizes, augments and converts every image in every epoch (torchvision's ImageFolder
and transforms on PIL images, SOURCE 2) and trains in fp32. pneumo decodes images once and augments them on the
device; its epoch is what ``pneumo bench cnn`` measures. Both train the same network on the same images with the
same optimizer and number of threads, one after the other in this process.

    python examples/measure_training.py PATH/TO/chest_xray [--image-size 64] [--steps 12] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import recording
import torch
import torch.nn.functional as F
from torchvision import datasets, transforms

import pneumo_cli as pneumo
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.threads import usable_cores
from pneumo_cli.specs import load_reference

BATCH = 16
SECONDS = 4.0  # of pneumo's epoch


def report_batches(root: Path, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The report's data path: PIL for each image in every epoch."""
    recipe = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomRotation(30),
            transforms.RandomHorizontalFlip(0.5),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    data = datasets.ImageFolder(str(root / "train"), recipe)
    yield from torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)


def report_rate(root: Path, size: int, steps: int, threads: int) -> float:
    """Images per second of the report's loop: the median step with its batch, without the first two."""
    torch.set_num_threads(threads)
    model = load_reference(discover().models.get("cnn").spec.factory)().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-5)
    batches, taken = report_batches(root, size), []
    for _ in range(steps + 2):
        began = time.perf_counter()
        images, labels = next(batches)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(images).flatten(), labels.float()).backward()
        optimizer.step()
        taken.append(time.perf_counter() - began)
    return BATCH / statistics.median(taken[2:])


def main() -> None:
    """Measure both, and print images per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument("--image-size", type=int, default=64, help="in pixels")
    parser.add_argument("--steps", type=int, default=12, help="training steps of the report's loop")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="CPU threads of both")
    recording.add_option(parser)
    arguments = parser.parse_args()

    size = arguments.image_size
    result = pneumo.bench(
        "cnn",
        seconds=SECONDS,
        dataset="chest-xray",
        data_root=arguments.root,
        image_size=size,
        batch_size=BATCH,
        device="cpu",
        threads=arguments.threads,
    )
    (row,) = result.content["trainers"]
    ours = row["images_per_second"]["epoch"]["median"]
    theirs = report_rate(arguments.root, size, arguments.steps, arguments.threads)
    print(f"{result.content['machine']['device_name']}, {size} px, batch {BATCH}, {row['precision']}")
    print(
        f"images per second: the report's loop {theirs:.1f}, pneumo {ours:.1f}, {ours / theirs:.1f} times as fast"
    )
    speeds = {"images_per_second": round(ours, 1), "images_per_second_report": round(theirs, 1)}
    recording.write(arguments.record, {"ratio": round(ours / theirs, 2), **speeds})


if __name__ == "__main__":
    main()
