"""Values of metrics with their intervals, and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsFloat, TypeVar

from pneumo_cli.errors import nearest
from pneumo_cli.evaluation.metric_names import in_order, interval_text, metric_label, metric_text
from pneumo_cli.runtime.json_values import mapping, number, number_ends, text
from pneumo_cli.runtime.streams import encodable

_SHOWN = 8  # metrics of a table
_ALSO_CALLED = {
    "sensitivity": "recall",
    "tpr": "recall",
    "tnr": "specificity",
    "ppv": "precision",
    "roc_auc": "auc",
    "auroc": "auc",
    "auprc": "average_precision",
}
Value = TypeVar("Value")


class Metric(float):
    """A metric's value: a float, with its 95 % interval.

    Attributes:
        name: of the metric.
        interval: (lower, upper); None: no interval was computed.
    """

    name: str
    interval: tuple[float, float] | None

    def __new__(
        cls, value: SupportsFloat, name: str = "", interval: tuple[float, float] | None = None
    ) -> Metric:
        metric = super().__new__(cls, value)
        metric.name, metric.interval = name, interval
        return metric

    def __getnewargs__(self) -> tuple[Any, ...]:
        return float(self), self.name, self.interval

    def __str__(self) -> str:
        ends = interval_text(self.name, self.interval)
        return encodable(metric_text(self.name, float(self)) + (f" ({ends})" if ends else ""))

    __repr__ = __str__


class Named(dict[str, Value]):
    """Values by name. A KeyError suggests the names that are similar.

    >>> Named(auc=0.9)["acu"]
    Traceback (most recent call last):
    KeyError: "there is no 'acu'; did you mean auc?"
    """

    def __missing__(self, name: str) -> Value:
        other = _ALSO_CALLED.get(name, name)
        hint = f"it is {other} here" if other in self else nearest(name, self)
        raise KeyError(f"there is no {name!r}; {hint}")


def metrics_of(values: Any, intervals: Any = None) -> dict[str, Metric]:
    """Metrics with their intervals, of values from JSON; those that are undefined are NaN."""
    ends = mapping(intervals)
    metrics: Named[Metric] = Named()
    for name, value in mapping(values).items():
        found = number(value)
        if found is None:
            metrics[name] = Metric(float("nan"), name)
        else:
            metrics[name] = Metric(found, name, number_ends(ends.get(name)))
    return metrics


def metric_columns(
    cells: Mapping[str, Mapping[str, str]], task: str = "binary"
) -> tuple[dict[str, list[str]], str]:
    """A table with a row per metric, as columns of text, and a sentence on those that are left out.

    Args:
        cells: the head of each column to the texts of metrics by name.
    """
    names = in_order(dict.fromkeys(name for values in cells.values() for name in values))
    if not names:
        return {}, ""
    shown, left = names[:_SHOWN], names[_SHOWN:]
    columns = {"": [metric_label(name, task).label for name in shown]}
    columns |= {
        head: [values.get(name, "") for name in shown]
        for head, values in cells.items()
        if any(name in values for name in shown)
    }
    return columns, f"… and {len(left)} more in .metrics: {', '.join(map(text, left))}" if left else ""
