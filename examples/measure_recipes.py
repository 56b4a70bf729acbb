"""What does each part of a recipe bring? An ablation over several seeds, with one setting of a preset changed.

Each run is evaluated on the validation images (of other patients than the training images) and on the same images
with simulated scanner shifts: contrast, gamma, borders, blur, JPEG quality, resolution, field of view. No recipe
was tuned on these shifts. The test images are evaluated only as in every run.

    python examples/measure_recipes.py cnn PATH/TO/chest_xray --seeds 1 2 3 --set image_size=64 \\
        --without ema=0 --without label_smoothing=0

The first row is the preset, each further row the preset with one change. Accuracy is at the threshold with the
highest Youden index on the unshifted validation images. Each cell is mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import recording
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from pneumo_cli.data.batch_inputs import FlipTTA, ImageInputs
from pneumo_cli.data.loader import Loader
from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner

# --- simulated scanner shifts: uint8 [N, S, S] to uint8 [N, S, S] ----------------------------------------------


def levels(gray: Tensor) -> Tensor:
    """Gray levels in [0, 1] as uint8."""
    return (gray.clamp(0, 1) * 255).round().to(torch.uint8)


def flat(images: Tensor) -> Tensor:
    """Half the contrast, brighter."""
    return levels(images / 255 * 0.55 + 0.25)


def hard(images: Tensor) -> Tensor:
    """More contrast, clipped at both ends."""
    gray = images / 255
    mean = gray.mean((1, 2), keepdim=True)
    return levels((gray - mean) * 1.6 + mean)


def dark(images: Tensor) -> Tensor:
    """Gamma 1.8."""
    return levels((images / 255) ** 1.8)


def bright(images: Tensor) -> Tensor:
    """Gamma 0.55."""
    return levels((images / 255) ** 0.55)


def collimated(images: Tensor) -> Tensor:
    """Black borders, a tenth of the side wide."""
    cropped = torch.zeros_like(images)
    width = images.shape[-1] // 10
    inner = slice(width, -width)
    cropped[:, inner, inner] = images[:, inner, inner]
    return cropped


def unsharp(images: Tensor) -> Tensor:
    """Gaussian blur, sigma 1.5 pixels of an image of 224 px."""
    sigma = 1.5 * images.shape[-1] / 224
    radius = int(3 * sigma) + 1
    kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    gray = F.pad(images.unsqueeze(1) / 255, (radius,) * 4, mode="reflect")
    return levels(F.conv2d(F.conv2d(gray, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0])


def compressed(images: Tensor) -> Tensor:
    """JPEG of quality 15."""
    decoded = []
    for image in images.numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=15)
        decoded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(decoded))


def coarse(images: Tensor) -> Tensor:
    """Downsampled to a quarter, and upsampled again."""
    size = images.shape[-1]
    small = F.interpolate(images.unsqueeze(1) / 255, size=max(size // 4, 8), mode="area")
    return levels(F.interpolate(small, size=size, mode="bilinear")[:, 0])


def wide(images: Tensor) -> Tensor:
    """The whole image at 80 % of its size on a black film."""
    size = images.shape[-1]
    inner = int(size * 0.8)
    small = F.interpolate(images.unsqueeze(1) / 255, size=inner, mode="bilinear", antialias=True)
    film = torch.zeros_like(images)
    first = (size - inner) // 2
    film[:, first : first + inner, first : first + inner] = levels(small[:, 0])
    return film


SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    shift.__name__: shift
    for shift in (flat, hard, dark, bright, collimated, unsharp, compressed, coarse, wide)
}


# --- training and evaluation -----------------------------------------------------------------------------------


def logits(runner: Runner, images: Tensor, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Logits and labels [n] of a finished run, for images in place of its own at ``positions``."""
    run = runner.run
    device = run.device.torch
    inputs: Any = ImageInputs(images, run.transforms.evaluation, device, run.device.memory_format)
    if getattr(run.settings, "flip_tta", False):
        inputs = FlipTTA(inputs)
    labels = torch.from_numpy(run.data.labels[positions])
    loader = Loader(inputs, labels, np.arange(len(positions)), 64, device, shuffle_seed=None)
    run.model.eval()
    with torch.no_grad(), run.device.autocast():
        outputs = runner.trainer.evaluate(run, loader).outputs
    return torch.from_numpy(outputs["logits"]), torch.from_numpy(outputs["labels"])


