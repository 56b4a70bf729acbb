"""Does a classifier learn from generated images what it needs for real ones?

The same small network is trained on real images, on as many generated ones, and on both, for equally many steps,
and judged on real images of other patients: "train on synthetic, test on real" (Esteban et al. 2017, arXiv
1706.02633). Whether generated images help where real ones are at hand is a question that the literature mostly
answers with no; here it is answered anew each time, with the spread over seeds.
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
"""Updates of each classifier; enough for the order of cases to settle at 32 to 64 px."""
_BATCH = 64
_RATE = 2e-3
_SORTS = {"real": "real", "synthetic": "generated", "both": "real and generated"}


class Labelled(NamedTuple):
    """Images with their classes: uint8 [N, S, S] and int64 [N] of 0 and 1, both of which occur."""

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
    """Train on real, on generated and on both; test on real.

    Args:
        test: real images of patients who are in neither of the others.
        seeds: how many classifiers of each sort, at least 2.

    Returns:
        a table of AUC and accuracy with their spread over seeds, and what follows in words. Metrics: ``auc_real``,
        ``auc_synthetic``, ``auc_both`` and ``gain`` (mean of both less real).
    """
    both = Labelled(*(torch.cat(pair) for pair in zip(real, synthetic, strict=True)))
    sets: Mapping[str, Labelled] = {"real": real, "synthetic": synthetic, "both": both}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sets}
    with progress.stage("classifiers", seeds * len(sets), "classifiers") as advance:
        for seed in range(seeds):
            for name, data in sets.items():
                model = _trained(data, seed, device)
                found[name].append(binary_metrics(_logits(model, test.images), test.labels))
                advance(1)
    rows = tuple(
        (
            f"{_SORTS[name]} ({len(data.images):,} images)",
            _spread([one["auc"] for one in found[name]]),
            _spread([one["accuracy"] for one in found[name]]),
        )
        for name, data in sets.items()
    )
    gains = [both["auc"] - alone["auc"] for both, alone in zip(found["both"], found["real"], strict=True)]
    means = {f"auc_{name}": statistics.mean(one["auc"] for one in values) for name, values in found.items()}
    table = NamedTable(
        "A small classifier, trained on one sort of images and tested on real ones",
        ("trained on", "AUC", "accuracy"),
        rows,
        f"Mean and standard deviation over {seeds} seeds, {STEPS} steps of {_BATCH} images, both classes equally "
        f"often; tested on {len(test.images):,} real images of other patients.",
    )
    return RunSummary({**means, "gain": statistics.mean(gains)}, (table,), (), _verdict(means, gains))


def _verdict(means: Mapping[str, float], gains: list[float]) -> tuple[str, ...]:
    mean, spread = statistics.mean(gains), statistics.stdev(gains)
    # Paired by seed. Three seeds tell only large effects: all have to agree, and the mean has to stand out.
    if all(gain > 0 for gain in gains) and mean > spread:
        words = "Generated images in addition helped"
    elif all(gain < 0 for gain in gains) and -mean > spread:
        words = "Generated images in addition did harm"
    else:
        words = "Generated images in addition did not help: the difference is within the spread over seeds"
    lost = means["auc_real"] - means["auc_synthetic"]
    instead = (
        f"Instead of real images they cost {lost:.3f} of the AUC."
        if lost > 0
        else f"Instead of real images they cost nothing (AUC {-lost:+.3f})."
    )
    return (f"{words} (AUC {mean:+.4f} ± {spread:.4f}, {len(gains)} seeds).", instead)


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
    """A new classifier, trained on batches of which half are of each class."""
    generator = torch.Generator().manual_seed(derive(seed, "usefulness", "batches"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "usefulness", "weights"))
        model = _network().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    classes = [(data.labels == label).nonzero().flatten() for label in (0, 1)]
    with torch.enable_grad():
        for _ in range(STEPS):
            drawn = [
                positions[torch.randint(len(positions), (_BATCH // 2,), generator=generator)]
                for positions in classes
            ]
            index = torch.cat(drawn)
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
        return torch.cat([model(_inputs(part, device)).cpu() for part in images.split(512)])


def _inputs(images: Tensor, device: torch.device) -> Tensor:
    return images.unsqueeze(1).to(device).float() / 127.5 - 1
