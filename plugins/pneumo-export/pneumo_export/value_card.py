"""The parts of a model card that are about numbers and masks.

The rest is :mod:`pneumo_export.model_card`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.metric_names import in_order
from pneumo_cli.runtime.json_values import mapping, number, text

if TYPE_CHECKING:
    from pneumo_export.description import ValueDescription

USE = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["pneumo"])
size, predicts = about["input"]["size"], about["predicts"]
for name in sys.argv[1:]:
    LOAD
    for (title, what), (found,) in zip(predicts.items(), session.run([*predicts], {"images": images})):
        if what["kind"] == "mask":
            print(f"{name}: {title} {100 * (found >= 0.5).mean():.1f} % of the image")
        else:
            print(f"{name}: {title} {found:.4f} {what['unit']}")
"""
"""Use of an exported graph without pneumo: run in a bundle's folder, with image files as arguments."""

NOTE = (
    "With 95 % intervals over patients, where the trainer computes them. The checkpoint was chosen on the "
    "validation images, without the test images."
)


def purpose(description: ValueDescription) -> str:
    """What the network predicts."""
    words = [
        f"the mask {text(name)}"
        if name in description.masks
        else f"the number {text(name)}" + (f" (in {text(unit)})" if unit else "")
        for name, unit in description.units.items()
    ]
    return f"predicts {', '.join(words)}"


def limits(description: ValueDescription) -> tuple[str, str]:
    """What it cannot tell, and what its predictions are not."""
    return (
        "It predicts a value for any image, even for a photograph.",
        "Its predictions have no intervals: how far they are off on average is in the results below.",
    )


def metrics(results: Iterable[Any]) -> list[str]:
    """The metrics of the splits, the loss last.

    Args:
        results: of each split, from the description.
    """
    names = {
        name: None
        for one in results
        for name, value in mapping(mapping(one).get("metrics")).items()
        if number(value) is not None
    }
    ordered = in_order(names)
    return [name for name in ordered if name != "loss"] + [name for name in ordered if name == "loss"]