def youden(values: Tensor, labels: Tensor) -> float:
    """The threshold with the highest sum of sensitivity and specificity."""
    order = values.argsort(descending=True)
    sensitivity = labels[order].cumsum(0) / labels.sum()
    false_positive_rate = (1 - labels[order]).cumsum(0) / (1 - labels).sum()
    return float(values[order][int((sensitivity - false_positive_rate).argmax())])


def evaluate(runner: Runner, shifted: int) -> dict[str, float]:
    """AUC and accuracy on the validation images, and under each shift of ``shifted`` of them, with means."""
    run = runner.run
    validation = run.data.split.validation
    images = torch.from_numpy(np.asarray(run.data.images)[validation])
    values, labels = logits(runner, images, validation)
    threshold = youden(values, labels)
    subset = np.linspace(0, len(validation) - 1, min(shifted, len(validation))).astype(np.int64)
    metrics = {
        "AUC": float(binary_auroc(values, labels)),
        "accuracy": float(((values >= threshold) == (labels == 1)).float().mean()),
    }
    aucs, accuracies = [], []
    for name, shift in SHIFTS.items():
        values, labels = logits(runner, shift(images[subset]), validation[subset])
        aucs.append(float(binary_auroc(values, labels)))
        accuracies.append(float(((values >= threshold) == (labels == 1)).float().mean()))
        metrics[f"{name} AUC"], metrics[f"{name} accuracy"] = aucs[-1], accuracies[-1]
    metrics |= {"shifted AUC": statistics.mean(aucs), "shifted accuracy": statistics.mean(accuracies)}
    return metrics


def train(
    plugins: Plugins, arguments: argparse.Namespace, changes: dict[str, Any], seed: int, folder: str
) -> Runner:
    """Train one run."""
    flags = {
        "dataset": "chest-xray",
        "data_root": arguments.root,
        "split": "patient",
        "output": folder,
        **parsed(arguments.set),
        **changes,
        "seed": seed,
    }
    entry = plugins.trainers.get(arguments.trainer)
    resolved = resolve(plugins, entry, flags, preset=arguments.preset, environ={})
    runner = open_runner(set_up(plugins, resolved), progress=for_stderr(), command=sys.argv)
    runner.start()
    return runner


def parsed(settings: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; values are Python literals or text."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = ast.literal_eval(value.capitalize() if value in ("true", "false") else value)
        except (ValueError, SyntaxError):
            values[name] = value
    return values


COLUMNS = ("AUC", "accuracy", "shifted AUC", "shifted accuracy")


def main() -> None:
    """Train, evaluate, and print one row per change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("trainer", help="a classification trainer: cnn, feature-extraction, fine-tuning")
    parser.add_argument("root", type=Path, help="folder of the radiographs")
    parser.add_argument("--preset", default="strong", help="the recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all rows")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME=VALUE",
        help="one further row: the preset with these settings",
    )
    parser.add_argument("--shifted-images", type=int, default=400, help="validation images to shift")
    parser.add_argument("--json", type=Path, help="append the metrics of every run to this file")
    recording.add_option(parser)
    arguments = parser.parse_args()

    found: list[dict[str, object]] = []
    plugins = discover()
    print(f"{'':<44}" + "".join(f"{name:>20}" for name in COLUMNS) + f"{'seconds':>9}")
    for settings in [[], *arguments.without]:
        rows, seconds = [], []
        for seed in arguments.seeds:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                runner = train(plugins, arguments, parsed(settings), seed, folder)
                seconds.append(time.monotonic() - began)
                rows.append(evaluate(runner, arguments.shifted_images))
            if arguments.json:
                row = {"settings": settings, "seed": seed, "seconds": seconds[-1], **rows[-1]}
                with arguments.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        title = " ".join(settings) or f"{arguments.trainer}, {arguments.preset}"
        found.append({"recipe": f"`{' '.join(settings) or arguments.preset}`"})
        cells = []
        for name in COLUMNS:
            values = [row[name] for row in rows]
            spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}")
            key = name.lower().replace(" ", "_")
            found[-1] |= {key: round(statistics.mean(values), 5)}
            found[-1] |= {f"{key}_spread": round(statistics.stdev(values), 5) if len(values) > 1 else 0.0}
        print(
            f"{title:<44}" + "".join(f"{c:>20}" for c in cells) + f"{statistics.mean(seconds):>9.0f}",
            flush=True,
        )
    recording.write(arguments.record, {"rows": found})


if __name__ == "__main__":
    main()
