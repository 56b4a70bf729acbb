"""What a metric is called, how many digits it deserves, and what it means in a few words.

The one place where reports and figures know metrics by name. A metric that is not in the table is shown under
a name made from its own, so that a new task needs no change here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricLabel:
    """How one metric is shown.

    Attributes:
        label: as in a table's head or on an axis.
        digits: after the decimal point.
        meaning: completes "this is ...", for a reader who knows no statistics; empty where nobody wrote one.
        share: True for a value between 0 and 1 of which 1 is the best.
    """

    label: str
    digits: int = 4
    meaning: str = ""
    share: bool = False


KNOWN: Mapping[str, MetricLabel] = {
    "accuracy": MetricLabel("Accuracy", 3, "the share of all images that were called right", share=True),
    "auc": MetricLabel(
        "ROC AUC",
        3,
        "how often a positive image gets a higher score than a negative one; 0.5 is chance",
        share=True,
    ),
    "recall": MetricLabel("Recall", 3, "the share of the positive images that were found", share=True),
    "precision": MetricLabel(
        "Precision", 3, "the share of the images called positive that are positive", share=True
    ),
    "f1": MetricLabel("F1 score", 3, "precision and recall in one number (harmonic mean)", share=True),
    "average_precision": MetricLabel(
        "Average precision", 3, "the area under the precision-recall curve", share=True
    ),
    "loss": MetricLabel("Loss", 4, "what training makes small; lower is better"),
}
"""Known metrics, in the order in which a report shows them."""


def metric_label(name: str) -> MetricLabel:
    """The entry of a metric, made from its name where the table has none.

    >>> metric_label("generator_loss").label
    'Generator loss'
    """
    return KNOWN.get(name) or MetricLabel(" ".join(name.replace("_", " ").split()).capitalize() or "Unnamed")


def in_order(names: Mapping[str, object]) -> list[str]:
    """Metric names as a report lists them: the known in the table's order, then the others as they came."""
    known = [name for name in KNOWN if name in names]
    return known + [name for name in names if name not in KNOWN]


def number(value: object) -> float | None:
    """A finite float, or None for everything else (absent, null, text, NaN, infinite)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def metric_text(name: str, value: object) -> str:
    """A metric's value in its digits; a dash where there is none.

    >>> metric_text("auc", 0.98765), metric_text("auc", None)
    ('0.988', '–')
    """
    known = number(value)
    if known is None:
        return "–"
    digits = metric_label(name).digits
    if known != 0 and (abs(known) >= 1e5 or abs(known) < 10.0**-digits):
        return f"{known:.{digits - 1}e}"
    return f"{known:.{digits}f}"
