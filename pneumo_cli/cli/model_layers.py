"""The layers of a model for ``pneumo show``: built on the meta device, so without memory or arithmetic."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pneumo_cli.cli.output import print_line, print_text
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.specs import load_reference

if TYPE_CHECKING:
    from torch import nn

    from pneumo_cli.registry import Entry, Registries
    from pneumo_cli.specs import ModelSpec
    from pneumo_cli.trainers.model_summary import LayerTable

_READABLE = 100  # layers; of a model with more of them the stages are listed
_USUAL = {"channels": 3, "outputs": 1}


@dataclass(frozen=True)
class ModelLayers:
    """What can be said of a model without training it.

    Attributes:
        model: on the meta device; None if its factory needs options that no installed trainer gives.
        table: its layers for one image; None if it cannot be called with an image alone.
        note: why something is missing; empty: nothing is.
        size: height and width of the image, in pixels.
        stages: parts that make up the forward pass; may be empty.
    """

    model: nn.Module | None
    table: LayerTable | None
    note: str
    size: int
    stages: Sequence[nn.Module] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON types. Without a table the shapes are None, and the memory is left out."""
        if self.table is not None:
            return {
                "rows": [asdict(row) for row in self.table.rows],
                "parameters": self.table.parameters,
                "trainable": self.table.trainable,
                **self.table.megabytes(),
            }
        rows = [{"name": name, "shape": None, "parameters": count} for name, count in self._modules()]
        return {"rows": rows, **self._counts(), "note": self.note}

    def show(self, facts: Mapping[str, str]) -> None:
        """Print the table of layers, or of what can be shown.

        Args:
            facts: about what is frozen, by title.
        """
        if self.table is not None:
            _print_table(self.table, facts, self.stages, self.size)
            return
        print_text(self.note)
        if self.model is None:
            return
        print()
        _print_columns([("MODULE", "PARAMETERS"), *((name, f"{count:,}") for name, count in self._modules())])
        counts = self._counts()
        totals = {
            "Total parameters": f"{counts['parameters']:,}",
            "Trainable parameters": f"{counts['trainable']:,}",
        }
        _print_totals({**totals, **facts})

    def _modules(self) -> list[tuple[str, int]]:
        """Name and number of parameters of each module that has its own; of a model with many, of its children."""
        if self.model is None:
            return []
        own = [
            (name or type(self.model).__name__, sum(p.numel() for p in module.parameters(recurse=False)))
            for name, module in self.model.named_modules()
        ]
        own = [(name, count) for name, count in own if count]
        if len(own) <= _READABLE:
            return own
        return [
            (name, sum(p.numel() for p in child.parameters())) for name, child in self.model.named_children()
        ]

    def _counts(self) -> dict[str, int]:
        parameters = list(self.model.parameters()) if self.model is not None else []
        return {
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        }


def layers_of(registries: Registries, entry: Entry[ModelSpec], size: int | None) -> ModelLayers:
    """A registered model with the options that its kind's trainers have by default.

    Args:
        size: height and width of its input, as the user gives it; None: the model's own, or 256.

    Raises:
        UsageError: the model cannot be built, or not take images of the given size.
    """
    from pneumo_cli.trainers.backbone import stages_of

    missing: list[str] = []
    for options in ({}, *_options_of_trainers(registries, entry)):
        missing = _missing(entry, options)
        if not missing:
            model = on_meta(entry, options)
            return measured(
                entry, model, size or entry.spec.size or 256, stages_of(entry.spec, model), size is not None
            )
    note = (
        f"Its layers cannot be shown: {entry.spec.factory} needs {', '.join(missing)}, which no installed trainer "
        f"of kind {entry.spec.kind} gives it."
    )
    return ModelLayers(None, None, note, size or 256)


def measured(
    entry: Entry[ModelSpec], model: nn.Module, size: int, stages: Sequence[nn.Module], size_given: bool
) -> ModelLayers:
    """The layers of a model for images of a size.

    Raises:
        UsageError: it cannot take images of a size that was given.
    """
    from pneumo_cli.trainers.model_summary import layer_table

    shape = getattr(model, "input_shape", (3, size, size))
    shown = " x ".join(map(str, shape))
    try:
        return ModelLayers(model, layer_table(model, shape), "", size, stages)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if size_given:
            raise UsageError(
                f"the model {entry.qualified_name} cannot take images of {shown}: {reason}"
            ) from error
        note = f"Sizes of layers are not shown, as it cannot be called with one image of {shown}: {reason}"
        return ModelLayers(model, None, note, size, stages)


def on_meta(entry: Entry[ModelSpec], options: Mapping[str, Any]) -> nn.Module:
    """A model on the meta device: shapes without memory or arithmetic."""
    import torch

    from pneumo_cli.runs.model_factory import build_registered

    with torch.device("meta"):
        return build_registered(entry, {**_USUAL, **options})


def _missing(entry: Entry[ModelSpec], options: Mapping[str, Any]) -> list[str]:
    """The options that a factory needs and does not get; of one that cannot be imported none: building says why."""
    try:
        parameters = inspect.signature(load_reference(entry.spec.factory)).parameters.values()
    except Exception:
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = {*_USUAL, *options, "name"}
    return [
        one.name
        for one in parameters
        if one.kind in kinds and one.default is one.empty and one.name not in given
    ]


def _options_of_trainers(registries: Registries, entry: Entry[ModelSpec]) -> Iterator[dict[str, Any]]:
    """The options that each trainer of the model's kind gives it with its default settings."""
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import make_trainer

    for trainer in registries.trainers.entries():
        if trainer.spec.kind == entry.spec.kind:
            try:
                flags = {"model": entry.qualified_name}
                yield make_trainer(resolve(registries, trainer, flags, environ={})).model_options()
            except PneumoError:
                continue


def _print_table(table: LayerTable, facts: Mapping[str, str], stages: Sequence[nn.Module], size: int) -> None:
    shown = table.rows
    if len(shown) > _READABLE and stages:
        from pneumo_cli.trainers.model_summary import stage_rows

        print_text(f"{len(stages)} stages with {len(shown)} layers; --json lists each layer")
        shown = stage_rows(stages, (3, size, size))
    rows = [(row.name, str([*row.shape]), f"{row.parameters:,}") for row in shown]
    _print_columns([("LAYER", "OUTPUT SHAPE", "PARAMETERS"), *rows])
    _print_totals(
        {
            "Total parameters": f"{table.parameters:,}",
            "Trainable parameters": f"{table.trainable:,}",
            **facts,
            "Input size": f"{table.input_mb:.2f} MB",
            "Forward/backward": f"{table.forward_backward_mb:.2f} MB",
            "Parameters": f"{table.parameters_mb:.2f} MB",
            "Estimated total": f"{table.total_mb:.2f} MB  (one image, fp32)",
        }
    )


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; the last one is of numbers."""
    *widths, last = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True))
        print_line(f"{start}  {row[-1]:>{last}}")


def _print_totals(totals: Mapping[str, str]) -> None:
    print()
    for title, value in totals.items():
        print_text(value, f"{title:<20}  ")
