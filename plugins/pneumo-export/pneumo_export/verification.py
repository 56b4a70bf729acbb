"""The comparison of an exported graph with its run: both predict the same images, generated ones and files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumo_cli.errors import PneumoError
from pneumo_cli.inference.run_predictors import RunPredictor
from pneumo_export.description import AnyDescription
from pneumo_export.graph import Exportable, quiet
from pneumo_export.predictor import run_session, start_session

TOLERANCE = 1e-4
"""The largest accepted difference of logits, numbers, and probabilities of pixels; beyond 10, relative to them."""

_BATCHES = (1, 2, 5)  # batch sizes that are compared in addition to _BATCH_SIZE
_BATCH_SIZE = 32

Outputs: TypeAlias = Mapping[str, NDArray[np.float64]]
"""By name: logits [B] or [B, K], numbers [B], probabilities of masks [B, S, S]."""
Answer: TypeAlias = Callable[[NDArray[Any]], Outputs]
"""Outputs for images, uint8 or uint16, [B, S, S] or [B, C, S, S]."""


@dataclass(frozen=True)
class Check:
    """The comparison of an exported graph's outputs with the run's own.

    Attributes:
        runtime: the library that ran the graph, with its version.
        images: number of images compared.
        difference: the largest absolute difference, of logits or of numbers and masks' probabilities.
        pixels: the share of the masks' pixels that are in one and not in the other; None without masks.
    """

    runtime: str
    images: int
    difference: float
    pixels: float | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "runtime": self.runtime,
            "images": self.images,
            "batches": list(_BATCHES),
            "largest_difference": self.difference,
            **({} if self.pixels is None else {"differing_pixels": self.pixels}),
            "tolerance": TOLERANCE,
        }


def probe_images(size: int, channels: int = 1, bits: int = 8) -> NDArray[Any]:
    """Generated images to compare outputs on: flat, ramps, noise of several resolutions.

    Returns:
        uint8 or uint16, [16, S, S], or [16, C, S, S] with different channels.
    """
    ramp = np.linspace(0, 1, size)
    images = [np.zeros((size, size)), np.full((size, size), 1.0), np.tile(ramp, (size, 1))]
    images.append(np.add.outer(ramp, ramp) / 2)
    generator = torch.Generator().manual_seed(0)
    for cells in (2, 3, 5, 8, 13, 21, 34, 55, 89, 144, size, size):
        noise = torch.rand((1, 1, min(cells, size), min(cells, size)), generator=generator)
        smooth = nn.functional.interpolate(noise, (size, size), mode="bilinear", align_corners=False)
        images.append(smooth[0, 0].double().numpy())
    white = (1 << bits) - 1
    levels: NDArray[Any] = np.rint(white * np.stack(images)).astype(np.uint8 if bits == 8 else np.uint16)
    if channels == 1:
        return levels
    return np.stack([np.roll(levels, channel, axis=0) for channel in range(channels)], axis=1)


def reference_outputs(predictor: Exportable, images: NDArray[Any], names: Sequence[str]) -> Outputs:
    """The run's own outputs.

    Args:
        names: of the outputs to compare; of a classifier that of the logits.
    """

    def own(batch: NDArray[Any]) -> Outputs:
        sized = {predictor.size: batch}
        if isinstance(predictor, RunPredictor):
            return {names[0]: predictor.logits(sized)}
        return predictor.values(sized)

    return _batched(own, images)


def onnx_answer(content: bytes, description: AnyDescription) -> tuple[str, Answer]:
    """The runtime of an ONNX file, with its version, and a function that computes outputs with it."""
    session = start_session(content, "the ONNX graph", {"threads": torch.get_num_threads()})
    return f"onnxruntime {version('onnxruntime')}", lambda images: run_session(session, images, description)


def program_answer(content: bytes, description: AnyDescription) -> tuple[str, Answer]:
    """Like :func:`onnx_answer`, for a ``.pt2`` file, which has to be our own: torch unpickles parts of it."""
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def answer(images: NDArray[Any]) -> Outputs:
        with torch.no_grad():
            found = module(torch.from_numpy(description.images.graph_input(images)))
        named = dict(zip(description.outputs, found, strict=True))
        return {name: np.asarray(named[name].double().numpy()) for name in description.compared}

    return f"torch {torch.__version__}", answer


def compare(
    answer: tuple[str, Answer], step: str, images: NDArray[Any], expected: Outputs, masks: Sequence[str] = ()
) -> Check:
    """Compare the outputs for all images, in batches of several sizes.

    Args:
        masks: the outputs that are masks.

    Raises:
        PneumoError: one differs by more than :data:`TOLERANCE`.
    """
    runtime, outputs_of = answer
    pairs = [(_batched(outputs_of, images), expected)]
    pairs += [
        (outputs_of(images[-size:]), {name: one[-size:] for name, one in expected.items()})
        for size in _BATCHES
    ]
    largest = 0.0
    for outputs, references in pairs:
        for name, reference in references.items():
            difference = np.abs(outputs[name] - reference)
            # An untrained or diverged network has logits of thousands, which fp32 does not represent to 1e-4.
            allowed = TOLERANCE * np.maximum(1.0, np.abs(reference) / 10)
            if not (difference <= allowed).all():
                kind = "logits" if name in ("logit", "logits") else f"values of {name}"
                raise PneumoError(
                    f"the exported {step} graph, run by {runtime}, gives other {kind} than the run (by "
                    f"{difference.max():.2g}, where {TOLERANCE:g} is allowed): nothing was written"
                )
            largest = max(largest, float(difference.max()))
    return Check(runtime, len(images), largest, _differing(*pairs[0], masks))


def _differing(outputs: Outputs, expected: Outputs, masks: Sequence[str]) -> float | None:
    """The share of the masks' pixels that are in one and not in the other; None without masks."""
    if not masks:
        return None
    return float(np.mean([((outputs[name] >= 0.5) != (expected[name] >= 0.5)).mean() for name in masks]))


def _batched(outputs_of: Answer, images: NDArray[Any]) -> Outputs:
    starts = range(0, len(images), _BATCH_SIZE)
    parts = [outputs_of(images[start : start + _BATCH_SIZE]) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
