"""The outputs of one epoch's training steps so far, kept on the device without reading them.

Their state is part of a checkpoint, so that an epoch that is resumed halfway ends with the metrics of an
uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.distributed import Ranks


class EpochOutputs:
    """Collects what ``train_step`` returns, on each of the ``ranks`` that share the epoch."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sizes: list[int] = []
        self._means: dict[str, list[torch.Tensor]] = {}
        self._rows: dict[str, list[torch.Tensor]] = {}
        self._checked = 0
        self._first_step = 0

    def add(self, outputs: Mapping[str, torch.Tensor], index: torch.Tensor) -> None:
        """Add the outputs of one step.

        Args:
            outputs: tensors, 0-d, [B] or [B, K].
            index: int64 [B], the images' positions in the records.

        Raises:
            PneumoError: a tensor has another shape, or the loss is missing.
        """
        if "loss" not in outputs:
            raise PneumoError("train_step returned no 'loss'")
        size = len(index)
        self._sizes.append(size)
        self._rows.setdefault("index", []).append(index)
        for name, value in outputs.items():
            value = value.detach()
            if value.ndim == 0:
                self._means.setdefault(name, []).append(value)
            elif value.ndim <= 2 and len(value) == size:
                self._rows.setdefault(name, []).append(value)
            else:
                raise PneumoError(
                    f"train_step returned {name!r} of shape {list(value.shape)}; it has to be 0-d, [{size}] or "
                    f"[{size}, K]"
                )

    def check_finite(self) -> None:
        """Read the losses that were added since the last call.

        Raises:
            PneumoError: one of them is NaN or infinite; names the step.
        """
        losses = self._means["loss"][self._checked :] if self._means else []
        if not losses:
            return
        finite = torch.isfinite(torch.stack([loss.float() for loss in losses])).tolist()
        if not all(finite):
            step = self._first_step + self._checked + finite.index(False) + 1
            raise PneumoError(f"the loss is not finite (NaN or infinite) at step {step}")
        self._checked = len(self._means["loss"])

    def results(self) -> tuple[dict[str, float], dict[str, NDArray[np.generic]]]:
        """The epoch's means over all images, and its per-image values in the order of ``index``. Collective."""
        state = self.state()
        sizes = state["sizes"].double()
        means = {
            name: float((values.double() * sizes).sum() / sizes.sum())
            for name, values in state["means"].items()
        }
        rows = {name: values.numpy() for name, values in state["rows"].items()}
        order = np.argsort(rows["index"], kind="stable")
        return means, {name: values[order] for name, values in rows.items()}

    def state(self) -> dict[str, Any]:
        """All ranks' outputs so far, as tensors for a checkpoint. Collective."""
        local = {
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
            "means": {name: torch.stack(values).float().cpu() for name, values in self._means.items()},
            "rows": {name: _concatenated(values) for name, values in self._rows.items()},
        }
        return _merged(self._ranks.gather(local))

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Resume an epoch of which ``step`` steps are done. The first rank keeps all earlier outputs."""
        self._first_step = step
        if not self._ranks.first or not len(state["sizes"]):
            return
        self._sizes = state["sizes"].tolist()
        self._means = {name: list(values.unbind()) for name, values in state["means"].items()}
        self._rows = {name: [values] for name, values in state["rows"].items()}
        self._checked = len(self._sizes)
        self._first_step = step - self._checked


def _concatenated(values: list[torch.Tensor]) -> torch.Tensor:
    joined = torch.cat([value.cpu() for value in values])
    return joined.float() if joined.is_floating_point() else joined


def _merged(states: list[dict[str, Any]]) -> dict[str, Any]:
    states = [state for state in states if len(state["sizes"])]
    if not states:
        return {"sizes": torch.zeros(0, dtype=torch.int64), "means": {}, "rows": {}}
    return {
        "sizes": torch.cat([state["sizes"] for state in states]),
        "means": {n: torch.cat([s["means"][n] for s in states]) for n in states[0]["means"]},
        "rows": {n: torch.cat([s["rows"][n] for s in states]) for n in states[0]["rows"]},
    }
