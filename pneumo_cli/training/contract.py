"""What a trainer has to return, checked before training rather than by the report at its end.

Each result of a task hook and of a trainer's other methods passes through a function here. It becomes what the rest
of the program relies on (metrics are floats, outputs are arrays, details are JSON), or it is refused with the place
of the value that is wrong. :mod:`pneumo_cli.training.rehearsal` calls before training what is used only after it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, NamedTable, ReportSection, RunSummary
from pneumo_cli.runs.checkpoints import check_plain
from pneumo_cli.training.breaches import Breach, broken, kind_of, trainer_of

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

T = TypeVar("T")

_MOST_VALUES = (
    1_000_000  # in the details of an evaluation: a report of more would be too large to be read again
)
_DEEPEST = 64  # levels of lists and mappings in the details
_LONGEST = 200  # characters of a metric's name
_NUMBERS = "biuf"  # NumPy's kinds of booleans, integers and floats


# --- evaluations -----------------------------------------------------------------------------------------------


def checked_evaluation(value: object, positions: NDArray[np.int64] | None = None) -> Evaluation:
    """An evaluation with plain floats as metrics, arrays as outputs and JSON as details.

    Args:
        positions: of the split's images; None: those of the outputs are not compared with any.

    Raises:
        Breach: it is not an Evaluation, or one of its parts is not as documented there.
    """
    if not isinstance(value, Evaluation):
        raise Breach(f"it returned {kind_of(value)}, not an Evaluation")
    metrics = checked_metrics(value.metrics)
    return replace(
        value,
        metrics=metrics,
        figures=_all(value.figures, NamedFigure, "figures"),
        outputs=_checked_outputs(value.outputs, positions),
        intervals=_checked_intervals(value.intervals, metrics),
        tables=checked_tables(value.tables),
        details=checked_details(value.details),
    )


def checked_metrics(value: object, what: str = "metrics") -> dict[str, float]:
    """Metrics as plain floats: from Python's, NumPy's and 0-d tensors. NaN and infinity are kept.

    Raises:
        Breach: a name is no text on one line, or a value no number.
    """
    if not isinstance(value, Mapping):
        raise Breach(f"{what} are {kind_of(value)}, not a mapping from names to numbers")
    metrics = {}
    for name, number in value.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST:
            raise Breach(f"{what} have the name {name!r}; a name is text on one line")
        metrics[str(name)] = _number(number, f"{what}[{name!r}]")
    return metrics


def _number(value: object, where: str) -> float:
    plain = value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value
    if not isinstance(plain, bool) and isinstance(plain, Real):
        return float(plain)
    raise Breach(f"{where} is {kind_of(value)}; a metric is one number (float, NumPy scalar or 0-d tensor)")


def _checked_outputs(value: object, positions: NDArray[np.int64] | None) -> dict[str, NDArray[np.generic]]:
    if not isinstance(value, Mapping):
        raise Breach(f"outputs are {kind_of(value)}, not a mapping from names to arrays")
    outputs = {_text(name, "the name of an output"): _array(array, name) for name, array in value.items()}
    if not outputs:
        return outputs
    if "index" not in outputs:
        raise Breach("outputs lack 'index', the images' positions (batch.index, through run.gather)")
    index = outputs["index"]
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise Breach(f"outputs['index'] is {kind_of(index)}; it is one whole number per image")
    for name, array in outputs.items():
        if len(array) != len(index):
            raise Breach(f"outputs[{name!r}] has {len(array)} rows, and outputs['index'] {len(index)}")
    if len(np.unique(index)) != len(index):
        raise Breach("outputs['index'] holds an image more than once; run.gather returns each once")
    if positions is not None and not np.array_equal(np.sort(index), np.sort(positions)):
        raise Breach(
            f"outputs['index'] holds {len(index)} images, and not just the {len(positions)} of the split: evaluate "
            "all batches of the loader"
        )
    return outputs


def _array(value: object, name: str) -> NDArray[np.generic]:
    if isinstance(value, torch.Tensor):
        value = _numpy(value)
    if not isinstance(value, np.ndarray):
        raise Breach(f"outputs[{name!r}] is {kind_of(value)}; it is an array or a tensor [N] or [N, K]")
    if value.dtype.kind not in _NUMBERS + "U" or value.ndim not in (1, 2):
        raise Breach(
            f"outputs[{name!r}] is {kind_of(value)}; it has numbers (or texts) of the shape [N] or [N, K]"
        )
    return value


def _checked_intervals(value: object, metrics: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    if not isinstance(value, Mapping):
        raise Breach(f"intervals are {kind_of(value)}, not a mapping from metrics to pairs of numbers")
    intervals = {}
    for name, ends in value.items():
        where = f"intervals[{name!r}]"
        if name not in metrics:
            raise Breach(f"{where} is of no metric; the metrics are {', '.join(metrics) or 'none'}")
        if isinstance(ends, str) or not isinstance(ends, Sequence | np.ndarray) or len(ends) != 2:
            raise Breach(f"{where} is {kind_of(ends)}; it is a pair of numbers (low, high)")
        low, high = (_number(end, where) for end in ends)
        if low > high:
            raise Breach(f"{where} is ({low}, {high}), the upper end before the lower one")
        intervals[name] = (low, high)
    return intervals


def checked_tables(value: object) -> tuple[NamedTable, ...]:
    """Tables with texts only; numbers in cells become texts.

    Raises:
        Breach: one is no NamedTable, or has rows of another length than its head.
    """
    return tuple(_checked_table(table) for table in _all(value, NamedTable, "tables"))


def _checked_table(table: NamedTable) -> NamedTable:
    where = f"the table {table.title!r}"
    head = _cells(table.head, f"{where}: its head")
    given: object = table.rows
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise Breach(f"{where}: its rows are {kind_of(given)}, not a tuple")
    rows = []
    for place, row in enumerate(given):
        rows.append(_cells(row, f"{where}: row {place}"))
        if len(rows[-1]) != len(head):
            raise Breach(f"{where}: row {place} has {len(rows[-1])} cells, and the head {len(head)}")
    title, note = _text(table.title, "the title of a table"), _text(table.note, f"{where}: its note")
    return NamedTable(title, head, tuple(rows), note)


def _cells(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Breach(f"{where} is {kind_of(value)}, not a tuple of texts")
    for cell in value:
        if not isinstance(cell, str | int | float | np.integer | np.floating):
            raise Breach(f"{where} has a cell that is {kind_of(cell)}; a cell is text")
    return tuple(map(str, value))


def checked_details(value: object, what: str = "details") -> dict[str, Any]:
    """Details as JSON values: arrays, tensors and tuples become lists, NaN and infinity None.

    Raises:
        Breach: a value has no JSON form; names its place, such as ``details.calibration.bins[3]``.
    """
    if not isinstance(value, Mapping):
        raise Breach(f"{what} are {kind_of(value)}, not a mapping")
    details: dict[str, Any] = _Json(what).converted(value, what, 0)
    return details


@dataclass
class _Json:
    """Converts one value, and counts what is in it."""

    what: str
    count: int = 0

    def converted(self, value: Any, where: str, depth: int) -> Any:
        if isinstance(value, torch.Tensor):
            value = _numpy(value)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _NUMBERS + "U":
            self._add(value.size)
            value = value.tolist()
        self._add(1)
        if depth > _DEEPEST:
            raise Breach(f"{where[:_LONGEST]} is nested more than {_DEEPEST} levels deep")
        if isinstance(value, str):
            return str.__str__(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {
                self._key(key, where): self.converted(one, f"{where}.{key}", depth + 1)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.converted(one, f"{where}[{place}]", depth + 1) for place, one in enumerate(value)]
        raise Breach(f"{where} is {kind_of(value)}, which JSON does not have")

    def _key(self, key: object, where: str) -> str:
        if isinstance(key, str | int | np.integer) and not isinstance(key, bool):
            return str(key)
        raise Breach(f"{where} has the key {key!r}; a key is text")

    def _add(self, values: int) -> None:
        self.count += values
        if self.count > _MOST_VALUES:
            raise Breach(
                f"{self.what} hold more than {_MOST_VALUES:,} values; those of images belong in outputs"
            )


# --- other results ---------------------------------------------------------------------------------------------


def checked_calibration(value: object) -> dict[str, Any]:
    """The result of ``calibrate``, which a checkpoint can hold.

    Raises:
        Breach: it holds something else than tensors and plain values.
    """
    if not isinstance(value, Mapping):
        raise Breach(f"it returned {kind_of(value)}, not a dict")
    try:
        check_plain(value, "its result")
    except (TypeError, RecursionError) as error:
        raise Breach(str(error)) from error
    return dict(value)


def checked_summary(value: object) -> RunSummary | None:
    """A summary with plain floats and texts.

    Raises:
        Breach: it is neither a RunSummary nor None, or one of its parts is not as documented there.
    """
    if value is None:
        return None
    if not isinstance(value, RunSummary):
        raise Breach(f"it returned {kind_of(value)}, not a RunSummary")
    return replace(
        value,
        metrics=checked_metrics(value.metrics),
        tables=checked_tables(value.tables),
        figures=_all(value.figures, NamedFigure, "figures"),
        notes=_all(value.notes, str, "notes"),
        warnings=_all(value.warnings, str, "warnings"),
        verdict=str(value.verdict),
    )


def checked_section(value: ReportSection) -> ReportSection:
    """A section of a plugin, with texts only.

    Raises:
        Breach: one of its parts is not as documented there.
    """
    return replace(
        value,
        title=_text(value.title, "the title of a section"),
        text=_text(value.text, f"the section {value.title!r}: its text"),
        tables=checked_tables(value.tables),
        figures=_all(value.figures, NamedFigure, "figures"),
    )


def checked_epoch_images(value: object) -> torch.Tensor | None:
    """The images of an epoch, uint8 [N, S, S], or None.

    Raises:
        Breach: they are something else.
    """
    if value is None:
        return None
    if not isinstance(value, torch.Tensor) or value.ndim != 3 or value.dtype != torch.uint8 or not len(value):
        raise Breach(f"it returned {kind_of(value)}; images are a tensor uint8 [N, S, S], or None")
    return value


def check_epoch(run: Run, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
    """Check what an epoch is judged by: both losses, and after training the metric that is monitored.

    Any other metric may be NaN or infinite: a recall without positive images is.

    Raises:
        PneumoError: one of them is not finite, or there is no metric of the monitor's name.
    """
    sides = {"train": train, "validation": validation}
    monitor = run.monitor
    own = sides[monitor.side]
    if monitor.metric and monitor.metric not in own and (run.epoch or own is validation):
        method = "evaluate" if own is validation else "training_metrics"
        what = f"it returned no {monitor.side} {monitor.metric!r}, by which the best checkpoint is chosen"
        raise broken(run, method, Breach(f"{what}; there is {', '.join(sorted(own)) or 'nothing'}"))
    judged = [(side, "loss") for side in sides]
    if run.epoch:
        judged.append((monitor.side, monitor.metric))
    for side, metric in judged:
        value = sides[side].get(metric, 0.0)
        if not math.isfinite(value):
            why = (
                "the run has diverged"
                if metric == "loss"
                else "the metric that is monitored has to be finite"
            )
            raise PneumoError(f"{trainer_of(run)}: {side} {metric} is {value} after epoch {run.epoch}: {why}")
    if run.epoch == 1:
        _note_misspelt_curves(run, {*train, *validation})


def check_history(run: Run, epochs: int) -> None:
    """Check that nobody has added rows to the history, or removed some: by their number, training ends.

    Raises:
        PneumoError: it has other rows than those of the ``epochs`` that are finished.
    """
    if len(run.history) != epochs:
        raise PneumoError(
            f"a plugin has changed run.history, which only the runner writes to: it has {len(run.history)} rows "
            f"after {epochs} epochs (the untrained model's is one)"
        )


def _note_misspelt_curves(run: Run, metrics: set[str]) -> None:
    """Remark on curves that no epoch has and that resemble a metric; others may depend on settings."""
    for name in run.curves:
        if name not in metrics and (meant := difflib.get_close_matches(name, metrics, n=1, cutoff=0.8)):
            run.note(
                f"{trainer_of(run)} has no metric {name!r}, whose curve it wants: did you mean {meant[0]}?"
            )


def _all(value: object, kind: type[T], what: str) -> tuple[T, ...]:
    """A tuple of objects of one class."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Breach(f"{what} are {kind_of(value)}, not a tuple")
    for place, one in enumerate(value):
        if not isinstance(one, kind):
            raise Breach(f"{what}[{place}] is {kind_of(one)}, not a {kind.__name__}")
    return tuple(value)


def _numpy(tensor: torch.Tensor) -> NDArray[np.generic]:
    """A tensor's values; NumPy has no bfloat16."""
    tensor = tensor.detach().cpu()
    array: NDArray[np.generic] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Breach(f"{what} is {kind_of(value)}, not text")
    return str(value)
