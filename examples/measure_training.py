"""How much faster is an epoch of pneumo's CNN than one of the report's training loop on this machine?

The report's loop opens, resizes, augments and converts every image in every epoch (torchvision's ImageFolder
and transforms on PIL images, SOURCE 2) and trains in fp32. pneumo decodes images once and augments them on the
device. Both train the same network on the same images with the same optimizer, one after the other in this
process.

    python examples/measure_training.py PATH/TO/chest_xray [--image-size 64] [--steps 12]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import recording
import torch
import torch.nn.functional as F
from torchvision import datasets, transforms

from pneumo_cli.data.augmentation import ReportAugmentation
from pneumo_cli.data.batch_inputs import ImageInputs
from pneumo_cli.data.loader import Loader
from pneumo_cli.data.prepare import SplitRequest, prepare
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.devices import choose_device
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import load_reference

BATCH = 16


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


def timed(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    step: Callable[[torch.Tensor, torch.Tensor], None],
    steps: int,
) -> tuple[list[float], list[float]]:
    """Seconds per batch for loading and for training, without the first two batches."""
    fetching, training = [], []
    for _ in range(steps + 2):
        began = time.perf_counter()
        images, labels = next(batches)
        fetched = time.perf_counter()
        step(images, labels)
        fetching.append(fetched - began)
        training.append(time.perf_counter() - fetched)
    return fetching[2:], training[2:]


def main() -> None:
    """Measure both, and print images per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument("--image-size", type=int, default=64, help="in pixels")
    parser.add_argument("--steps", type=int, default=12, help="training steps of each")
    recording.add_option(parser)
    arguments = parser.parse_args()

    plugins = discover()
    build = load_reference(plugins.models.get("cnn").spec.factory)
    device = choose_device("cpu", "auto")

    def trainer(fast: bool) -> Callable[[torch.Tensor, torch.Tensor], None]:
        torch.manual_seed(0)
        model = build().train()
        if fast:
            model = model.to(memory_format=device.memory_format)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-5, fused=fast or None
        )

        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast and device.precision == "bf16"):
                logits = model(images).flatten()
            F.binary_cross_entropy_with_logits(logits.float(), labels.float()).backward()
            optimizer.step()

        return step

    with tempfile.TemporaryDirectory() as cache:
        dataset = load_reference(plugins.datasets.get("chest-xray").spec.factory)(
            DatasetRequest(arguments.root, Path(cache), Progress())
        )
        data = prepare(
            dataset,
            size=arguments.image_size,
            split=SplitRequest("source"),
            cache=Path(cache),
            progress=Progress(),
            skip_unreadable=False,
        )
        cpu = torch.device("cpu")
        inputs = ImageInputs(data.images_on(cpu), ReportAugmentation(seed=0), cpu, device.memory_format)
        loader = Loader(inputs, torch.from_numpy(data.labels), data.split.train, BATCH, cpu, shuffle_seed=0)
        ours = timed(((b.images, b.labels) for b in loader), trainer(True), arguments.steps)
    theirs = timed(report_batches(arguments.root, arguments.image_size), trainer(False), arguments.steps)

    print(f"{device.name}, {arguments.image_size} px, batch {BATCH}, median of {arguments.steps} steps")
    print(f"{'':<16}{'data ms/image':>15}{'step ms/image':>15}{'images/s':>10}")
    rates = []
    for name, (fetching, training) in (("the report's", theirs), (f"pneumo, {device.precision}", ours)):
        fetch, train = statistics.median(fetching), statistics.median(training)
        rates.append(BATCH / (fetch + train))
        print(f"{name:<16}{1e3 * fetch / BATCH:>15.2f}{1e3 * train / BATCH:>15.2f}{rates[-1]:>10.1f}")
    print(f"pneumo is {rates[1] / rates[0]:.1f} times as fast")
    speeds = {"images_per_second": round(rates[1], 1), "images_per_second_report": round(rates[0], 1)}
    recording.write(arguments.record, {"ratio": round(rates[1] / rates[0], 2), **speeds})


if __name__ == "__main__":
    main()
