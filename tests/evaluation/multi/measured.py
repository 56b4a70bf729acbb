"""The metrics per class and their averages, straight from logits and labels."""

from __future__ import annotations

from typing import Any

from pneumo_cli.evaluation.multi.metrics import averaged_metrics, metrics_per_class
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest


def per_class_metrics(logits: Any, labels: Any, task: Any, thresholds: Any = None) -> list[dict[str, float]]:
    """Of each class against the rest, [K]."""
    return metrics_per_class(as_one_vs_rest(logits, labels, task, thresholds), task)


def averages(logits: Any, labels: Any, task: Any, thresholds: Any = None) -> dict[str, dict[str, float]]:
    """Macro, micro and weighted."""
    split = as_one_vs_rest(logits, labels, task, thresholds)
    return averaged_metrics(split, task, metrics_per_class(split, task))
