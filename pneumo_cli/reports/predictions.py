"""The predictions file: one row of outputs per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.evaluation.result import Evaluation


def predictions_csv(evaluation: Evaluation, records: Sequence[Record]) -> str:
    """Per-image outputs with the image's name, patient and subtype, as CSV text.

    Args:
        records: of the dataset; ``evaluation.outputs["index"]`` holds positions in it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [name for name in evaluation.outputs if name != "index"]
    writer.writerow(["name", "patient", "subtype", *columns])
    for row, position in enumerate(evaluation.outputs.get("index", ())):
        record = records[int(position)]
        values = [evaluation.outputs[name][row].item() for name in columns]
        writer.writerow([record.name, record.patient, record.subtype, *values])
    return text.getvalue()
