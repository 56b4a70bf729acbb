"""Ours beside each number of the source report: looked up in a run's report, in the plan, or computed from them.

Nothing here raises: a value that a run does not have is a dash.
"""

from __future__ import annotations

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
    """What a task of ours has to say.

    Attributes:
        plan: the task's entry in ``plan.json``.
        report: its run's ``report.json``; empty where there is no finished run.
        run: the run folder, relative to that of the reproduction.
    """

    plan: Mapping[str, Any]
    report: Mapping[str, Any]
    run: str = ""

    def value(self, path: str) -> Any:
        """What lies at a dotted path (``report.history.0.train.loss``); None where there is nothing.

        A key may hold dots or spaces where it is the last one.
        """
        root, _, rest = path.partition(".")
        found: Any = (
            self.derived if root == "derived" else {"plan": self.plan, "report": self.report}.get(root)
        )
        while rest:
            if isinstance(found, Mapping) and rest in found:
                return found[rest]
            key, _, rest = rest.partition(".")
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
        return found

    def shown(self, asked: Number) -> str:
        """Our value of one of the report's numbers, as it is printed."""
        found = self.value(asked.ours) if asked.ours else None
        if found is None:
            return NONE
        if asked.metric:
            return metric_text(asked.metric, found)
        return _plain(found)

    def interval(self, asked: Number) -> tuple[float, float] | None:
        """The 95 % interval of our value, where the run has one."""
        root, _, rest = asked.ours.partition(".evaluations.")
        if root != "report" or not rest:
            return None
        return number_ends(self.value(f"report.intervals.{rest}"))

    def shown_interval(self, asked: Number) -> str:
        """The interval as it is printed; empty where there is none."""
        return interval_text(asked.metric, self.interval(asked))

    @cached_property
    def derived(self) -> Mapping[str, Any]:
        """What no report holds as it stands, by the names that ``source.toml`` uses."""
        history = [mapping(row) for row in sequence(self.report.get("history"))]
        last: Mapping[str, Any] = history[-1] if history else {}
        epochs = history[1:]
        found: dict[str, Any] = {
            **self._of_layers(),
            "minutes_per_epoch": _mean([row.get("seconds") for row in epochs], 60),
            "batches_per_second": _rounded(last.get("images_per_second"), 2, _BATCH),
            "positive_weight": None,
        }
        for side in ("train", "validation"):
            for name in ("loss", "generator_loss", "discriminator_loss", "keras_accuracy"):
                value = number(mapping(last.get(side)).get(name))
                if value is not None:
                    found[f"last_{side}_{name}"] = f"{value:.4g}"
        found["last_generator_loss"] = found.get("last_train_generator_loss")
        found["last_discriminator_loss"] = found.get("last_train_discriminator_loss")
        found["last_keras_accuracy"] = found.get("last_validation_keras_accuracy")
        losses = [
            (loss, row.get("epoch"))
            for row in epochs
            if (loss := number(mapping(row.get("train")).get("generator_loss"))) is not None
        ]
        if losses:
            loss, epoch = min(losses)
            found["smallest_generator_loss"] = f"{loss:.4g}, in epoch {epoch}"
        for row in map(mapping, sequence(self.value("report.dataset.split.rows"))):
            found[f"{row.get('split')}_images"] = row.get("images")
            counts = [number(value) for value in mapping(row.get("counts")).values()]
            if row.get("split") == "train" and len(counts) == 2 and counts[0] and counts[1]:
                found["positive_weight"] = round(counts[0] / counts[1], 3)
        return found

    def _of_layers(self) -> dict[str, Any]:
        source = mapping(mapping(self.plan.get("layers")).get("source"))
        here = mapping(mapping(self.plan.get("layers")).get("here"))
        rows = [row for row in sequence(source.get("rows")) if len(row) == 3]
        found: dict[str, Any] = {"layer_rows": source.get("layers")}
        if rows:
            found["first_layer"], found["last_layer"] = (
                f"{name} {list(shape)} {parameters:,}" for name, shape, parameters in (rows[0], rows[-1])
            )
            found["layer_parameters"] = [row[2] for row in rows if row[2]]
        maps = [list(shape) for _, shape, _ in sequence(here.get("rows")) if len(shape) == 3]
        if maps and here.get("input"):
            channels, height, width = min(maps, key=lambda shape: int(shape[1]) * int(shape[2]))
            found["bottleneck"] = f"{channels * height * width:,} ({height} x {width} x {channels})"
            found["image_values"] = _product(here["input"])
        return found


def reports_value(asked: Number) -> str:
    """The report's value, in its own digits."""
    if isinstance(asked.value, str):
        return asked.value
    if isinstance(asked.value, float):
        return f"{asked.value:.4f}" if asked.metric else f"{asked.value:g}"
    return count(asked.value)


def verdict(asked: Number, ours: Any, interval: tuple[float, float] | None = None) -> str:
    """Where the report's value lies beside ours, in a word; empty where the two cannot be compared.

    A metric is compared through its interval and not without one; a count, a setting or a text is equal or not.
    """
    known = number(ours)
    if asked.metric:
        if isinstance(asked.value, str) or interval is None or known is None:
            return ""
        low, high = interval
        return (
            "agrees" if low <= asked.value <= high else "higher here" if asked.value < low else "lower here"
        )
    if ours is None:
        return ""
    if isinstance(asked.value, str):
        if _plain(ours) == asked.value:
            return "equal"
        return "differs" if known is not None and _is_number(asked.value) else ""
    if known is None:
        return ""
    rounding = 0.0 if float(asked.value).is_integer() else 0.005
    return "equal" if abs(known - asked.value) <= rounding else "differs"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> str:
    known = number(value)
    if known is None:
        return text(value) or NONE
    if known.is_integer() and not isinstance(value, float):
        return count(known)
    return f"{known:g}"


def _mean(values: list[Any], divided_by: float) -> str | None:
    known = [found for value in values if (found := number(value)) is not None]
    return f"{sum(known) / len(known) / divided_by:.3g}" if known else None


def _rounded(value: Any, digits: int, divided_by: float) -> float | None:
    known = number(value)
    return None if known is None else round(known / divided_by, digits)


def _product(shape: Any) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product
