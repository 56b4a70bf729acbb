"""The predictions file: one row of outputs per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.runtime.json_values import mapping, sequence

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.evaluation.result import Evaluation

_ROWS = 4096  # written at once


def predictions_csv(evaluation: Evaluation, records: Sequence[Record]) -> str:
    """Per-image outputs with the image's name, patient and subtype, as CSV text.

    Outputs of K classes have a column for each of them: ``logits_NAME``.

    Args:
        records: of the dataset; ``evaluation.outputs["index"]`` holds positions in it.

    Raises:
        ValueError: an output has more or fewer rows than there are positions.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = {
        column: values
        for name, output in evaluation.outputs.items()
        if name != "index"
        for column, values in _columns(name, output, evaluation.details).items()
    }
    writer.writerow(["name", "patient", "subtype", *columns])
    index = evaluation.outputs.get("index")
    positions = np.empty(0, np.int64) if index is None else index
    arrays = (positions, *columns.values())
    # Python's numbers take eight times the memory of an array's.
    for start in range(0, max(map(len, arrays)), _ROWS):
        some = [values[start : start + _ROWS].tolist() for values in arrays]
        for position, *values in zip(*some, strict=True):
            record = records[int(position)]
            writer.writerow([record.name, record.patient, record.subtype, *values])
    return text.getvalue()


def _columns(
    name: str, output: NDArray[np.generic], details: Mapping[str, Any]
) -> dict[str, NDArray[np.generic]]:
    """The columns of one output, [N] or [N, K]; numbered where the K classes are not those of the evaluation."""
    if output.ndim == 1:
        return {name: output}
    classes = [str(mapping(one).get("name")) for one in sequence(details.get("classes"))]
    rows = output.reshape(len(output), -1)
    parts = classes if len(classes) == rows.shape[1] else [str(place) for place in range(rows.shape[1])]
    return {f"{name}_{part}": column for part, column in zip(parts, rows.T, strict=True)}
