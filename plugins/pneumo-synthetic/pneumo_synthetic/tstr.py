"""TSTR: are generated images good training data for a classifier of real ones?

The same small network is trained on real images, on as many generated ones, and on both, for the same number of
steps, and tested on real images of other patients: "train on synthetic, test on real" (Esteban et al. 2017, arXiv
1706.02633). The spread over seeds says whether differences mean anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.result import NamedTable, RunSummary
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.seeding import derive

STEPS = 400
"""Training steps of each classifier; enough for a stable AUC at 32 to 64 px."""
_BATCH = 64
_LR = 2e-3
_NAMES = {"real": "real", "synthetic": "generated", "both": "real and generated"}


class Labelled(NamedTuple):
    """Images with their labels: uint8 [N, S, S] and int64 [N] of 0 and 1, both of which occur."""

    images: Tensor
    labels: Tensor


def tstr(
    real: Labelled,
    synthetic: Labelled,
    test: Labelled,
    *,
    seeds: int,
    device: torch.device,
    progress: Progress,
) -> RunSummary:
    """Train on real images, on generated ones and on both; test on real ones.

    Args:
        test: real images of patients who are in neither of the others.
        seeds: number of classifiers per training set, at least 2.

    Returns:
        A table of AUC and accuracy with their standard deviations over seeds, and conclusions in words. Metrics:
        ``auc_real``, ``auc_synthetic``, ``auc_both`` and ``gain`` (the mean of both minus real).
    """
    both = Labelled(*(torch.cat(pair) for pair in zip(real, synthetic, strict=True)))
    sets: Mapping[str, Labelled] = {"real": real, "synthetic": synthetic, "both": both}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in sets}
    with progress.stage("classifiers", seeds * len(sets), "classifiers") as advance:
        for seed in range(seeds):
            for name, data in sets.items():
                model = _trained(data, seed, device)
                results[name].append(binary_metrics(_logits(model, test.images), test.labels))
                advance(1)
    rows = tuple(
        (
            f"{_NAMES[name]} ({len(data.images):,} images)",
            _spread([metrics["auc"] for metrics in results[name]]),
            _spread([metrics["accuracy"] for metrics in results[name]]),
        )
        for name, data in sets.items()
    )
    aucs = {name: [metrics["auc"] for metrics in results[name]] for name in sets}
    gains = [both - real for both, real in zip(aucs["both"], aucs["real"], strict=True)]
    means = {f"auc_{name}": statistics.mean(values) for name, values in aucs.items()}
    table = NamedTable(
        "Train on synthetic, test on real (TSTR): a small classifier on each training set",
        ("trained on", "AUC", "accuracy"),
        rows,
        f"Mean and standard deviation over {seeds} seeds, {STEPS} steps of {_BATCH} images, balanced classes; "
        f"tested on {len(test.images):,} real images of other patients.",
    )
    return RunSummary({**means, "gain": statistics.mean(gains)}, (table,), (), _conclusions(means, gains))


def _conclusions(means: Mapping[str, float], gains: list[float]) -> tuple[str, ...]:
    mean, spread = statistics.mean(gains), statistics.stdev(gains)
    # Paired by seed. Three seeds show only large effects: all have to agree, and the mean has to exceed the spread.
    if all(gain > 0 for gain in gains) and mean > spread:
        added = "Adding generated images to real ones helped"
    elif all(gain < 0 for gain in gains) and -mean > spread:
        added = "Adding generated images to real ones did harm"
    else:
        added = "Adding generated images to real ones did not help: the difference is within the spread over seeds"
    change = means["auc_synthetic"] - means["auc_real"]
    return (
        f"{added} (AUC {mean:+.4f} ± {spread:.4f}, {len(gains)} seeds).",
        f"Replacing real images by generated ones changes the AUC by {change:+.3f}.",
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def _network() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for width in (32, 64, 128):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Flatten(0)
    )


def _trained(data: Labelled, seed: int, device: torch.device) -> nn.Module:
    """A new classifier, trained on batches with equally many images of each class."""
    generator = torch.Generator().manual_seed(derive(seed, "usefulness", "batches"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "usefulness", "weights"))
        model = _network().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    classes = [(data.labels == label).nonzero().flatten() for label in (0, 1)]
    with torch.enable_grad():
        for _ in range(STEPS):
            halves = [
                positions[torch.randint(len(positions), (_BATCH // 2,), generator=generator)]
                for positions in classes
            ]
            index = torch.cat(halves)
            logits = model(_inputs(data.images[index], device))
            loss = F.binary_cross_entropy_with_logits(logits, data.labels[index].float().to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    device = next(model.parameters()).device
    with torch.no_grad():
        return torch.cat([model(_inputs(batch, device)).cpu() for batch in images.split(512)])


def _inputs(images: Tensor, device: torch.device) -> Tensor:
    return images.unsqueeze(1).to(device).float() / 127.5 - 1
