"""The outputs of one epoch's training steps so far, kept on the device without reading them.

Their state is part of a checkpoint, so that an epoch that is resumed halfway ends with the metrics of an
uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.training.breaches import Breach, kind_of
from pneumo_cli.training.contract import checked_metrics


class EpochOutputs:
    """Collects what ``train_step`` returns, on each of the ``ranks`` that share the epoch.

    Attributes:
        restored: the number of images, on all ranks, of the steps before the epoch was resumed.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.restored = 0
        self._ranks = ranks
        self._sizes: list[int] = []
        self._means: dict[str, list[torch.Tensor]] = {}
        self._rows: dict[str, list[torch.Tensor]] = {}
        self._widths: dict[str, int | None] | None = None
        self._checked = 0
        self._first_step = 0

    def add(self, outputs: Mapping[str, torch.Tensor], index: torch.Tensor) -> None:
        """Add the outputs of one step.

        Args:
            outputs: tensors, 0-d, [B] or [B, K], of the same names in each step; ``loss`` among them, 0-d.
            index: int64 [B], the images' positions in the records.

        Raises:
            Breach: they are something else.
        """
        if type(outputs) is not dict and not isinstance(outputs, Mapping):
            raise Breach(f"it returned {kind_of(outputs)}, not a dict of tensors with 'loss' among them")
        size = len(index)
        for name, value in outputs.items():
            if not isinstance(value, torch.Tensor):
                raise Breach(f"its {name!r} is {kind_of(value)}, not a tensor (such as loss.detach())")
            if value.ndim > 2 or (value.ndim and len(value) != size) or (name == "loss" and value.ndim):
                allowed = "0-d" if name == "loss" else f"0-d, [{size}] or [{size}, K]"
                raise Breach(f"its {name!r} has the shape {list(value.shape)}; it has to be {allowed}")
        widths = {name: _width(value) for name, value in outputs.items()}
        if self._widths is None:
            _check_names(outputs)
            self._widths = widths
        elif widths != self._widths:
            raise Breach(f"it returned {_listed(widths)}, and in the steps before {_listed(self._widths)}")
        self._sizes.append(size)
        self._rows.setdefault("index", []).append(index)
        for name, value in outputs.items():
            own = self._rows if value.ndim else self._means
            own.setdefault(name, []).append(value.detach())

    def check_finite(self) -> None:
        """Read the losses that were added since the last call.

        Raises:
            PneumoError: one of them is NaN or infinite; names the step.
        """
        losses = self._means["loss"][self._checked :] if self._means else []
        if not losses:
            return
        if len(losses) == 1:  # each step on the CPU, where a stack takes longer than a small step may
            finite = [math.isfinite(losses[0].item())]
        else:
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
        self.restored = int(sum(state["sizes"]))
        if not self._ranks.first or not len(state["sizes"]):
            return
        self._sizes = state["sizes"].tolist()
        self._means = {name: list(values.unbind()) for name, values in state["means"].items()}
        self._rows = {name: [values] for name, values in state["rows"].items()}
        rows = {name: _width(values) for name, values in state["rows"].items() if name != "index"}
        self._widths = {**dict.fromkeys(self._means, None), **rows}
        self._checked = len(self._sizes)
        self._first_step = step - self._checked


def _check_names(outputs: Mapping[str, torch.Tensor]) -> None:
    """Check the first outputs more closely. Raises Breach."""
    names = checked_metrics(dict.fromkeys(outputs, 0.0), "its outputs")
    if "loss" not in names:
        raise Breach("it returned no 'loss'")
    if "index" in names:
        raise Breach("its 'index' is the name of the images' positions, which are added to its outputs")
    for name, value in outputs.items():
        if value.is_complex() or value.layout is not torch.strided or value.is_meta:
            kind = "complex" if value.is_complex() else "sparse" if not value.is_meta else "without values"
            raise Breach(f"its {name!r} is {kind}")


def _width(value: torch.Tensor) -> int | None:
    """Values per image: 0 of a tensor [B], K of one [B, K]; None of a 0-d one, which is none's."""
    return value.shape[1] if value.ndim > 1 else 0 if value.ndim else None


def _listed(widths: Mapping[str, int | None]) -> str:
    shapes = {None: "0-d", 0: "[B]"}
    listed = (f"{name} ({shapes.get(width, f'[B, {width}]')})" for name, width in sorted(widths.items()))
    return ", ".join(listed) or "nothing"


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
