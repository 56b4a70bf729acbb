"""Our value for each number of the source report: from a run's report, from the plan, or computed from them.

Nothing here raises: a value that a run does not have is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_text
from pneumo_cli.reports.formatting import count
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text
from pneumo_reproduce.source_report import Number

NONE = "–"
_BATCH = 16  # images, of the report's loaders


@dataclass(frozen=True)
class Ours:
    """The values of one of our tasks.

    Attributes:
        plan: the task's entry in ``plan.json``.
        report: its run's ``report.json``; empty if there is no finished run.
        run: the run folder, relative to that of the reproduction.
    """

    plan: Mapping[str, Any]
    report: Mapping[str, Any]
    run: str = ""

    def value(self, path: str) -> Any:
        """The value at a dotted path (``report.history.0.train.loss``); None if there is none.

        The last key may contain dots or spaces.
        """
        root, _, rest = path.partition(".")
        value: Any = (
            self.derived if root == "derived" else {"plan": self.plan, "report": self.report}.get(root)
        )
        while rest:
            if isinstance(value, Mapping) and rest in value:
                return value[rest]
            key, _, rest = rest.partition(".")
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return value

    def of(self, asked: Number) -> Any:
        """Our value of one of the report's numbers; None if there is none."""
        return self.value(asked.ours) if asked.ours else None

    def shown(self, asked: Number) -> str:
        """Our value of one of the report's numbers, as it is printed."""
        value = self.of(asked)
        if value is None:
            return NONE
        return metric_text(asked.metric, value) if asked.metric else _plain(value)

    def interval(self, asked: Number) -> tuple[float, float] | None:
        """The 95 % interval of our value; None if the run has none."""
        root, _, rest = asked.ours.partition(".evaluations.")
        if root != "report" or not rest:
            return None
        return number_ends(self.value(f"report.intervals.{rest}"))

    def shown_interval(self, asked: Number) -> str:
        """The interval as it is printed; empty if there is none."""
        return interval_text(asked.metric, self.interval(asked))

    @cached_property
    def derived(self) -> Mapping[str, Any]:
        """Values that no report contains as such, by the names that ``source.toml`` uses."""
        history = [mapping(row) for row in sequence(self.report.get("history"))]
        last: Mapping[str, Any] = history[-1] if history else {}
        epochs = history[1:]
        values: dict[str, Any] = {
            **self._of_layers(),
            "minutes_per_epoch": _mean([row.get("seconds") for row in epochs], 60),
            "batches_per_second": _rounded(last.get("images_per_second"), 2, _BATCH),
            "positive_weight": None,
        }
        for side in ("train", "validation"):
            for name in ("loss", "generator_loss", "discriminator_loss", "keras_accuracy"):
                value = number(mapping(last.get(side)).get(name))
                if value is not None:
                    values[f"last_{side}_{name}"] = f"{value:.4g}"
        values["last_generator_loss"] = values.get("last_train_generator_loss")
        values["last_discriminator_loss"] = values.get("last_train_discriminator_loss")
        values["last_keras_accuracy"] = values.get("last_validation_keras_accuracy")
        losses = [
            (loss, row.get("epoch"))
            for row in epochs
            if (loss := number(mapping(row.get("train")).get("generator_loss"))) is not None
        ]
        if losses:
            loss, epoch = min(losses)
            values["smallest_generator_loss"] = f"{loss:.4g}, in epoch {epoch}"
        for row in map(mapping, sequence(self.value("report.dataset.split.rows"))):
            values[f"{row.get('split')}_images"] = row.get("images")
            counts = [number(value) for value in mapping(row.get("counts")).values()]
            if row.get("split") == "train" and len(counts) == 2 and counts[0] and counts[1]:
                values["positive_weight"] = round(counts[0] / counts[1], 3)
        return values

    def _of_layers(self) -> dict[str, Any]:
        source = mapping(mapping(self.plan.get("layers")).get("source"))
        here = mapping(mapping(self.plan.get("layers")).get("here"))
        rows = [row for row in sequence(source.get("rows")) if len(row) == 3]
        values: dict[str, Any] = {"layer_rows": source.get("layers")}
        if rows:
            values["first_layer"], values["last_layer"] = (
                f"{name} {list(shape)} {parameters:,}" for name, shape, parameters in (rows[0], rows[-1])
            )
            values["layer_parameters"] = [row[2] for row in rows if row[2]]
        maps = [list(shape) for _, shape, _ in sequence(here.get("rows")) if len(shape) == 3]
        if maps and here.get("input"):
            channels, height, width = min(maps, key=lambda shape: int(shape[1]) * int(shape[2]))
            values["bottleneck"] = f"{channels * height * width:,} ({height} x {width} x {channels})"
            values["image_values"] = math.prod(int(size) for size in here["input"])
        return values


def reports_value(asked: Number) -> str:
    """The report's value, in its own digits."""
    if isinstance(asked.value, str):
        return asked.value
    if isinstance(asked.value, float):
        return f"{asked.value:.4f}" if asked.metric else f"{asked.value:g}"
    return count(asked.value)


def verdict(
    asked: Number, ours: Any, interval: tuple[float, float] | None = None, *, same_images: bool = True
) -> str:
    """How our value compares with the report's, in a word; empty if the two are not comparable.

    A metric is compared by its interval, on the report's images alone; counts, settings and texts are equal or not.
    """
    value = number(ours)
    if asked.metric:
        if not same_images or isinstance(asked.value, str) or interval is None or value is None:
            return ""
        if interval[0] <= asked.value <= interval[1]:
            return "agrees"
        return "higher here" if asked.value < interval[0] else "lower here"
    if ours is None:
        return ""
    if isinstance(asked.value, str):
        if _plain(ours) == asked.value:
            return "equal"
        return "differs" if value is not None and _is_number(asked.value) else ""
    if value is None:
        return ""
    rounding = 0.0 if float(asked.value).is_integer() else 0.005
    return "equal" if abs(value - asked.value) <= rounding else "differs"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> str:
    numeric = number(value)
    if numeric is None:
        return text(value) or NONE
    if numeric.is_integer() and not isinstance(value, float):
        return count(numeric)
    return f"{numeric:g}"


def _mean(values: list[Any], divided_by: float) -> str | None:
    numbers = [value for value in map(number, values) if value is not None]
    return f"{sum(numbers) / len(numbers) / divided_by:.3g}" if numbers else None


def _rounded(value: Any, digits: int, divided_by: float) -> float | None:
    numeric = number(value)
    return None if numeric is None else round(numeric / divided_by, digits)
